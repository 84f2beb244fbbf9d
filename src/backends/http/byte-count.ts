/** Bytes as a header or a document tells them; null for what is no count, or one that no file has. */
export function byteCountOf(text: string | null | undefined): number | null {
  if (text == null || !/^\d+$/.test(text)) return null
  const count = Number(text)
  return Number.isSafeInteger(count) ? count : null
}
