const createPost = useMutation(api.posts.create)

try {
  await createPost({ title, content })
} catch (error) {
  console.error('Failed to create post:', error)
  // 사용자에게 에러 메시지 표시
}
