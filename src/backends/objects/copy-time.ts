/** What a server copies at least in a second: 10 MiB. The deadline of a copy is longer by the time that takes. */
const COPY_BYTES_PER_MS = (10 << 20) / 1000

/** What a copy of that many bytes within a server may take beyond the deadline of a request. */
export function copyTimeMs(sizeBytes: number): number {
  return Math.ceil(sizeBytes / COPY_BYTES_PER_MS)
}
