/** The greatest multiple of `size` that is not above `offset`. Not by masks: offsets go beyond 32 bits. */
export function alignDown(offset: number, size: number): number {
  return offset - (offset % size)
}

/** The least multiple of `size` that is not below `offset`. */
export function alignUp(offset: number, size: number): number {
  return alignDown(offset + size - 1, size)
}
