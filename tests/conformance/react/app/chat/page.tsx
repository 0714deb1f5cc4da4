// app/chat/page.tsx - 클라이언트
'use client'

import { useQuery, useMutation } from 'convex/react'
import { api } from '@/convex/_generated/api'

export default function Chat() {
  // 실시간 구독 - 데이터 변경 시 자동 업데이트
  const messages = useQuery(api.messages.list)

  // Mutation
  const sendMessage = useMutation(api.messages.send)

  const handleSend = async (body: string) => {
    await sendMessage({ author: 'John', body })
  }

  return (
    <div>
      {messages?.map((msg) => (
        <div key={msg._id}>
          <strong>{msg.author}</strong>: {msg.body}
        </div>
      ))}
      {/* 입력 폼 */}
      <form
        onSubmit={(e) => {
          e.preventDefault()
          void handleSend(String(new FormData(e.currentTarget).get('body')))
          e.currentTarget.reset()
        }}
      >
        <input name="body" />
      </form>
    </div>
  )
}
