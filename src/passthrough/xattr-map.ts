/**
 * Names of extended attributes that are others on the host than in the guest, by rules in virtiofsd's form: each is
 * `:TYPE:SCOPE:KEY:PREPEND:`, or `:map:KEY:PREPEND:`, with any character in place of the colons. The first one that matches
 * counts. KEY is how names begin in the guest, PREPEND how they begin on the host.
 */

type RuleType = 'prefix' | 'ok' | 'bad' | 'unsupported'
type Scope = 'client' | 'server' | 'all'

interface Rule {
  readonly type: RuleType
  readonly scope: Scope
  readonly key: string
  readonly prepend: string
}

/** What a name of the guest's is on the host, or why it may not be used. */
export type HostName = { readonly name: string } | { readonly refused: 'EPERM' | 'EOPNOTSUPP' }

const TYPES: ReadonlySet<string> = new Set(['prefix', 'ok', 'bad', 'unsupported'] satisfies RuleType[])
const SCOPES: ReadonlySet<string> = new Set(['client', 'server', 'all'] satisfies Scope[])
const MAP_FIELDS = 2
const RULE_FIELDS = 3

/** What is wrong with the rules; its message is for whoever wrote them. */
export class XattrMapError extends Error {}

export class XattrMap {
  private constructor(private readonly rules: readonly Rule[]) {}

  /** @throws XattrMapError */
  static parse(text: string): XattrMap {
    const rules: Rule[] = []
    let rest = text.trimStart()
    let number = 0
    while (rest !== '') {
      number++
      const delimiter = String.fromCodePoint(rest.codePointAt(0) ?? 0)
      const fields = rest.slice(delimiter.length).split(delimiter)
      const [type = ''] = fields
      const count = type === 'map' ? MAP_FIELDS : RULE_FIELDS
      // One more for what stands behind the last delimiter.
      if (fields.length < count + 2) throw new XattrMapError(`rule ${number} has no end`)
      const taken = fields.slice(1, count + 1)
      rules.push(...(type === 'map' ? mapping(taken) : [ruleOf(number, type, taken)]))
      rest = fields
        .slice(count + 1)
        .join(delimiter)
        .trimStart()
      if (type === 'map' && rest !== '')
        throw new XattrMapError(`rule ${number} is a map, which has to be the last one`)
    }
    if (rules.length === 0) throw new XattrMapError('there is no rule')
    return new XattrMap(rules)
  }

  /** Where no rule matches, the name may not be used. */
  toHost(name: string): HostName {
    const rule = this.rules.find(({ scope, key }) => scope !== 'server' && name.startsWith(key))
    if (rule?.type === 'ok') return { name }
    if (rule?.type === 'prefix') return { name: rule.prepend + name }
    return { refused: rule?.type === 'unsupported' ? 'EOPNOTSUPP' : 'EPERM' }
  }

  /** What the guest sees a name of the host's as; null: it does not. */
  toGuest(name: string): string | null {
    const rule = this.rules.find(({ scope, prepend }) => scope !== 'client' && name.startsWith(prepend))
    if (rule?.type === 'ok') return name
    return rule?.type === 'prefix' ? name.slice(rule.prepend.length) : null
  }
}

function ruleOf(number: number, type: string, [scope = '', key = '', prepend = '']: readonly string[]): Rule {
  if (!TYPES.has(type))
    throw new XattrMapError(`rule ${number} is none of prefix, ok, bad, unsupported and map`)
  if (!SCOPES.has(scope)) throw new XattrMapError(`rule ${number} is for none of client, server and all`)
  return { type: type as RuleType, scope: scope as Scope, key, prepend }
}

/** Names that begin with `key` are kept behind `prepend`, whose other names the guest does not reach; an empty key takes all. */
function mapping([key = '', prepend = '']: readonly string[]): Rule[] {
  const prefix: Rule = { type: 'prefix', scope: 'all', key, prepend }
  if (key === '') return [prefix, { type: 'bad', scope: 'all', key: '', prepend: '' }]
  return [
    prefix,
    { type: 'bad', scope: 'server', key: '', prepend: key },
    { type: 'bad', scope: 'client', key: prepend, prepend: '' },
    { type: 'ok', scope: 'all', key: '', prepend: '' },
  ]
}
