/** Directories of object stores, which have none: by markers, by prefixes, and what others see of them. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDWR, S_IFDIR, S_IFMT, S_IFREG } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeStores, eventually, type Served } from '../../support/served.js'
import { SERVER_STORES } from '../../support/stores.js'

const stores = SERVER_STORES.filter(({ properties }) => properties.isObjectStore)

/** Others' changes are seen at once. */
const options = { stores, mount: { expirationMs: 0 } }

/** The keys below `directory`, those only that there are: no prefix. */
async function keys({ view }: Served, directory: string): Promise<string[]> {
  const paths = (await view.paths()).filter((path) => path.startsWith(`${directory}/`))
  const found = await Promise.all(paths.map((path) => view.read(path)))
  return paths.filter((_, i) => found[i] !== null)
}

describeStores('directories of objects', options, (served) => {
  it('are there by a marker, which mkdir makes and rmdir removes', async () => {
    const fs = served().guestFs()
    await fs.mkdir('made')
    assert.equal((await served().view.read('made/'))?.length, 0)
    await fs.rmdir('made')
    assert.equal(await served().view.read('made/'), null)
    await served().view.mkdir('theirs')
    assert.equal((await fs.stat('theirs')).mode & S_IFMT, S_IFDIR)
    assert.deepEqual(await fs.list('theirs'), [])
    await fs.rmdir('theirs')
    assert.equal(await served().view.read('theirs/'), null)
  })

  it('are there by what is below them, however deep', async () => {
    const fs = served().guestFs()
    await served().view.write('implicit/a/b/file', 'x')
    assert.ok((await fs.list()).includes('implicit'))
    assert.equal((await fs.stat('implicit/a')).mode & S_IFMT, S_IFDIR)
    assert.deepEqual(await fs.list('implicit/a'), ['b'])
    assert.equal(await fs.readText('implicit/a/b/file'), 'x')
    assert.equal(await codeOf(fs.rmdir('implicit/a')), 'ENOTEMPTY')
    await served().view.remove('implicit/a/b/file')
    await eventually('they are gone with it', async () => !(await fs.exists('implicit')))
  })

  it('stay when the guest removes the last that was below them, one after the other', async () => {
    const fs = served().guestFs()
    await served().view.write('staying/a/b/file', 'x')
    await fs.unlink('staying/a/b/file')
    assert.deepEqual(await keys(served(), 'staying'), ['staying/a/b/'])
    await fs.rmdir('staying/a/b')
    assert.deepEqual(await keys(served(), 'staying'), ['staying/a/'])
    assert.deepEqual(await fs.list('staying'), ['a'])
    await fs.rmdir('staying/a')
    assert.deepEqual(await keys(served(), 'staying'), ['staying/'])
    assert.deepEqual(await fs.list('staying'), [])
  })

  it('stay when the guest moves the last that was below them', async () => {
    const fs = served().guestFs()
    await served().view.write('left/deep/file', 'x')
    await fs.rename('left/deep/file', 'moved-file')
    assert.deepEqual(await keys(served(), 'left'), ['left/deep/'])
    await fs.rename('left/deep', 'moved-directory')
    assert.deepEqual(await keys(served(), 'left'), ['left/'])
    assert.deepEqual(await fs.list('left'), [])
    assert.deepEqual(await keys(served(), 'moved-directory'), ['moved-directory/'])
  })

  it('stay when the last below them is unlinked while it is open, and hidden for so long', async () => {
    const fs = served().guestFs()
    await served().view.write('opened/file', 'contents')
    const file = await fs.open('opened/file', O_RDWR)
    await fs.unlink('opened/file')
    assert.deepEqual(await fs.list('opened'), [])
    assert.deepEqual(await keys(served(), 'opened'), ['opened/'])
    const [hidden, ...others] = (await keys(served(), '.ovfsd')).filter((key) => key !== '.ovfsd/')
    assert.deepEqual(others, [])
    assert.equal((await served().view.read(hidden ?? ''))?.toString(), 'contents')
    assert.ok(!(await fs.list()).includes('.ovfsd'))
    await file.close()
    assert.deepEqual(
      (await keys(served(), '.ovfsd')).filter((key) => key !== '.ovfsd/'),
      [],
    )
  })

  it('move with their empty directories', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('tree/empty/deeper')
    await served().view.write('tree/implicit/file', 'x')
    await fs.rename('tree', 'grown')
    assert.deepEqual(await keys(served(), 'tree'), [])
    const moved = await keys(served(), 'grown')
    for (const key of ['grown/', 'grown/empty/', 'grown/empty/deeper/', 'grown/implicit/file']) {
      assert.ok(moved.includes(key), key)
    }
    assert.deepEqual(await fs.list('grown'), ['empty', 'implicit'])
    assert.deepEqual(await fs.list('grown/empty'), ['deeper'])
  })

  it('are hidden by an object of their name, and nothing below them is lost', async () => {
    const fs = served().guestFs()
    await served().view.write('ambiguous/twice', 'the object')
    await served().view.write('ambiguous/twice/below', 'below')
    assert.equal((await fs.stat('ambiguous/twice')).mode & S_IFMT, S_IFREG)
    assert.equal(await fs.readText('ambiguous/twice'), 'the object')
    assert.deepEqual(await fs.list('ambiguous'), ['twice'])
    const listed = (await fs.listWithAttributes('ambiguous')).get('twice')
    assert.equal((listed?.mode ?? 0) & S_IFMT, S_IFREG)
    await fs.unlink('ambiguous/twice')
    await eventually('the directory is seen', async () => (await codeOf(fs.list('ambiguous/twice'))) === 'OK')
    assert.equal(await fs.readText('ambiguous/twice/below'), 'below')
  })

  it('hold keys that no path leads to, which are not shown and do no harm', async () => {
    const fs = served().guestFs()
    await served().view.write('odd/plain', 'x')
    for (const key of ['odd//double', 'odd/./dot', 'odd/../dots']) {
      // Some servers refuse such a key: then there is nothing to hide.
      await served()
        .view.write(key, 'unreachable')
        .catch(() => undefined)
    }
    const names = await fs.list('odd')
    assert.ok(names.includes('plain'))
    for (const name of ['', '.', '..']) assert.ok(!names.includes(name), JSON.stringify(name))
    assert.ok((await fs.listWithAttributes('odd')).has('plain'))
    assert.equal(await fs.readText('odd/plain'), 'x')
  })

  it('come back with a file that is stored in one that others removed', async () => {
    const fs = served().guestFs()
    await fs.mkdir('revived')
    const file = await fs.open('revived/file', O_RDWR | O_CREAT)
    await file.write(0, 'x')
    await served().view.removeTree('revived')
    await file.close()
    assert.deepEqual(await keys(served(), 'revived'), ['revived/file'])
    assert.deepEqual(await fs.list('revived'), ['file'])
  })
})
