// app/providers.tsx
'use client'

import { createContext, useCallback, useContext, useMemo, useState } from 'react'
import { ConvexProviderWithAuth, ConvexReactClient } from 'convex/react'

const convex = new ConvexReactClient(process.env.NEXT_PUBLIC_CONVEX_URL!)

// Where tokens come from: an issuer's people get new ones, an account has the token of its session.
export type Source = { fetch: (force: boolean) => Promise<string | null> }

const Session = createContext<{ source: Source | null; use: (source: Source | null) => void }>(null!)

export const useSession = () => useContext(Session)

function useAuth() {
  const { source } = useContext(Session)
  const fetchAccessToken = useCallback(
    async ({ forceRefreshToken }: { forceRefreshToken: boolean }) => (source ? source.fetch(forceRefreshToken) : null),
    [source],
  )
  return useMemo(
    () => ({ isLoading: false, isAuthenticated: source !== null, fetchAccessToken }),
    [source, fetchAccessToken],
  )
}

export function Providers({ children }: { children: React.ReactNode }) {
  const [source, use] = useState<Source | null>(null)
  return (
    <Session.Provider value={{ source, use }}>
      <ConvexProviderWithAuth client={convex} useAuth={useAuth}>
        {children}
      </ConvexProviderWithAuth>
    </Session.Provider>
  )
}
