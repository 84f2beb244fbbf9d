import type { GuestSuite, MountUnderTest } from '../suite.js'

const GIT_SETUP = `
    export GIT_AUTHOR_NAME=tester GIT_AUTHOR_EMAIL=t@example.org GIT_COMMITTER_NAME=tester GIT_COMMITTER_EMAIL=t@example.org
    export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' GIT_CONFIG_KEY_1=init.defaultBranch GIT_CONFIG_VALUE_1=main`

/** The repository sent as by a server: two more processes that read and write all of it. */
const PACKED_CLONE = `
    git clone -q "file://$PWD" ../clone
    diff -r --exclude=.git . ../clone
    git -C ../clone fsck --strict --no-progress`

/** Programs that lean on a file system: tar, git, sqlite, and what is run from the mount. */
export function programCases(suite: GuestSuite, mount: MountUnderTest): void {
  suite.inFolder(
    mount,
    'tar: create on the mount, extract on the mount, compare',
    `
    mkdir -p tree/sub/deep
    head -c 100000 /dev/urandom > tree/random
    for i in $(seq 1 ${mount.sizes.trackedFiles}); do seq $i $((i * 20)) > tree/sub/file$i; done
    cp -r /usr/share/git-core tree/sub/deep/
    tar -cf archive.tar -C tree .
    mkdir out
    tar -xf archive.tar -C out --no-same-owner --no-same-permissions
    diff -r tree out
    same "$(cd out; find . -type f -printf '%P %s %Ts\\n' | sort)" "$(cd tree; find . -type f -printf '%P %s %Ts\\n' | sort)"
    tar -cf - -C out . | tar -tf - | wc -l
    mkdir /tmp/tar-out; tar -xf archive.tar -C /tmp/tar-out; diff -r tree /tmp/tar-out; rm -r /tmp/tar-out`,
  )

  if (mount.sizes.git !== 'not') gitCase(suite, mount, mount.sizes.git === 'with samples')

  const { transactions, transactionRows: eachRows } = mount.sizes
  const rows = transactions * eachRows
  const sqliteWork = (journal: string, mode: string): string => `
    same "$(sqlite3 db 'PRAGMA journal_mode=${journal}')" ${mode}
    sqlite3 db 'CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT, blob BLOB); CREATE INDEX i ON t(text)'
    for ((batch = 0; batch < ${transactions}; batch++)); do
      { echo 'BEGIN;'; for i in $(seq 1 ${eachRows}); do echo "INSERT INTO t(text, blob) VALUES('row $((batch * ${eachRows} + i))', randomblob(200));"; done; echo 'COMMIT;'; } | sqlite3 db
    done
    same "$(sqlite3 db 'SELECT count(*), min(text), max(id) FROM t')" '${rows}|row 1|${rows}'
    { echo 'BEGIN;'; echo 'DELETE FROM t;'; echo 'ROLLBACK;'; } | sqlite3 db
    same "$(sqlite3 db 'SELECT count(*) FROM t')" ${rows}
    sqlite3 db "UPDATE t SET text = text || ' changed' WHERE id % 3 = 0; DELETE FROM t WHERE id % 2 = 0"
    same "$(sqlite3 db "SELECT count(*), sum(text LIKE '% changed') FROM t")" '${rows / 2}|${Math.floor(rows / 6)}'
    same "$(sqlite3 db 'PRAGMA integrity_check')" ok
    before=$(stat -c %s db)
    sqlite3 db 'VACUUM'
    [ "$(stat -c %s db)" -lt "$before" ]
    same "$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t' | tr '\\n' ' ')" 'ok ${rows / 2} '
    echo 3 > /proc/sys/vm/drop_caches
    same "$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t' | tr '\\n' ' ')" 'ok ${rows / 2} '`

  suite.inFolder(
    mount,
    'sqlite with its rollback journal',
    `${sqliteWork('DELETE', 'delete')}\n    [ ! -e db-journal ]`,
    {
      timeoutMs: 180_000,
    },
  )
  // The write-ahead log wants memory that its users share: the guest's page cache is that, for programs of one guest.
  suite.inFolder(mount, 'sqlite with a write-ahead log', sqliteWork('WAL', 'wal'), { timeoutMs: 180_000 })

  suite.inFolder(
    mount,
    'sqlite: a program that dies in a transaction leaves a journal that the next one plays back',
    `
    sqlite3 db 'PRAGMA journal_mode=DELETE; CREATE TABLE t(x); INSERT INTO t VALUES(1)' > /dev/null
    # A cache of one page makes it write into the database before the commit; then it kills itself.
    { echo 'PRAGMA cache_size=1; PRAGMA cache_spill=1; BEGIN;'
      for i in $(seq 1 500); do echo "INSERT INTO t VALUES(randomblob(2000));"; done
      echo '.shell kill -9 $PPID'; } | sqlite3 db > /dev/null || true
    [ -e db-journal ]
    same "$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t' | tr '\\n' ' ')" 'ok 1 '
    [ ! -e db-journal ]`,
  )

  suite.inFolder(
    mount,
    "a program and its libraries are mapped from the mount by the system's loader",
    `
    cp /usr/bin/cksum prog
    cp -L /lib64/ld-linux-x86-64.so.2 loader
    same "$(/lib64/ld-linux-x86-64.so.2 ./prog < prog)" "$(cksum < /usr/bin/cksum)"
    cmp loader /lib64/ld-linux-x86-64.so.2`,
  )
}

function gitCase(suite: GuestSuite, mount: MountUnderTest, withSamples: boolean): void {
  suite.inFolder(
    mount,
    'git: init, commit, branch, merge, gc, fsck, clone',
    `${GIT_SETUP}${withSamples ? '' : ' GIT_TEMPLATE_DIR='}
    git init -q repo; cd repo
    mkdir -p src/deep
    for i in $(seq 1 ${mount.sizes.trackedFiles}); do echo "content $i" > src/file$i; done
    ${withSamples ? 'cp -r /usr/share/git-core src/deep/' : 'echo deep > src/deep/file'}
    git add -A; git commit -q -m first
    git checkout -q -b side
    echo side > side; git add side; git commit -q -m side
    git checkout -q main
    [ ! -e side ]
    git rm -q src/file1; git mv src/file2 src/renamed; echo changed >> src/file3
    git commit -q -a -m second
    git merge -q -m merge side
    same "$(git status --porcelain)" ""
    same "$(git log --oneline | wc -l)" 4
    git fsck --strict --no-progress
    git gc -q --prune=now
    git fsck --strict --no-progress
    # git keeps no empty directories.
    find . -type d -empty -not -path './.git/*' -delete
    git clone -q . ../plain-clone
    diff -r --exclude=.git . ../plain-clone
    ${withSamples ? PACKED_CLONE : ''}
    git -C ../plain-clone fsck --strict --no-progress
    git -C ../plain-clone status --porcelain`,
    { timeoutMs: 180_000 },
  )
}
