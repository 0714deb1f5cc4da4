import { documentId, postId } from './address'
import { createRoot } from 'react-dom/client'
import Chat from './app/chat/page'
import { Post, PostList } from './app/posts'
import { Search } from './app/search'
import { Files } from './app/files'
import { CollaborativeEditor } from './guide/editor'
import { Providers } from './guide/providers'
import { FileUpload } from './guide/upload'
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
