import './address'
import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { AuthLoading, Authenticated, Unauthenticated, useAction, useConvexAuth, useMutation, useQuery } from 'convex/react'
import { api } from '@/convex/_generated/api'
import { Providers, useSession } from './app/auth-providers'
import { Connection } from './connection'

const issuer = new URLSearchParams(location.search).get('issuer') ?? ''

// For the tests: how often a token was asked for.
declare global {
  var asked: boolean[]
}
globalThis.asked = []

function ofIssuer(subject: string, seconds: number) {
  return {
    fetch: async (force: boolean) => {
      globalThis.asked.push(force)
      const now = Date.now() / 1000
      const claims = { iss: issuer, sub: subject, aud: 'app', name: subject.toUpperCase(), iat: now, exp: now + seconds }
      const answer = await fetch(`${issuer}/token`, { method: 'POST', body: JSON.stringify({ claims, header: {} }) })
      return (await answer.json()).token as string
    },
  }
}

function SignIn() {
  const { use } = useSession()
  const signUp = useAction(api.accounts.sign_up)
  const signIn = useAction(api.accounts.sign_in)
  const [problem, setProblem] = useState('')
  const submit = (event: React.FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const given = { email: form.get('email'), password: form.get('password') }
    const name = form.get('name')
    const call = name ? signUp({ ...given, name }) : signIn(given)
    call.then(
      ({ token }) => {
        localStorage.setItem('token', token)
        use({ fetch: async () => localStorage.getItem('token') })
      },
      (error) => setProblem(error.data?.code ?? String(error)),
    )
  }
  return (
    <form onSubmit={submit}>
      <input name="email" />
      <input name="password" type="password" />
      <input name="name" />
      <button>go</button>
      <button type="button" className="issuer" onClick={() => use(ofIssuer('ada', 600))}>issuer</button>
      <button type="button" className="short" onClick={() => use(ofIssuer('bob', 12))}>short</button>
      <button type="button" className="refused" onClick={() => use({ fetch: async (force) => { globalThis.asked.push(force); return 'not.a.token' } })}>
        refused
      </button>
      <p className="problem">{problem}</p>
    </form>
  )
}

function Me() {
  const { use } = useSession()
  const user = useQuery(api.accounts.current_user)
  const store = useMutation(api.accounts.store_user)
  const signOut = useMutation(api.accounts.sign_out)
  useEffect(() => {
    if (user === null) store()
  }, [user, store])
  const leave = async () => {
    const token = localStorage.getItem('token')
    if (token) await signOut({ token })
    localStorage.removeItem('token')
    use(null)
  }
  return (
    <section>
      <h1 className="name">{user?.name}</h1>
      <h2 className="token">{user?.tokenIdentifier}</h2>
      <button className="leave" onClick={leave}>leave</button>
    </section>
  )
}

function State() {
  const { isAuthenticated, isLoading } = useConvexAuth()
  return <output className="state">{isLoading ? 'loading' : isAuthenticated ? 'in' : 'out'}</output>
}

createRoot(document.getElementById('root')!).render(
  <Providers>
    <Connection />
    <State />
    <AuthLoading><p>...</p></AuthLoading>
    <Unauthenticated><SignIn /></Unauthenticated>
    <Authenticated><Me /></Authenticated>
  </Providers>,
)
