import { IdTranslation, IdTranslationError } from '../passthrough/id-translation.js'
import { XattrMap, XattrMapError } from '../passthrough/xattr-map.js'
import { listChoices, quote, ValueError } from './problem.js'

/** Why ids can't be translated with `posix_acl`. */
export const ACCESS_LISTS_HOLD_IDS = 'access lists hold ids'

const FILE_HANDLES: readonly string[] = ['never', 'prefer', 'mandatory']

/** Rules of a pass-through mount are read when it is made; what is wrong with them is told here. @throws ValueError */
export function requireRules(name: string, text: string): void {
  try {
    if (name === 'xattrmap') XattrMap.parse(text)
    if (name === 'inode_file_handles' && !FILE_HANDLES.includes(text))
      throw new ValueError(`expected ${listChoices(FILE_HANDLES)}, found ${quote(text)}`)
    if (name === 'translate_uid' || name === 'translate_gid') IdTranslation.parse(text)
  } catch (error) {
    if (error instanceof XattrMapError || error instanceof IdTranslationError)
      throw new ValueError(error.message)
    throw error
  }
}
