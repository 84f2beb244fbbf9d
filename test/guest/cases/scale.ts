import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { GuestSuite, MountUnderTest } from '../suite.js'

const ENTRIES = 10_000
/** How often each of the eight processes goes through all its work. */
const ROUNDS = 8
const MANY_ENTRIES_MS = 240_000

/** Many entries in one directory, and many processes at once. */
export function scaleCases(suite: GuestSuite, mount: MountUnderTest): void {
  // Where the host can, it makes most of them: the guest's part takes an emulated processor milliseconds each.
  const byHost = mount.onHost ? ENTRIES * 0.8 : 0
  suite.inFolder(
    mount,
    '10,000 entries: made, listed, found, removed',
    `
    mkdir -p many
    # Four at once: each spends most of its time waiting for replies.
    pids=()
    each=$((${ENTRIES - byHost} / 4))
    for part in 0 1 2 3; do fscalls create-many many $((${byHost} + part * each)) $((${byHost} + (part + 1) * each)) & pids+=($!); done
    for pid in "\${pids[@]}"; do wait $pid; done
    same "$(ls -l many | tail -n +2 | wc -l)" ${ENTRIES}
    # In whatever order: each name once.
    ls -f many | grep -v '^[.]*$' | sort > /tmp/listed
    for ((i = 0; i < ${ENTRIES}; i++)); do echo "entry-$i"; done | sort | cmp - /tmp/listed
    echo 3 > /proc/sys/vm/drop_caches
    same "$(find many -type f -size 0 | wc -l)" ${ENTRIES}
    same "$(busybox ls many | wc -l)" ${ENTRIES}
    # Entries go while the directory is being read.
    rm -r many
    [ ! -e many ]; rm /tmp/listed`,
    {
      timeoutMs: MANY_ENTRIES_MS,
      prepare: async (folder) => {
        if (byHost === 0) return
        const many = path.join(suite.hostFolder(mount), folder, 'many')
        await mkdir(many)
        for (let i = 0; i < byHost; i++) await writeFile(path.join(many, `entry-${i}`), '')
      },
    },
  )

  suite.inFolder(
    mount,
    'eight processes write, read, rename and append at once',
    `
    # The content that a worker writes in one round: every line says whose it is. Built-in commands only, for speed.
    content() { local i; text=; for ((i = 0; i < 40; i++)); do text+="worker $1 round $2 line $i"$'\\n'; done; }
    worker() {
      local me=$1 r; mkdir own-$me
      for ((r = 0; r < ${ROUNDS}; r++)); do
        content $me $r; printf %s "$text" > own-$me/file
        same "$(< own-$me/file)" "\${text%?}" || return 1
        mv own-$me/file own-$me/moved-$r
        # One name that all replace: a reader sees one worker's whole file, never parts of two, never none.
        printf %s "$text" > tmp-$me
        mv tmp-$me shared
        # A file that is replaced twice between its look-up and its opening is ESTALE: there is no third try in the kernel.
        until seen=$(fscalls read-file shared 2>&1); do
          [ "$seen" = 'open: ESTALE' ] || { echo "worker $me cannot read the shared file: $seen"; return 1; }
        done
        read -r _ who _ round _ <<< "$seen"; content $who $round
        same "$seen" "\${text%?}" || return 1
        fscalls append log 20 "worker $me round $r" || return 1
      done
      for ((r = 0; r < ${ROUNDS}; r++)); do content $me $r; same "$(< own-$me/moved-$r)" "\${text%?}" || return 1; done
    }
    pids=()
    for w in 1 2 3 4 5 6 7 8; do worker $w & pids+=($!); done
    failed=0; for pid in "\${pids[@]}"; do wait $pid || failed=1; done
    same $failed 0
    # Every appended line is there, once and whole.
    for w in 1 2 3 4 5 6 7 8; do for ((r = 0; r < ${ROUNDS}; r++)); do for ((i = 0; i < 20; i++)); do echo "worker $w round $r $i"; done; done; done | sort > /tmp/want
    sort log | cmp - /tmp/want
    same "$(find . -name 'moved-*' | wc -l)" ${8 * ROUNDS}; rm /tmp/want`,
    { timeoutMs: 180_000 },
  )

  suite.inFolder(
    mount,
    'entries come and go while others list the directory',
    `
    for ((i = 0; i < 300; i++)); do : > stay-$i; done
    ( for ((i = 0; i < 300; i++)); do : > come-$i; fscalls unlink come-$i; done ) &
    churn=$!
    while kill -0 $churn 2>/dev/null; do
      same "$(ls -f | grep -c '^stay-')" 300
    done
    wait $churn
    same "$(ls -A | wc -l)" 300`,
    { timeoutMs: 120_000 },
  )
}
