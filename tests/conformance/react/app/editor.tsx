'use client'

import { useQuery, useMutation } from 'convex/react'
import { api } from '@/convex/_generated/api'
import { useEffect } from 'react'

export function CollaborativeEditor({ documentId }: { documentId: string }) {
  const document = useQuery(api.documents.get, { documentId })
  const updateContent = useMutation(api.documents.updateContent)
  const updatePresence = useMutation(api.documents.updatePresence)

  // Presence 업데이트 (5초마다)
  useEffect(() => {
    const interval = setInterval(() => {
      updatePresence({ documentId, userId: 'current-user-id' })
    }, 5000)

    return () => clearInterval(interval)
  }, [documentId])

  return (
    <div>
      <div>
        {document?.activeUsers?.map((user) => (
          <div key={user._id}>{user.name} is editing</div>
        ))}
      </div>

      <textarea
        value={document?.content}
        onChange={(e) => {
          updateContent({
            documentId,
            content: e.target.value,
            userId: 'current-user-id',
          })
        }}
      />
    </div>
  )
}
