import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { directoryView } from '../../support/views.js'
import type { GuestSuite, MountUnderTest } from '../suite.js'

/** Share of the large directory that somebody else makes, where somebody can: the guest's part takes an emulated processor milliseconds each. */
const SHARE_OF_OTHERS = 0.9
/** Requests that somebody else sends at a time. */
const OTHERS_CONCURRENCY = 8
const MANY_ENTRIES_MS = 240_000

/** Many entries in one directory, and many processes at once. */
export function scaleCases(suite: GuestSuite, mount: MountUnderTest): void {
  const { entries, rounds, visitors } = mount.sizes
  const byOthers = mount.onHost || mount.outside !== null ? entries * SHARE_OF_OTHERS : 0
  suite.inFolder(
    mount,
    `${entries.toLocaleString('en')} entries: made, listed, found, removed`,
    `
    mkdir -p many
    # Four at once: each spends most of its time waiting for replies.
    pids=()
    each=$((${entries - byOthers} / 4))
    for part in 0 1 2 3; do fscalls create-many many $((${byOthers} + part * each)) $((${byOthers} + (part + 1) * each)) & pids+=($!); done
    for pid in "\${pids[@]}"; do wait $pid; done
    same "$(ls -l many | tail -n +2 | wc -l)" ${entries}
    # In whatever order: each name once.
    ls -f many | grep -v '^[.]*$' | sort > /tmp/listed
    for ((i = 0; i < ${entries}; i++)); do echo "entry-$i"; done | sort | cmp - /tmp/listed
    echo 3 > /proc/sys/vm/drop_caches
    same "$(find many -type f -size 0 | wc -l)" ${entries}
    same "$(busybox ls many | wc -l)" ${entries}
    # Entries go while the directory is being read.
    rm -r many
    [ ! -e many ]; rm /tmp/listed`,
    {
      timeoutMs: MANY_ENTRIES_MS,
      prepare: async (folder) => {
        if (byOthers === 0) return
        const names = Array.from({ length: byOthers }, (_, i) => `${folder}/many/entry-${i}`)
        const host = mount.outside?.() ?? directoryView(suite.hostFolder(mount))
        await host.mkdir(`${folder}/many`)
        await forEachConcurrently(names, OTHERS_CONCURRENCY, (name) => host.write(name, ''))
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
      for ((r = 0; r < ${rounds}; r++)); do
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
      for ((r = 0; r < ${rounds}; r++)); do content $me $r; same "$(< own-$me/moved-$r)" "\${text%?}" || return 1; done
    }
    pids=()
    for w in 1 2 3 4 5 6 7 8; do worker $w & pids+=($!); done
    failed=0; for pid in "\${pids[@]}"; do wait $pid || failed=1; done
    same $failed 0
    # Every appended line is there, once and whole.
    for w in 1 2 3 4 5 6 7 8; do for ((r = 0; r < ${rounds}; r++)); do for ((i = 0; i < 20; i++)); do echo "worker $w round $r $i"; done; done; done | sort > /tmp/want
    sort log | cmp - /tmp/want
    same "$(find . -name 'moved-*' | wc -l)" ${8 * rounds}; rm /tmp/want`,
    { timeoutMs: 180_000 },
  )

  suite.inFolder(
    mount,
    'entries come and go while others list the directory',
    `
    for ((i = 0; i < ${visitors}; i++)); do : > stay-$i; done
    ( for ((i = 0; i < ${visitors}; i++)); do : > come-$i; fscalls unlink come-$i; done ) &
    churn=$!
    while kill -0 $churn 2>/dev/null; do
      same "$(ls -f | grep -c '^stay-')" ${visitors}
    done
    wait $churn
    same "$(ls -A | wc -l)" ${visitors}`,
    { timeoutMs: 120_000 },
  )
}
