import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { mountRoot, type GuestSuite, type MountUnderTest } from '../suite.js'

const execFileAsync = promisify(execFile)
/** What cksum prints of bytes. */
export async function checksumOf(data: Uint8Array | null): Promise<string> {
  assert(data !== null, 'nothing is stored')
  const run = execFileAsync('cksum')
  run.child.stdin?.end(data)
  return (await run).stdout.trim()
}
const shell = async (script: string): Promise<string> =>
  (await execFileAsync('bash', ['-eu', '-o', 'pipefail', '-c', script])).stdout.trim()

/** Numbered lines that fill a mebibyte at least, from 16 MiB on: most have 7 digits and a line end. */
const LINES_OF_A_MIB = 140_000
/**
 * Shell functions that make the pieces of the large file, no two alike and none with a repeated part: what is misplaced
 * shows. No pipes, which are slow between emulated processors.
 */
const piecesOf = (pieceMiB: number): string => `
    make_block() { seq 1 ${pieceMiB * LINES_OF_A_MIB} > "$1"; truncate -s ${pieceMiB}M "$1"; }
    mark() { printf 'piece %09d ' "$2" | dd of="$1" conv=notrunc status=none; }`

/** The checksum of the large file, from the same pieces made on the host. */
function checksumOfPieces(pieces: number, pieceMiB: number): Promise<string> {
  return shell(`${piecesOf(pieceMiB)}
    block=$(mktemp); trap 'rm "$block"' EXIT
    make_block "$block"
    for ((i = 0; i < ${pieces}; i++)); do mark "$block" $i; cat "$block"; done | cksum`)
}

/** A large file takes an emulated processor so long, with room for a busy machine. */
const LARGE_FILE_MS = 240_000

