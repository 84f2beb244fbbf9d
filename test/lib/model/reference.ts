/** What a file system should do, in the plainest way: trees of maps, contents as whole buffers. */

export class ModelError extends Error {
  constructor(readonly errno: string) {
    super(errno)
  }
}

export class ModelFile {
  readonly kind = 'file'
  data = Buffer.alloc(0)

  resize(size: number): void {
    const data = Buffer.alloc(size)
    this.data.copy(data)
    this.data = data
  }

  write(offset: number, bytes: Buffer): void {
    if (offset + bytes.length > this.data.length) this.resize(offset + bytes.length)
    bytes.copy(this.data, offset)
  }
}

export class ModelDirectory {
  readonly kind = 'directory'
  readonly entries = new Map<string, ModelNode>()
}

export type ModelNode = ModelFile | ModelDirectory
export type Path = readonly string[]

export class ReferenceFileSystem {
  readonly root = new ModelDirectory()

  find(path: Path): ModelNode | null {
    let node: ModelNode = this.root
    for (const name of path) {
      if (node.kind !== 'directory') throw new ModelError('ENOTDIR')
      const next = node.entries.get(name)
      if (next === undefined) return null
      node = next
    }
    return node
  }

  private parentOf(path: Path): ModelDirectory {
    const parent = this.find(path.slice(0, -1))
    if (parent === null) throw new ModelError('ENOENT')
    if (parent.kind !== 'directory') throw new ModelError('ENOTDIR')
    return parent
  }

  get(path: Path): ModelNode {
    const node = this.find(path)
    if (node === null) throw new ModelError('ENOENT')
    return node
  }

  mkdir(path: Path): void {
    const parent = this.parentOf(path)
    const name = path.at(-1) ?? ''
    if (parent.entries.has(name)) throw new ModelError('EEXIST')
    parent.entries.set(name, new ModelDirectory())
  }

  create(path: Path, exclusive: boolean, truncate: boolean): ModelFile {
    const parent = this.parentOf(path)
    const name = path.at(-1) ?? ''
    const present = parent.entries.get(name)
    if (present === undefined) {
      const file = new ModelFile()
      parent.entries.set(name, file)
      return file
    }
    if (exclusive) throw new ModelError('EEXIST')
    if (present.kind === 'directory') throw new ModelError('EISDIR')
    if (truncate) present.resize(0)
    return present
  }

  unlink(path: Path): void {
    const parent = this.parentOf(path)
    const node = this.get(path)
    if (node.kind === 'directory') throw new ModelError('EISDIR')
    parent.entries.delete(path.at(-1) ?? '')
  }

  rmdir(path: Path): void {
    const parent = this.parentOf(path)
    const node = this.get(path)
    if (node.kind !== 'directory') throw new ModelError('ENOTDIR')
    if (node.entries.size > 0) throw new ModelError('ENOTEMPTY')
    parent.entries.delete(path.at(-1) ?? '')
  }

  rename(from: Path, to: Path, noReplace: boolean): void {
    const oldParent = this.parentOf(from)
    const newParent = this.parentOf(to)
    const source = this.get(from)
    const target = this.find(to)
    if (target !== null && noReplace) throw new ModelError('EEXIST')
    if (source === target) return
    if (source.kind === 'directory' && contains(source, newParent)) throw new ModelError('EINVAL')
    if (target !== null) {
      if (source.kind === 'directory' && target.kind !== 'directory') throw new ModelError('ENOTDIR')
      if (source.kind !== 'directory' && target.kind === 'directory') throw new ModelError('EISDIR')
      if (target.kind === 'directory' && target.entries.size > 0) throw new ModelError('ENOTEMPTY')
    }
    oldParent.entries.delete(from.at(-1) ?? '')
    newParent.entries.set(to.at(-1) ?? '', source)
  }

  list(path: Path): string[] {
    const node = this.get(path)
    if (node.kind !== 'directory') throw new ModelError('ENOTDIR')
    return [...node.entries].map(([name, child]) => (child.kind === 'directory' ? `${name}/` : name)).sort()
  }
}

function contains(directory: ModelDirectory, node: ModelNode): boolean {
  if (directory === node) return true
  for (const child of directory.entries.values()) {
    if (child.kind === 'directory' && contains(child, node)) return true
  }
  return false
}
