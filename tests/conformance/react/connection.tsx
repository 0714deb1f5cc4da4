import { useConvexConnectionState } from 'convex/react'

// For the tests: whether the page is connected, and what it still waits for.
export function Connection() {
  const state = useConvexConnectionState()
  return (
    <output
      data-connected={state.isWebSocketConnected}
      data-connections={state.connectionCount}
      data-inflight={state.inflightMutations}
    />
  )
}
