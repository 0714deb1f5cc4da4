const { results, status, loadMore } = usePaginatedQuery(
  api.posts.list,
  {},
  { initialNumItems: 20 }
)