/** Reading and writing in every way: through the page cache, past it, mapped, in odd pieces, and a lot. */
export function dataCases(suite: GuestSuite, mount: MountUnderTest): void {
  suite.inFolder(
    mount,
    'dd with odd block sizes',
    `
    head -c 2000123 /dev/urandom > /tmp/random
    for size in 4095 65537 3M; do
      dd if=/tmp/random of=file bs=$size status=none
      cmp file /tmp/random
      dd if=file of=/tmp/back bs=$size status=none
      cmp /tmp/back /tmp/random
    done
    dd if=/tmp/random of=small bs=1 count=777 status=none
    cmp -n 777 small /tmp/random
    same "$(stat -c %s small)" 777; rm /tmp/random /tmp/back`,
  )

  suite.inFolder(
    mount,
    'dd with O_DIRECT, reading and writing',
    `
    head -c ${mount.sizes.directBytes} /dev/urandom > /tmp/random
    for size in 4096 65536 2M; do
      dd if=/tmp/random of=file bs=$size oflag=direct status=none
      cmp file /tmp/random
      dd if=file of=/tmp/back bs=$size iflag=direct status=none
      cmp /tmp/back /tmp/random
    done
    # No device wants aligned blocks here, so none need be aligned.
    dd if=/tmp/random of=odd bs=1000 oflag=direct status=none
    cmp odd /tmp/random
    # A direct read sees what was written through the cache, and the other way round.
    dd if=/dev/zero of=file bs=5000 seek=7 count=3 conv=notrunc status=none
    dd if=/dev/zero of=/tmp/random bs=5000 seek=7 count=3 conv=notrunc status=none
    dd if=file bs=64k iflag=direct status=none | cmp - /tmp/random
    dd if=/dev/zero of=file bs=4096 seek=100 count=2 oflag=direct conv=notrunc status=none
    dd if=/dev/zero of=/tmp/random bs=4096 seek=100 count=2 conv=notrunc status=none
    cmp file /tmp/random; rm /tmp/random /tmp/back`,
  )

  suite.inFolder(
    mount,
    'dd conv=notrunc at offsets, append, sync',
    `
    head -c 900000 /dev/urandom > /tmp/model; cp /tmp/model file
    head -c 500000 /dev/urandom > /tmp/patch
    for place in 0:1 1:4095 4095:2 131071:131074 500000:399999 899990:500 1500000:10000 70000:450000; do
      for target in file /tmp/model; do
        dd if=/tmp/patch of=$target oflag=seek_bytes iflag=count_bytes seek=\${place%:*} count=\${place#*:} bs=64k conv=notrunc status=none
      done
    done
    cmp file /tmp/model
    dd if=/tmp/patch of=file oflag=append conv=notrunc bs=9999 count=3 status=none
    dd if=/tmp/patch of=/tmp/model oflag=append conv=notrunc bs=9999 count=3 status=none
    cmp file /tmp/model
    dd if=/tmp/patch of=file oflag=dsync conv=notrunc bs=30000 status=none
    dd if=/tmp/patch of=/tmp/model conv=notrunc bs=30000 status=none
    dd if=/tmp/patch of=file oflag=sync,seek_bytes seek=12345 conv=notrunc,fsync bs=100000 count=2 status=none
    dd if=/tmp/patch of=/tmp/model oflag=seek_bytes seek=12345 conv=notrunc bs=100000 count=2 status=none
    cmp file /tmp/model
    dd if=file of=/tmp/back iflag=skip_bytes,count_bytes skip=54321 count=77777 bs=64k status=none
    same "$(stat -c %s /tmp/back)" 77777
    cmp -n 77777 -i 54321:0 /tmp/model /tmp/back
    rm /tmp/model /tmp/patch /tmp/back`,
  )

  suite.inFolder(
    mount,
    'mmap: private reads forwards and backwards, shared writes',
    `
    head -c 3000001 /dev/urandom > /tmp/random; cp /tmp/random file
    echo 3 > /proc/sys/vm/drop_caches
    fscalls mmap-read-backwards file > /tmp/sum
    same "$(cat /tmp/sum)" "$(fscalls mmap-read-backwards /tmp/random)"
    echo 3 > /proc/sys/vm/drop_caches
    fscalls mmap-read file | cmp - /tmp/random
    for offset in 0 4094 2999990; do
      fscalls mmap-write file $offset mapped
      fscalls mmap-write /tmp/random $offset mapped
    done
    cmp file /tmp/random
    echo 3 > /proc/sys/vm/drop_caches
    cmp file /tmp/random; rm /tmp/random /tmp/sum`,
  )

  suite.inFolder(
    mount,
    'fallocate, fsync of a directory, sync',
    `
    echo content > file
    fscalls fsync-directory .
    sync file; sync -d file; sync -f file; sync
    # A store may refuse to reserve space, but then nothing may have changed.
    if fallocate -l 1M file 2>/dev/null; then same "$(stat -c %s file)" 1048576; else same "$(stat -c %s file)" 8; fi
    same "$(head -c 7 file)" content`,
  )

  suite.inFolder(
    mount,
    'fio: four jobs write at random and verify checksums',
    `
    fio --name=buffered --directory=. --rw=randwrite --bs=4k --size=${mount.sizes.fioMiB}m --numjobs=4 --ioengine=psync --verify=crc32c --verify_fatal=1 --do_verify=1 --output=/tmp/fio --group_reporting --fallocate=none --verify_state_save=0 --end_fsync=1 || { cat /tmp/fio; exit 1; }
    fio --name=direct --directory=. --rw=randrw --bs=16k --size=${mount.sizes.fioMiB}m --numjobs=4 --ioengine=libaio --iodepth=16 --direct=1 --verify=crc32c --verify_fatal=1 --output=/tmp/fio --group_reporting --fallocate=none --verify_state_save=0 || { cat /tmp/fio; exit 1; }`,
    { timeoutMs: 180_000 },
  )

  const { largeFileMiB, largePieceMiB } = mount.sizes
  const pieces = largeFileMiB / largePieceMiB
  suite.inFolder(
    mount,
    `a file of ${largeFileMiB} MiB has the checksum that it should have, here and for others`,
    `
    ${piecesOf(largePieceMiB)}
    make_block /tmp/block
    exec 3> large
    for ((i = 0; i < ${pieces}; i++)); do mark /tmp/block $i; dd if=/tmp/block bs=1M status=none >&3; done
    exec 3>&-
    rm /tmp/block
    same "$(stat -c %s large)" ${largeFileMiB * 1024 * 1024}
    echo 3 > /proc/sys/vm/drop_caches
    cksum < large`,
    {
      timeoutMs: LARGE_FILE_MS,
      check: async (output, folder) => {
        assert.equal(
          output.trim(),
          await checksumOfPieces(pieces, largePieceMiB),
          'the guest reads other bytes than it wrote',
        )
        if (mount.outside !== null) {
          const stored = await checksumOf(await mount.outside().read(`${folder}/large`))
          assert.equal(stored, output.trim(), 'another client sees other bytes')
        }
        if (!mount.onHost) return
        const onHost = await shell(`cksum < '${path.join(suite.hostFolder(mount), folder, 'large')}'`)
        assert.equal(onHost, output.trim(), 'the host sees other bytes')
      },
    },
  )

  if (mount.onHost) {
    suite.inFolder(
      mount,
      'the host sees what the guest wrote, byte for byte',
      `
      mkdir -p sub/deep
      printf 'from the guest\\n' > sub/deep/file
      head -c 100001 /dev/urandom > random
      cksum sub/deep/file random`,
      {
        check: async (output, folder) => {
          const root = path.join(suite.hostFolder(mount), folder)
          for (const line of output.trim().split('\n')) {
            const [sum = '', size = '', file = ''] = line.split(' ')
            const { stdout } = await execFileAsync('cksum', [path.join(root, file)])
            assert.equal(stdout.split(' ').slice(0, 2).join(' '), `${sum} ${size}`, file)
          }
          const { stdout } = await execFileAsync('find', [root, '-mindepth', '1', '-printf', '%P %y\n'])
          assert.deepEqual(stdout.trim().split('\n').sort(), [
            'random f',
            'sub d',
            'sub/deep d',
            'sub/deep/file f',
          ])
          // What the host adds, the guest finds at once; what it changes, when it opens the file and what it knows is not new.
          await shell(`cd '${root}'; echo 'from the host!' > new; echo 'from THE guest' > sub/deep/file`)
          await suite.sh(`cd '${mountRoot(mount.tag)}/${mount.mountPoint}/${folder}'
            same "$(cat new)" 'from the host!'
            until [ "$(cat sub/deep/file)" = 'from THE guest' ]; do sleep 0.1; done`)
        },
      },
    )
  }
}
