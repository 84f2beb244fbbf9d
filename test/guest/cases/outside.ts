import assert from 'node:assert/strict'
import { it } from 'node:test'
import { randomBytes } from '../../support/bytes.js'
import type { StoreView } from '../../support/store.js'
import { pathsBelow } from '../../support/views.js'
import type { GuestSuite } from '../suite.js'
import { checksumOf } from './data.js'

/** More than three parts of an upload, and not a multiple of one. */
const PARTS_BYTES = 26_000_001
/** What the guest must not take longer to notice than the mount's expiration, with room for a busy machine: less than the default. */
const NOTICE_MS = 40_000

/** How often a file is read, and replaced meanwhile. */
const REPLACEMENTS = 15

/** A mount beside another client of the same storage. The mount's expiration is a second. */
export interface SharedMount {
  /** Absolute, in the guest. */
  readonly directory: string
  readonly outside: () => StoreView
}

/** What the guest wrote is what others read, and the other way round. */
export function outsideCases(suite: GuestSuite, { directory, outside }: SharedMount): void {
  it('another client reads what the guest wrote, byte for byte', async () => {
    const printed = await suite.sh(
      `mkdir ${directory}/ours; cd ${directory}/ours
      mkdir -p sub/deep empty; : > nothing
      printf 'from the guest\\n' > sub/deep/file
      head -c ${PARTS_BYTES} /dev/urandom > /tmp/random; cp /tmp/random parts
      head -c 100001 /tmp/random > rewritten
      printf middle | dd of=rewritten bs=1 seek=50000 conv=notrunc status=none
      truncate -s 90000 rewritten; printf tail >> rewritten
      printf in > 'odd # name+%20 &é'; mv 'odd # name+%20 &é' 'sub/odd ? name=日本'
      head -c 9000000 /tmp/random > moved; mv moved sub/moved
      find . -type f -exec cksum {} +; rm /tmp/random`,
      NOTICE_MS * 3,
    )
    const files = printed.trim().split('\n')
    for (const line of files) {
      const [, checksum = '', path = ''] = /^(\d+ \d+) \.\/(.*)$/.exec(line) ?? []
      assert.equal(await checksumOf(await outside().read(`ours/${path}`)), checksum, path)
    }
    assert.deepEqual(
      await pathsBelow(outside(), 'ours'),
      [
        ...['empty/', 'nothing', 'parts', 'rewritten', 'sub/', 'sub/deep/', 'sub/deep/file', 'sub/moved'],
        'sub/odd ? name=日本',
      ].sort(),
    )
    assert.equal(files.length, 6)
    await suite.sh(`rm -r ${directory}/ours`)
    assert.deepEqual(await pathsBelow(outside(), 'ours'), [])
  })

  it('the guest sees what another client wrote, changed and removed', async () => {
    const store = outside()
    const large = randomBytes(PARTS_BYTES, 1)
    await store.mkdir('theirs')
    await Promise.all([
      store.write('theirs/changed', 'first'),
      store.write('theirs/removed', 'gone soon'),
      store.write('theirs/shrunk', randomBytes(200_000, 2)),
    ])
    // Everything is known to the guest, and that `new` is missing; one file is kept open.
    await suite.sh(`cd ${directory}/theirs; ls -l > /tmp/before
      same "$(cat changed removed)" 'firstgone soon'; wc -c < shrunk > /tmp/size; same "$(< /tmp/size)" 200000
      [ ! -e new ]; [ ! -e new-directory ]`)
    await Promise.all([
      store.write('theirs/changed', 'second, and longer'),
      store.remove('theirs/removed'),
      store.write('theirs/shrunk', 'short'),
      store.write('theirs/new', large),
      store.mkdir('theirs/new-directory'),
    ])
    const output = await suite.sh(
      `cd ${directory}/theirs
      until [ -e new ] && [ -d new-directory ] && [ ! -e removed ]; do sleep 0.1; done
      until [ "$(< changed)" = 'second, and longer' ]; do sleep 0.1; done
      until [ "$(< shrunk)" = short ]; do sleep 0.1; done
      same "$(stat -c %s shrunk)" 5
      until [ "$(ls | tr '\\n' ' ')" = 'changed new new-directory shrunk ' ]; do sleep 0.1; done
      echo under > new-directory/ours; rm changed
      cksum < new`,
      NOTICE_MS,
    )
    assert.equal(output.trim(), await checksumOf(large))
    assert.deepEqual(await pathsBelow(store, 'theirs'), [
      'new',
      'new-directory/',
      'new-directory/ours',
      'shrunk',
    ])
    await suite.sh(`rm -r ${directory}/theirs`)
  })

  it('a file that another client replaces: each read is of one version, or ESTALE', async () => {
    const store = outside()
    // One request of the guest reads all of it.
    const bytes = 400_000
    const versions = [randomBytes(bytes, 3), randomBytes(bytes, 4)] as const
    await store.write('replaced', versions[0])
    await suite.sh(`rm -f /tmp/seen; ( for i in $(seq 1 ${REPLACEMENTS}); do
        if dd if=${directory}/replaced of=/tmp/copy bs=${bytes} count=1 iflag=direct status=none 2> /tmp/why
        then cksum < /tmp/copy; else grep -o 'Stale file handle' /tmp/why || cat /tmp/why; fi
      done > /tmp/seen; echo done >> /tmp/seen ) < /dev/null > /dev/null 2>&1 &`)
    for (let round = 1; round <= REPLACEMENTS; round++) {
      await store.write('replaced', versions[round % 2 === 0 ? 0 : 1])
    }
    const seen = await suite.sh(
      `until grep -q done /tmp/seen; do sleep 0.1; done; cat /tmp/seen; rm ${directory}/replaced /tmp/seen`,
      NOTICE_MS,
    )
    const allowed = [...(await Promise.all(versions.map(checksumOf))), 'Stale file handle']
    const lines = seen.trim().split('\n').slice(0, -1)
    assert.equal(lines.length, REPLACEMENTS)
    for (const line of lines) assert.ok(allowed.includes(line), line)
    assert.ok(lines.some((line) => line !== allowed.at(-1)))
  })
}
