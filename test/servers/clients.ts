/** Clients of the kinds of storage that share no code with the daemon: how tests see what is really stored. */
export * from './clients/http.js'
export * from './clients/s3-client.js'
export * from './clients/swift-client.js'
export * from './clients/webdav-client.js'
export * from './clients/webhdfs-client.js'
