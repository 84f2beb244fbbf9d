/** What the cache did for one store since it was mounted. Plain numbers, which a hit increments and nothing else. */
export class CacheCounters {
  /** Reads that were answered at once. */
  hits = 0
  /** Reads that had to wait. */
  misses = 0
  /** Blocks that were given up to make room. */
  evictions = 0
  /** Of the store's contents: fetched before anybody asked for them ... */
  readAheadFetchedBytes = 0
  /** ... and read afterwards. */
  readAheadUsedBytes = 0
}
