import { useMutation, useQuery } from 'convex/react'
import { anyApi } from 'convex/server'
import { useEffect, useRef, useState } from 'react'

const { join, heartbeat, leave, list } = anyApi.nbreactive.presence

export type Person = { user: string; name: string; initials: string; color: string; guest: boolean; data: any }

// Be in a room as long as the component is mounted; returns who is there, and undefined until that is known.
export function usePresence(room: string, data: unknown = null): Person[] | undefined {
  const [session] = useState(() => crypto.randomUUID())
  const [enter, beat, exit] = [useMutation(join), useMutation(heartbeat), useMutation(leave)]
  const latest = useRef(data)
  latest.current = data

  useEffect(() => {
    const say = (call: typeof beat) => call({ room, session, data: latest.current }).catch(console.error)
    say(enter)
    const timer = setInterval(() => say(beat), 5000)
    return () => {
      clearInterval(timer)
      exit({ room, session }).catch(console.error)
    }
  }, [room, session])

  const shown = JSON.stringify(data)
  useEffect(() => {
    beat({ room, session, data }).catch(console.error)
  }, [room, session, shown])

  return useQuery(list, { room })
}
