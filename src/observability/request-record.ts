/** A request as those see it who watch: the access log, traces, `ovfsd trace`. Made only while somebody does. */
export interface RequestRecord {
  /** Counts the requests that were watched. */
  readonly id: number
  /** The profile's name; "(root)" for directories above mounts. */
  readonly mount: string
  readonly operation: string
  /** Of the guest's process; 0 where the kernel asks for itself. */
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly nodeid: number
  /** The handle; null where the operation has none. */
  readonly fh: number | null
  /** In the guest's tree, from the root of what it mounted: "/s3/a/b". Of an unlinked file, where it lives on; "?" where nobody knows it. */
  readonly path: string
  /** The second name of a rename or link; null for others. */
  readonly newPath: string | null
  /** What was asked for, bytes; null where the operation has no such thing. */
  readonly sizeBytes: number | null
  readonly offset: number | null
  /** As performance.now(). */
  readonly startMs: number
  /** Positive; 0: it succeeded. Set at its end, as are the following. */
  errno: number
  /** Data that the guest got or gave. */
  bytes: number
  durationUs: number
  /** The handle that an OPEN, CREATE or OPENDIR gave out; null for others. */
  openedFh: number | null
}

/** Sees the requests come and go. Must not throw. */
export interface RequestWatcher {
  /** Run the handling of a request, so that what it does later is known to be its doing. Absent: it is just run. */
  within?<T>(record: RequestRecord, work: () => T): T
  /** The request is answered; the record is nobody's after this. */
  onReply(record: RequestRecord): void
  /** The guest has gone without a word: it releases nothing any more. */
  onDisconnect?(): void
}
