import { useState } from 'react'
import { useQuery } from 'convex/react'
import { api } from '@/convex/_generated/api'

export function Search() {
  const [text, setText] = useState('')
  const found = useQuery(api.search.searchPosts, text ? { query: text } : 'skip')

  return (
    <div>
      <input value={text} onChange={(e) => setText(e.target.value)} />
      <ul>{found?.map((post: { _id: string; title: string }) => <li key={post._id}>{post.title}</li>)}</ul>
    </div>
  )
}
