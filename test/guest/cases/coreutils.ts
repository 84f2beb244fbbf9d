import type { GuestSuite, MountUnderTest } from '../suite.js'

/** The everyday programs, and the shell's redirections. */
export function coreutilsCases(suite: GuestSuite, mount: MountUnderTest): void {
  suite.inFolder(
    mount,
    'mkdir -p, rmdir, rm -r',
    `
    mkdir -p a/b/c
    same "$(stat -c %F a/b/c)" directory
    echo x > a/b/file
    refuses ENOTEMPTY rmdir a/b
    refuses ENOTDIR rmdir a/b/file
    refuses EISDIR unlink a/b
    refuses EEXIST mkdir a
    refuses ENOENT mkdir missing/a
    rmdir a/b/c
    rm -r a
    same "$(ls -A)" ""`,
  )

  suite.inFolder(
    mount,
    'cp -r of a tree, in, across and out',
    `
    cp -r /usr/share/git-core in
    diff -r /usr/share/git-core in
    cp -r in across
    diff -r in across
    cp -a in kept
    diff -r in kept
    rm -rf /tmp/out; cp -r across /tmp/out
    diff -r /usr/share/git-core /tmp/out
    same "$(find across -type f | wc -l)" "$(find /usr/share/git-core -type f | wc -l)"
    rm -r /tmp/out`,
  )

  suite.inFolder(
    mount,
    'mv of files and of directories',
    `
    mkdir -p from/deep to
    echo one > from/deep/one
    mv from/deep/one to/uno
    same "$(cat to/uno)" one
    [ ! -e from/deep/one ]
    echo two > from/deep/two
    mv from to/moved
    same "$(cat to/moved/deep/two)" two
    [ ! -e from ]
    mv to/uno to/moved/deep/
    same "$(ls to/moved/deep | tr '\\n' ' ')" "two uno "`,
  )

  suite.inFolder(
    mount,
    'touch -d, stat and find by time',
    `
    touch -d '2001-02-03 04:05:06 UTC' old
    same "$(stat -c '%Y %s' old)" "981173106 0"
    same "$(TZ=UTC ls -l --time-style=full-iso old | cut -d' ' -f6,7 | cut -c1-19)" "2001-02-03 04:05:06"
    touch new
    same "$(find . -type f -newer old)" ./new
    touch -r old new
    same "$(stat -c %Y new)" 981173106
    echo more >> old
    [ "$(stat -c %Y old)" -gt 981173106 ]
    [ "$(($(date +%s) - $(stat -c %Y old)))" -lt 60 ]`,
  )

  suite.inFolder(
    mount,
    'stat, du and wc agree on sizes',
    `
    head -c 1234567 /dev/urandom > file
    : > empty
    same "$(stat -c '%s %F' file)" "1234567 regular file"
    same "$(stat -c '%s %F' empty)" "0 regular empty file"
    same "$(wc -c < file)" 1234567
    same "$(du -b file | cut -f1)" 1234567
    [ "$(du -k file | cut -f1)" -ge 1205 ]
    same "$(find . -type f -size +1000k)" ./file`,
  )

  suite.inFolder(
    mount,
    'sort, tee, head, tail, split and cat',
    `
    seq 1 20000 | shuf --random-source=/dev/zero > shuffled
    sort -n shuffled > sorted
    seq 1 20000 | cmp - sorted
    sort -n -o shuffled shuffled
    cmp shuffled sorted
    seq 1 20000 | tee copy1 copy2 > copy3
    cmp copy1 sorted; cmp copy2 sorted; cmp copy3 sorted
    same "$(tail -n 1 sorted)" 20000
    same "$(tail -c 6 sorted)" 20000
    same "$(head -n 2 sorted | tr '\\n' ' ')" "1 2 "
    split -b 10000 sorted part.
    cat part.* | cmp - sorted`,
  )

  suite.inFolder(
    mount,
    'truncate up and down',
    `
    head -c 300000 /dev/urandom > /tmp/model; cp /tmp/model file
    for size in 299999 4096 4097 1000000 65536 0 70000 10485760 1; do
      truncate -s $size file /tmp/model
      same "$(stat -c %s file)" $size
      cmp file /tmp/model
    done
    printf tail >> file; printf tail >> /tmp/model
    cmp file /tmp/model; rm /tmp/model`,
  )

  suite.inFolder(
    mount,
    'sparse files read as zeros in their holes',
    `
    rm -f /tmp/model
    for target in file /tmp/model; do
      truncate -s 20M $target
      printf middle | dd of=$target bs=1 seek=10000001 conv=notrunc status=none
      printf beyond | dd of=$target oflag=seek_bytes seek=30000000 conv=notrunc status=none
    done
    same "$(stat -c %s file)" 30000006
    cmp file /tmp/model
    cp --sparse=always file copy
    cmp copy /tmp/model; rm /tmp/model`,
  )

  suite.inFolder(
    mount,
    'redirections: >, >>, >|, <>, noclobber',
    `
    echo first > file; echo second > file
    same "$(cat file)" second
    echo third >> file
    same "$(cat file | tr '\\n' ' ')" "second third "
    : > file
    same "$(stat -c %s file)" 0
    set -C
    if (echo no > file) 2>/dev/null; then echo 'noclobber did not hold'; exit 1; fi
    echo yes >| file
    set +C
    same "$(cat file)" yes
    printf 'abcdef' > file
    exec 3<> file
    read -r -n 2 -u 3 start || true
    same "$start" ab
    printf 'XY' >&3
    exec 3>&-
    same "$(wc -c < file)" 6
    { echo a; echo b; cat file; } > other
    same "$(head -n 1 other)" a
    exec 4>> file; printf 1 >&4; printf 2 >> file; printf 3 >&4; exec 4>&-
    same "$(tail -c 3 file)" 123`,
  )

  suite.inFolder(
    mount,
    'a descriptor that two processes share, and one that is open twice',
    `
    exec 3> file 4< file
    echo one >&3
    ( echo two >&3 )
    same "$(cat <&4 | tr '\\n' ' ')" "one two "
    echo three >&3
    same "$(cat <&4)" three
    exec 3>&- 4<&-`,
  )
}
