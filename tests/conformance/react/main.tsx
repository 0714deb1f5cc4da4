import { documentId, postId } from './address'
import { createRoot } from 'react-dom/client'
import { Providers } from './app/providers'
import Chat from './app/chat/page'
import { CollaborativeEditor } from './app/editor'
import { Post, PostList } from './app/posts'
import { Search } from './app/search'
import { Files, FileUpload } from './app/upload'
import { Connection } from './connection'

createRoot(document.getElementById('root')!).render(
  <Providers>
    <Connection />
    <section id="chat"><Chat /></section>
    <section id="posts"><PostList /></section>
    <section id="search"><Search /></section>
    <section id="post"><Post postId={postId} /></section>
    <section id="files"><FileUpload /><Files /></section>
    <section id="editor"><CollaborativeEditor documentId={documentId} /></section>
  </Providers>,
)
