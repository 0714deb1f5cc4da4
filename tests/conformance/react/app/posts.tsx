import { insertAtTop, useMutation, usePaginatedQuery, useQuery } from 'convex/react'
import { api } from '@/convex/_generated/api'

export function PostList() {
  const { results, status, loadMore } = usePaginatedQuery(
    api.posts.list,
    {},
    { initialNumItems: 20 }
  )
  const createPost = useMutation(api.posts.create)
  const publishPost = createPost.withOptimisticUpdate((localQueryStore, { title, content }) => {
    const item = { _id: crypto.randomUUID(), _creationTime: Date.now(), title, content, likes: 0 }
    insertAtTop({ paginatedQuery: api.posts.list, argsToMatch: {}, localQueryStore, item })
  })

  const handleCreate = async (title: string, content: string) => {
    try {
      await createPost({ title, content })
    } catch (error) {
      console.error('Failed to create post:', error)
      // 사용자에게 에러 메시지 표시
    }
  }

  return (
    <div data-status={status}>
      <ol>
        {results.map((post) => (
          <li key={post._id}>{post.title}</li>
        ))}
      </ol>
      <button className="more" onClick={() => loadMore(20)}>more</button>
      <form
        onSubmit={(e) => {
          e.preventDefault()
          void handleCreate(String(new FormData(e.currentTarget).get('title')), '')
        }}
      >
        <input name="title" />
        <button
          type="button"
          className="publish"
          onClick={(e) => {
            const title = String(new FormData(e.currentTarget.form!).get('title'))
            publishPost({ title, content: '' }).catch(() => {})
          }}
        >
          publish
        </button>
      </form>
    </div>
  )
}

export function Post({ postId }: { postId: string }) {
  const post = useQuery(api.posts.get, { postId })
  const likePost = useMutation(api.posts.like).withOptimisticUpdate((localStore, args) => {
    // 낙관적 업데이트 - 서버 응답 전에 UI 즉시 업데이트
    const post = localStore.getQuery(api.posts.get, { postId: args.postId })
    if (post) {
      localStore.setQuery(api.posts.get, { postId: args.postId }, {
        ...post,
        likes: post.likes + 1,
      })
    }
  })

  return (
    <div>
      <output className="likes">{post?.likes}</output>
      <button className="like" onClick={() => void likePost({ postId })}>like</button>
      <button className="refused" onClick={() => likePost({ postId, refuse: true }).catch(() => {})}>like, in vain</button>
    </div>
  )
}
