/** Changes of a file's size, which a running commit has taken as it was. */
import type { FileContent } from './file-content.js'
import { abortUpload } from './pending-upload.js'

/** Waits for a running commit. */
export async function truncate(content: FileContent, size: number): Promise<void> {
  while (!canResizeNow(content, size)) await untilResizable(content, size)
  content.resize(size)
}

/** The size is at least this afterwards: it never gets less. */
export async function extend(content: FileContent, size: number): Promise<void> {
  while (size > content.size && !canResizeNow(content, size)) await untilResizable(content, size)
  if (size > content.size) content.resize(size)
}

/** True when `truncate` would not have to wait. */
export function canResizeNow({ committer, upload }: FileContent, size: number): boolean {
  return !committer.isRunning && size >= (upload?.position ?? 0)
}

/** To be asked again by who waits: another commit may have begun by the time that he goes on. */
async function untilResizable(content: FileContent, size: number): Promise<void> {
  const { committer } = content
  if (committer.isRunning) await committer.ended()
  else if (size === 0) await abortUpload(content)
  else await content.commit()
}
