/** The little XML that S3's answers and requests consist of: elements with text, no attributes that matter. */

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** The text of the first element of that name; null where there is none. */
export function elementText(xml: string, name: string): string | null {
  const [text] = elementsOf(xml, name) as Iterable<string | undefined>
  return text === undefined || text.includes('<') ? null : unescape(text)
}

/** The contents of all elements of that name, which hold none of their own name. */
export function* elementsOf(xml: string, name: string): Generator<string> {
  const [begin, end] = [`<${name}>`, `</${name}>`]
  for (let from = xml.indexOf(begin); from >= 0; from = xml.indexOf(begin, from)) {
    const to = xml.indexOf(end, from)
    if (to < 0) return
    yield xml.slice(from + begin.length, to)
    from = to
  }
}

export function escapeText(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

function unescape(text: string): string {
  if (!text.includes('&')) return text
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, name) => {
    if (decimal !== undefined) return codePoint(Number(decimal))
    if (hex !== undefined) return codePoint(parseInt(String(hex), 16))
    return ENTITIES[String(name)] ?? whole
  })
}

function codePoint(number: number): string {
  return number <= 0x10ffff ? String.fromCodePoint(number) : ''
}
