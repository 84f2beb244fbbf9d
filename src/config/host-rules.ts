import { IdTranslation, IdTranslationError } from '../passthrough/id-translation.js'
import { XattrMap, XattrMapError } from '../passthrough/xattr-map.js'
import { ValueError } from './problem.js'

/** Rules of a pass-through mount are read when it is made; what is wrong with them is told here. @throws ValueError */
export function requireRules(name: string, text: string): void {
  try {
    if (name === 'xattrmap') XattrMap.parse(text)
    if (name === 'translate_uid' || name === 'translate_gid') IdTranslation.parse(text)
  } catch (error) {
    if (error instanceof XattrMapError || error instanceof IdTranslationError)
      throw new ValueError(error.message)
    throw error
  }
}
