'use client'

import { useMutation } from 'convex/react'
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

  return <input type="file" onChange={(e) => handleUpload(e.target.files[0])} />
}
