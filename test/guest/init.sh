#!/usr/bin/busybox sh
# The guest's first process: mounts the kernel's file systems, loads the modules in the order of their numbers, and
# becomes the agent that runs what the host sends. With ovfsd.root=TAG on the kernel's command line that happens in the
# tree of that virtio-fs device, which becomes the root. Whatever fails here ends the guest with a kernel panic, which the
# host sees on the console.
set -e
# What the host takes for the end of the kernel's own start (test/guest/guest.ts).
echo 'init: started'
bb=/usr/bin/busybox
mount_kernels() {
  $bb mount -t devtmpfs dev "$1/dev"
  $bb mount -t proc proc "$1/proc"
  $bb mount -t sysfs sys "$1/sys"
  $bb mount -t tmpfs -o mode=1777 tmp "$1/tmp"
  $bb mount -t tmpfs -o mode=755 run "$1/run"
}
mount_kernels ''
# For bash's <(...) and programs that open /dev/stdin.
$bb ln -s /proc/self/fd /dev/fd
$bb ln -s /proc/self/fd/0 /dev/stdin
$bb ln -s /proc/self/fd/1 /dev/stdout
$bb ln -s /proc/self/fd/2 /dev/stderr
for module in /modules/*.ko; do $bb insmod "$module"; done
# A task that waits longer than this for a reply is told of on the console, with its stack.
echo 20 > /proc/sys/kernel/hung_task_timeout_secs
echo 1 > /proc/sys/kernel/sysrq
root=$($bb sed -n 's/.*ovfsd\.root=\([^ ]*\).*/\1/p' /proc/cmdline)
if [ -n "$root" ]; then
  $bb mkdir /root-of-virtiofs
  $bb mount -t virtiofs "$root" /root-of-virtiofs
  mount_kernels /root-of-virtiofs
  for directory in /dev /proc /sys /tmp /run; do $bb umount -l "$directory"; done
  exec $bb switch_root /root-of-virtiofs /usr/bin/agent
fi
exec /usr/bin/agent
