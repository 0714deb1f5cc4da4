import { documentId } from './address'
import { useState } from 'react'
import { createRoot } from 'react-dom/client'
import { usePresence } from './app/presence'
import { Providers } from './guide/providers'
import { Connection } from './connection'

function Room() {
  const [line, setLine] = useState(1)
  const people = usePresence(documentId, { line })
  return (
    <section id="room">
      <button onClick={() => setLine(line + 1)}>down</button>
      <ul>
        {people?.map((person) => (
          <li key={person.user} style={{ color: person.color }} title={person.name}>
            {person.name} is in line {person.data?.line}
          </li>
        ))}
      </ul>
    </section>
  )
}

createRoot(document.getElementById('root')!).render(
  <Providers>
    <Connection />
    <Room />
  </Providers>,
)
