/** The virtual root and mount points: at one name, nested, at the root itself; and what may not be changed of them. */
import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import { DT_DIR, O_CREAT, O_RDWR, S_IFDIR, S_IFMT, S_IFREG } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import { describeEachStore, serve, type MountSpec, type Served } from '../../support/served.js'
import { STORES, type Store } from '../../support/stores.js'

async function servedAt(
  t: TestContext,
  store: Store,
  mountPoints: readonly (readonly string[])[],
  common: Partial<MountSpec> = {},
): Promise<{ served: Served; root: GuestFs }> {
  const served = await serve({ mounts: mountPoints.map((mountPoint) => ({ ...common, store, mountPoint })) })
  t.after(() => served.close())
  return { served, root: new GuestFs(served.client) }
}

describeEachStore('mount points', STORES, (store) => {
  it('are listed in the virtual root', async (t) => {
    const { root } = await servedAt(t, store, [['s3_fs'], ['hdfs_fs'], ['deep', 'down', 'fs']])
    assert.deepEqual(await root.list(), ['deep', 'hdfs_fs', 's3_fs'])
    assert.deepEqual(await root.list('deep'), ['down'])
    assert.deepEqual(await root.list('deep/down'), ['fs'])
    const attributes = await root.listWithAttributes()
    for (const attr of attributes.values()) assert.equal(attr.mode & S_IFMT, S_IFDIR)
  })

  it('are apart from each other', async (t) => {
    const { root } = await servedAt(t, store, [['one'], ['two']])
    await root.writeFile('one/file', 'of one')
    await root.writeFile('two/file', 'of two')
    assert.equal(await root.readText('one/file'), 'of one')
    assert.equal(await root.readText('two/file'), 'of two')
    await root.unlink('one/file')
    assert.equal(await root.readText('two/file'), 'of two')
  })

  for (const order of [
    [['a'], ['a', 'b']],
    [['a', 'b'], ['a']],
  ]) {
    it(`may lie in each other, ${order.map((path) => path.join('/')).join(' before ')}`, async (t) => {
      const { root } = await servedAt(t, store, order)
      await root.writeFile('a/outer', 'outer')
      await root.writeFile('a/b/inner', 'inner')
      assert.deepEqual(await root.list('a'), ['b', 'outer'])
      assert.deepEqual(await root.list('a/b'), ['inner'])
      assert.equal(await root.readText('a/b/inner'), 'inner')
      assert.ok((await root.listWithAttributes('a')).has('b'))
    })
  }

  it('may be the root itself, with another inside', async (t) => {
    const { root, served } = await servedAt(t, store, [[], ['inside', 'it']])
    await root.writeFile('at-root', 'x')
    await root.writeFile('inside/it/file', 'y')
    assert.deepEqual(await root.list(), ['at-root', 'inside'])
    assert.deepEqual(await root.list('inside'), ['it'])
    const { fh } = await served.client.opendir(1)
    const types = new Map((await served.client.readdir(1, fh)).map(({ name, type }) => [name, type]))
    assert.equal(types.get('inside'), DT_DIR)
    await served.client.releasedir(1, fh)
    assert.equal(await codeOf(root.rmdir('inside')), 'EBUSY')
    assert.equal(await codeOf(served.client.rename(1, 'inside', 1, 'elsewhere')), 'EBUSY')
    assert.equal(await codeOf(served.client.rename(1, 'at-root', 1, 'inside')), 'EBUSY')
    assert.equal(await codeOf(served.client.unlink(1, 'inside')), 'EBUSY')
    assert.equal(await codeOf(served.client.create(1, 'inside', O_RDWR | O_CREAT)), 'EISDIR')
  })

  it('cover what the store has by that name', async (t) => {
    const { root, served } = await servedAt(t, store, [[], ['covered']])
    const view = served.stores[0]?.view
    if (view) await view.write('covered', 'a file of the store')
    assert.deepEqual(await root.list(), ['covered'])
    assert.equal((await root.stat('covered')).mode & S_IFMT, S_IFDIR)
    await root.writeFile('covered/file', 'x')
    assert.equal(await root.readText('covered/file'), 'x')
  })

  it('keep the virtual root as it is', async (t) => {
    const { root, served } = await servedAt(t, store, [['m'], ['deep', 'fs']])
    const { client } = served
    for (const parent of [1, await served.nodeid('deep')]) {
      assert.equal(await codeOf(client.create(parent, 'x', O_RDWR | O_CREAT)), 'EROFS')
      assert.equal(await codeOf(client.mkdir(parent, 'x')), 'EROFS')
      assert.equal(await codeOf(client.mknod(parent, 'x', S_IFREG)), 'EROFS')
      assert.equal(await codeOf(client.unlink(parent, 'm')), 'EROFS')
      assert.equal(await codeOf(client.rmdir(parent, 'm')), 'EROFS')
      assert.equal(await codeOf(client.rename(parent, 'm', parent, 'n')), 'EROFS')
      assert.equal(await codeOf(client.setattr(parent, { mtime: 1 })), 'EROFS')
      assert.equal(await codeOf(client.lookup(parent, 'missing')), 'ENOENT')
    }
    assert.deepEqual(await root.list(), ['deep', 'm'])
    assert.equal((await root.stat('')).mode, S_IFDIR | 0o755)
  })

  it('never lose their nodeid, however often they are forgotten', async (t) => {
    const { served } = await servedAt(t, store, [['m']])
    const { client } = served
    const { nodeid } = await client.lookup(1, 'm')
    await client.forget(nodeid, 1000)
    await client.forget(1, 1000)
    assert.equal((await client.lookup(1, 'm')).nodeid, nodeid)
    assert.equal((await client.getattr(1)).attr.mode & S_IFMT, S_IFDIR)
  })

  it('tell their room by statfs', async (t) => {
    const { root } = await servedAt(t, store, [['m']])
    await root.writeFile('m/file', 'x')
    for (const path of ['', 'm', 'm/file']) {
      const { bsize, frsize, namelen, blocks, bfree, bavail, files, ffree } = await root.statfs(path)
      assert.ok(bsize > 0 && frsize > 0, path)
      assert.equal(namelen, 255)
      assert.ok(blocks >= bfree && bfree >= bavail && files >= ffree, path)
      if (path !== '') assert.ok(blocks > 0 && bavail > 0, path)
    }
  })

  it('take names from the configuration that need no store, as UTF-8 and spaces', async (t) => {
    const { root } = await servedAt(t, store, [['Zwölf Boxkämpfer'], ['日本', '語']])
    await root.writeFile('Zwölf Boxkämpfer/x', 'x')
    await root.writeFile('日本/語/y', 'y')
    assert.equal(await root.readText('日本/語/y'), 'y')
  })
})
