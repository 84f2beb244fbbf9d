import { LOOPBACK } from './storage-server.js'

export interface HdfsPorts {
  readonly nameNode: number
  readonly nameNodeHttp: number
  readonly dataNode: number
  readonly dataNodeHttp: number
  readonly dataNodeIpc: number
}

export interface HdfsConfigurationOptions {
  readonly directory: string
  readonly ports: HdfsPorts
  /** Owner of everything, and superuser. */
  readonly user: string
  readonly blockSizeBytes: number
}

/** hdfs-site.xml of a NameNode with one DataNode. */
export function hdfsConfiguration(options: HdfsConfigurationOptions): string {
  const { directory, ports, user } = options
  const address = (port: number) => `${LOOPBACK}:${port}`
  return siteXml({
    'fs.defaultFS': `hdfs://${address(ports.nameNode)}`,
    'hadoop.tmp.dir': `${directory}/tmp`,
    'dfs.namenode.name.dir': `file://${directory}/name`,
    'dfs.datanode.data.dir': `file://${directory}/data`,
    'dfs.namenode.rpc-address': address(ports.nameNode),
    'dfs.namenode.http-address': address(ports.nameNodeHttp),
    'dfs.datanode.address': address(ports.dataNode),
    'dfs.datanode.http.address': address(ports.dataNodeHttp),
    'dfs.datanode.ipc.address': address(ports.dataNodeIpc),
    // Clients are sent to this name: it must be one that they reach, and needs no look-up.
    'dfs.datanode.hostname': LOOPBACK,
    'dfs.namenode.datanode.registration.ip-hostname-check': 'false',
    'dfs.replication': '1',
    'dfs.blocksize': String(options.blockSizeBytes),
    'dfs.namenode.fs-limits.min-block-size': '1024',
    // A writer that closes its file before the DataNode has told of the last block asks again after so long; the default
    // of 400 ms makes every other small file that slow.
    'dfs.client.block.write.locateFollowingBlock.initial.delay.ms': '5',
    // There is no other DataNode to go on with.
    'dfs.client.block.write.replace-datanode-on-failure.policy': 'NEVER',
    // Leave safe mode as soon as every block is there.
    'dfs.namenode.safemode.extension': '0',
    'dfs.namenode.safemode.min.datanodes': '1',
    'dfs.heartbeat.interval': '1',
    // A disk with little room left is no reason to refuse a test's files.
    'dfs.datanode.du.reserved': '0',
    'dfs.namenode.resource.du.reserved': '0',
    // Tests crash the process, never the machine.
    'dfs.namenode.edits.noeditlogchannelflush': 'true',
    'dfs.datanode.directoryscan.interval': '-1',
    'dfs.block.scanner.volume.bytes.per.second': '0',
    'dfs.namenode.handler.count': '4',
    'dfs.datanode.handler.count': '4',
    // Without Kerberos the NameNode gives no tokens unless told to.
    'dfs.namenode.delegation.token.always-use': 'true',
    // Who is in which group: without this a shell command is run for each user.
    'hadoop.user.group.static.mapping.overrides': `${user}=supergroup;guest=users`,
    'hadoop.http.authentication.signature.secret.file': `${directory}/secret`,
  })
}

function siteXml(properties: Readonly<Record<string, string>>): string {
  const lines = Object.entries(properties).map(
    ([name, value]) => `  <property><name>${name}</name><value>${value}</value></property>`,
  )
  return `<?xml version="1.0"?>\n<configuration>\n${lines.join('\n')}\n</configuration>\n`
}
