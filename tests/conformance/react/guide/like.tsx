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
