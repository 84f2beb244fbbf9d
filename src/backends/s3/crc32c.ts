/** Castagnoli's polynomial, reversed. */
const POLYNOMIAL = 0x82f63b78

let table: Uint32Array | null = null

function makeTable(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let remainder = byte
    for (let bit = 0; bit < 8; bit++)
      remainder = (remainder & 1) === 0 ? remainder >>> 1 : (remainder >>> 1) ^ POLYNOMIAL
    return remainder
  })
}

/** CRC-32C of the data, four bytes in network order: what S3's checksum header has in Base64. */
export function crc32c(data: Uint8Array): Buffer {
  table ??= makeTable()
  let remainder = 0xffff_ffff
  // By index: iterating over the bytes takes four times as long.
  for (let i = 0; i < data.length; i++) {
    remainder = (remainder >>> 8) ^ (table[(remainder ^ (data[i] as number)) & 0xff] as number)
  }
  const result = Buffer.alloc(4)
  result.writeUInt32BE((remainder ^ 0xffff_ffff) >>> 0)
  return result
}
