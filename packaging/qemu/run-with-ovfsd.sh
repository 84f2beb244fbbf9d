#!/usr/bin/env bash
# Start ovfsd, then QEMU connected to it; both end together.
#   run-with-ovfsd.sh OVFSD_OPTION... -- QEMU_OPTION...
#   run-with-ovfsd.sh --config-file=/etc/ovfsd/ovfsd.toml -- -drive file=guest.qcow2,if=virtio -nographic
#   run-with-ovfsd.sh --shared-dir=/srv/data -- -drive file=guest.qcow2,if=virtio -nographic
# In the guest: mount -t virtiofs ovfs /mnt
# OVFSD, QEMU, MEMORY and TAG in the environment change the commands, the guest's memory and the tag.
set -euo pipefail

ovfsd=${OVFSD:-ovfsd}
qemu=${QEMU:-qemu-system-x86_64}
memory=${MEMORY:-2G}
tag=${TAG:-ovfs}

daemon_options=()
while (($# > 0)) && [[ $1 != -- ]]; do
  daemon_options+=("$1")
  shift
done
if (($# == 0)); then
  sed -n '2,7s/^# //p' "$0" >&2
  exit 2
fi
shift

work=$(mktemp -d)
socket=$work/vfsd.sock
log=$work/ovfsd.log
# Before the daemon's own shell makes it: it is looked into at once.
: >"$log"

"$ovfsd" "${daemon_options[@]}" --socket-path="$socket" 2>"$log" &
daemon=$!
# The end writes back what is dirty, so it is waited for.
trap 'kill "$daemon" 2>/dev/null || true; wait "$daemon" || cat "$log" >&2; rm -rf "$work"' EXIT

until grep -q 'Waiting for vhost-user socket connection' "$log"; do
  if ! kill -0 "$daemon" 2>/dev/null; then
    echo 'ovfsd did not start:' >&2
    exit 1 # the trap shows its log
  fi
  sleep 0.05
done

# share=on: the daemon works in the guest's memory. queue-size: the daemon answers as much at once as the queue holds.
"$qemu" -machine accel=kvm:tcg -m "$memory" \
  -object "memory-backend-memfd,id=mem,size=$memory,share=on" -numa node,memdev=mem \
  -chardev "socket,id=ovfsd,path=$socket" \
  -device "vhost-user-fs-pci,queue-size=1024,chardev=ovfsd,tag=$tag" \
  "$@"
