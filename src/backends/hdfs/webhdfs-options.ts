import { StorageError } from '../storage-error.js'

/** The NameNode's HTTP port, where WebHDFS answers (dfs.namenode.http-address). */
const WEBHDFS_PORT = 9870

export interface WebhdfsOptions {
  /** Of the NameNodes, without a slash at the end: one, or those of a pair of which one is active. */
  readonly endpoints: readonly string[]
  /** Absolute, without a slash at the end: '' for the whole file system. */
  readonly root: string
  /** What simple authentication calls us. */
  readonly user: string | undefined
  readonly delegation: string | undefined
  /** List directories by LISTSTATUS_BATCH, which servers before Hadoop 2.9 lack. */
  readonly listsInBatches: boolean
}

/**
 * The options of a profile of type `hdfs` or `webhdfs`.
 * @throws StorageError EINVAL with a sentence saying what is wrong
 */
export function webhdfsOptions(options: Readonly<Record<string, string>>): WebhdfsOptions {
  const { endpoint, name_node: nameNode, root = '/' } = options
  const given = endpoint ?? (nameNode === undefined ? undefined : endpointOf(nameNode))
  if (given === undefined) throw new StorageError('EINVAL', 'HDFS needs "name_node" or "endpoint"')
  const names = root.split('/').filter((name) => name !== '')
  if (names.includes('.') || names.includes('..') || names.some((name) => name.includes(':'))) {
    throw new StorageError('EINVAL', '"root" must be a path without ".", ".." and ":"')
  }
  return {
    endpoints: given.split(',').map(parseEndpoint),
    root: names.map((name) => `/${name}`).join(''),
    user: options['user'] ?? options['user_name'],
    delegation: options['delegation'],
    listsInBatches: options['disable_list_batch'] !== 'true',
  }
}

/** `hdfs://host:9000` -> `http://host:9870`: the port given is that of Hadoop's own protocol. */
function endpointOf(nameNode: string): string {
  const url = URL.canParse(nameNode) ? new URL(nameNode) : null
  if (url?.protocol !== 'hdfs:' || url.hostname === '') {
    throw new StorageError('EINVAL', '"name_node" must be like "hdfs://host:9000"')
  }
  return `http://${url.hostname}:${WEBHDFS_PORT}`
}

function parseEndpoint(text: string): string {
  const trimmed = text.trim()
  // As OpenDAL takes it: without a scheme it is HTTP.
  const full = trimmed.includes('://') ? trimmed : `http://${trimmed}`
  const url = URL.canParse(full) ? new URL(full) : null
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.username !== '') {
    throw new StorageError('EINVAL', '"endpoint" must be like "http://host:9870"')
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`
}
