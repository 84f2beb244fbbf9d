import { isSecretName } from '../observability/redaction.js'

/**
 * Options that change how a store is reached and not which one it is: credentials, which have telling names, and these.
 * Any other option may make it another store, whose contents must not be mixed with what is cached of the first.
 */
const SAME_STORE_OPTION =
  /^(role_(arn|session_name)|external_id|allow_anonymous|disable_\w+|enable_(virtual_host_style|request_payer|write_with_append)|batch_max_operations|delete_max_size|checksum_algorithm|default_storage_class|xattr|direct_io|announce_submounts|server_side_encryption\w*)$/
/** Telling names that are part of a store's address all the same. */
const OTHER_STORE_OPTION = /^(bucket|container|root|endpoint|\w*url|keystone\w*)$/

/** Tells stores apart: equal for two profiles of one type whose options lead to the same place. */
export function storeKey(type: string, options: Readonly<Record<string, string>>): string {
  const address = Object.entries(options).filter(([option]) => !isSameStore(option))
  return JSON.stringify([type, address.sort()])
}

function isSameStore(option: string): boolean {
  return (isSecretName(option) || SAME_STORE_OPTION.test(option)) && !OTHER_STORE_OPTION.test(option)
}
