/** Which addresses a server may send us to. */
import { lookup as askNames, type LookupAddress, type LookupOptions } from 'node:dns'
import { BlockList, isIP } from 'node:net'
import { StorageError } from '../storage-error.js'

/** Of this host alone: what listens there trusts whoever can connect. */
const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addSubnet('0.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')
loopback.addAddress('::', 'ipv6')

/** Of this link alone, where clouds tell a machine its credentials; one of them does so at an address of its own. */
const linkLocal = new BlockList()
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4')
linkLocal.addSubnet('fe80::', 10, 'ipv6')
linkLocal.addSubnet('fd00:ec2::', 32, 'ipv6')

function isIn(list: BlockList, address: string): boolean {
  return list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
}

export function isLoopback(address: string): boolean {
  return isIn(loopback, address)
}

/** Whether a server may send us to the address; `mayBeLoopback`: it is on this host itself. */
export function mayBeSentTo(address: string, mayBeLoopback: boolean): boolean {
  return !isIn(linkLocal, address) && (mayBeLoopback || !isLoopback(address))
}

/** The addresses of a host, by its name or as it is. */
export function addressesOf(host: string): Promise<string[]> {
  if (isIP(host) !== 0) return Promise.resolve([host])
  return new Promise((resolve, reject) => {
    askNames(host, { all: true }, (error, found) => {
      if (error === null) resolve(found.map(({ address }) => address))
      else reject(error)
    })
  })
}

type Found = string | LookupAddress[]
type Told = (error: Error | null, address: Found, family?: number) => void

/** As dns.lookup, for connections that a server has sent us on to: what a name leads to is judged when it is connected to, and not before. */
export function lookupOfSent(mayBeLoopback: boolean) {
  return (host: string, options: LookupOptions, told: Told): void => {
    askNames(host, options, (error, address: Found, family?: number) => {
      const addresses = Array.isArray(address) ? address.map((found) => found.address) : [address]
      const isFine = error !== null || addresses.every((each) => mayBeSentTo(each, mayBeLoopback))
      told(isFine ? error : forbidden(host), address, family)
    })
  }
}

export function forbidden(host: string): StorageError {
  return new StorageError('EACCES', `the server sends clients on to ${host}, where no server of it can be`)
}
