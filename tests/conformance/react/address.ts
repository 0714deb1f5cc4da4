// Where the backend is, and what is looked at: `?backend=...&post=...&document=...`. Imported before the client is made.
declare global {
  var CONVEX_URL: string
  // What the build puts CONVEX_URL in the place of.
  var process: { env: Record<string, string | undefined> }
}

const address = new URLSearchParams(location.search)

globalThis.CONVEX_URL = address.get('backend') ?? ''
export const postId = address.get('post') ?? ''
export const documentId = address.get('document') ?? ''
