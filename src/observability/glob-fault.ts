const GLOB_CHARACTERS_MAX = 1024
/** With more, a name that a guest has made for it could keep the matcher busy for seconds. */
const STARS_OF_NAME_MAX = 3
const GLOBSTARS_MAX = 2

/** Why paths can't be matched by it (see glob-matcher.ts), as the end of a sentence that it begins; null: they can. */
export function globFault(glob: string): string | null {
  if (glob.length > GLOB_CHARACTERS_MAX) return `is longer than ${GLOB_CHARACTERS_MAX} characters`
  if (/[()\0]/.test(glob)) return 'holds a parenthesis; write {a,b} for either of two'
  const names = glob.split('/')
  const globstars = names.filter((name) => name.includes('**')).length
  const stars = (name: string): number => name.split(/\*+/).length - 1
  if (globstars <= GLOBSTARS_MAX && names.every((name) => stars(name) <= STARS_OF_NAME_MAX)) return null
  return `has too many wildcards; at most ${STARS_OF_NAME_MAX} "*" in a name and ${GLOBSTARS_MAX} "**" in all`
}
