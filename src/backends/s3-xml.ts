/** The little XML that S3's answers and requests consist of: elements with text, no attributes that matter. */

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** The text of the first element of that name; null where there is none. */
export function elementText(xml: string, name: string): string | null {
  const match = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)
  return match?.[1] === undefined ? null : unescape(match[1])
}

export function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function unescape(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, name) => {
    if (decimal !== undefined) return codePoint(Number(decimal))
    if (hex !== undefined) return codePoint(parseInt(String(hex), 16))
    return ENTITIES[String(name)] ?? whole
  })
}

function codePoint(number: number): string {
  return number <= 0x10ffff ? String.fromCodePoint(number) : ''
}
