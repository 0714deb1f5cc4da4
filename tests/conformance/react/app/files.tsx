import { useQuery } from 'convex/react'
import { api } from '@/convex/_generated/api'

export function Files() {
  const files = useQuery(api.files.list)
  return (
    <ul>
      {files?.map((file: { _id: string; name: string; type: string }) => (
        <StoredFile key={file._id} fileId={file._id} name={file.name} type={file.type} />
      ))}
    </ul>
  )
}

function StoredFile({ fileId, name, type }: { fileId: string; name: string; type: string }) {
  const url = useQuery(api.files.getFileUrl, { fileId })
  return (
    <li data-gone={url === null}>
      {url && <a href={url}>{name}</a>}
      {url && type.startsWith('image/') && <img src={url} alt={name} />}
    </li>
  )
}
