import { isReferenceDaemon } from '../daemon.js'
import type { GuestSuite, MountUnderTest } from '../suite.js'

/** Names, renames, and what happens to what is open meanwhile. */
export function nameCases(suite: GuestSuite, mount: MountUnderTest): void {
  suite.inFolder(
    mount,
    'names with spaces, quotes, dots, UTF-8 and other oddities',
    `
    names=('with space' ' leading' 'back\\slash' 'percent%2Fslash' 'quote"double' "quote'single" '-dash' '.hidden' 'dot.' '...' 'star*' 'what?' 'tab	tab' 'per%20cent' 'hash#' 'and&' 'semi;' 'a+b=c'${mount.keepsColons ? " 'colon:'" : ''}${mount.keepsTrailingSpace ? " 'trailing '" : ''} 'ünïcödé' 'e\u0301 apart' 'é one' '日本語' '🙂' $'new\\nline')
    for name in "\${names[@]}"; do printf '%s' "$name" > "./$name"; done
    same "$(ls -A --zero | tr '\\0' '|' )" "$(printf '%s\\0' "\${names[@]}" | sort -z | tr '\\0' '|')"
    for name in "\${names[@]}"; do same "$(< "./$name")" "$name"; done
    mkdir moved
    for name in "\${names[@]}"; do fscalls rename "./$name" "moved/$name"; done
    same "$(ls moved --zero -A | tr -cd '\\0' | wc -c)" "\${#names[@]}"
    for name in "\${names[@]}"; do same "$(< "moved/$name")" "$name"; done
    rm -- moved/* moved/.[!.]* moved/...
    same "$(ls -A moved)" ""`,
  )

  suite.inFolder(
    mount,
    'names of 255 bytes, and ENAMETOOLONG beyond',
    `
    long=$(printf 'n%.0s' $(seq 1 255))
    echo content > "$long"
    same "$(cat "$long")" content
    same "$(ls)" "$long"
    refuses ENAMETOOLONG create "\${long}x"
    refuses ENAMETOOLONG mkdir "\${long}x"
    refuses ENAMETOOLONG rename "$long" "\${long}x"
    wide=$(printf 'é%.0s' $(seq 1 127))x
    mkdir "$wide"; echo wide > "$wide/$wide"
    same "$(cat "$wide/$wide")" wide
    same "$(cat "$long")" content`,
  )

  suite.inFolder(
    mount,
    'deep paths',
    `
    path=.
    for i in $(seq 1 ${mount.sizes.levels}); do path="$path/level$i"; done
    mkdir -p "$path"
    echo deep > "$path/file"
    same "$(cat "$path/file")" deep
    mv level1 moved
    same "$(cat "moved/\${path#./level1/}/file")" deep
    same "$(find . -type d | wc -l)" ${mount.sizes.levels + 1}`,
  )

  suite.inFolder(
    mount,
    'rename over an existing file, which readers keep',
    `
    echo old > target; echo new > source
    exec 3< target
    mv source target
    same "$(cat target)" new
    same "$(cat <&3)" old
    exec 3<&-
    [ ! -e source ]
    refuses ENOENT rename missing target
    same "$(cat target)" new
    mv target target 2>/dev/null || true
    same "$(cat target)" new`,
  )

  suite.inFolder(
    mount,
    'rename of files onto directories and the other way round',
    `
    mkdir full empty; echo x > full/file; echo y > file
    refuses EISDIR rename file empty
    refuses ENOTDIR rename empty file
    refuses ENOTEMPTY rename empty full
    refuses EINVAL rename full full/inside
    fscalls rename full empty
    same "$(cat empty/file)" x
    [ ! -e full ]`,
  )

  suite.inFolder(
    mount,
    'rename flags: NOREPLACE, and EXCHANGE or nothing',
    `
    echo a > a; echo b > b
    refuses EEXIST rename-noreplace a b
    same "$(cat a b | tr '\\n' ' ')" 'a b '
    fscalls rename-noreplace a c
    same "$(cat c)" a
    if fscalls rename-exchange b c 2> /tmp/why; then same "$(cat b c | tr '\\n' ' ')" 'a b '
    else same "$(cat /tmp/why)" 'rename-exchange: EINVAL'; same "$(cat b c | tr '\\n' ' ')" 'b a '; fi`,
  )

  suite.inFolder(
    mount,
    'rename of a directory with open files inside',
    `
    mkdir -p from/sub
    echo before > from/sub/file
    exec 3<> from/sub/file 4>> from/log
    mv from to
    same "$(cat <&3)" before
    echo after >&3
    echo logged >&4
    same "$(cat to/sub/file | tr '\\n' ' ')" 'before after '
    exec 3>&- 4>&-
    same "$(cat to/sub/file | tr '\\n' ' ')" 'before after '
    same "$(cat to/log)" logged
    [ ! -e from ]
    mkdir from
    same "$(ls -A from)" ""`,
  )

  suite.inFolder(
    mount,
    'a file is used after it was unlinked',
    `
    same "$(fscalls unlinked-file gone)" 'beforeAFTER! 9'
    [ ! -e gone ]
    echo content > file
    exec 3<> file
    rm file
    [ ! -e file ]
    same "$(cat <&3)" content
    echo more >&3
    # A new file of the same name is another file.
    echo other > file
    same "$(cat /proc/self/fd/3 | tr '\\n' ' ')" 'content more '
    same "$(cat file)" other
    exec 3>&-
    same "$(cat file)" other
    same "$(ls -A)" file`,
  )

  suite.inFolder(
    mount,
    'O_EXCL and creating where something is',
    `
    fscalls exclusive new
    refuses EEXIST exclusive new
    mkdir dir
    refuses EEXIST exclusive dir
    refuses EISDIR create dir
    refuses ENOENT create missing/file
    refuses ENOTDIR create new/file`,
  )

  suite.inFolder(
    mount,
    'flock keeps the processes of one guest apart',
    `
    for w in 1 2 3; do
      ( for ((i = 0; i < 8; i++)); do ( flock 9; read -r n < counter || n=0; echo $((n + 1)) > counter ) 9> lock; done ) & pids[w]=$!
    done
    for pid in "\${pids[@]}"; do wait $pid; done
    same "$(< counter)" 24
    exec 9> lock; flock 9
    if flock -n lock true; then echo 'a second lock was given'; exit 1; fi`,
  )

  if (!isReferenceDaemon && mount.isPosix !== true) {
    suite.inFolder(
      mount,
      'names that no store could give back are refused',
      `
      echo x > file
      for name in${mount.keepsTrailingSpace ? '' : " 'trailing '"}${mount.keepsColons ? '' : " 'a:colon' .snapshot"}; do
        refuses EINVAL create "$name"; refuses EINVAL mkdir "$name"; refuses EINVAL rename file "$name"; [ ! -e "$name" ]
      done
      refuses EINVAL create $'not \\xff UTF-8'
      refuses EPERM mkdir ../.ovfsd; refuses EPERM create ../.ovfsd
      [ ! -e ../.ovfsd ]
      same "$(ls)" file`,
    )

    suite.inFolder(
      mount,
      'what no store has is refused: links, fifos, other modes',
      `
      echo content > file; mkdir dir
      same "$(stat -c %a file) $(stat -c %a dir)" '644 755'
      refuses EPERM link file hard
      refuses EPERM symlink file soft
      refuses EPERM mkfifo fifo
      fscalls chmod file 644
      refuses EPERM chmod file 600
      fscalls chmod dir 755
      refuses EPERM chmod dir 700
      same "$(stat -c %a file) $(stat -c %a dir)" '644 755'
      same "$(ls -A | tr '\\n' ' ')" 'dir file '`,
    )
  }
}
