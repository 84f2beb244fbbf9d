#!/usr/bin/busybox sh
# The guest's first process: mounts the kernel's file systems, loads the modules in the order of their numbers, and
# becomes the agent that runs what the host sends. Whatever fails here ends the guest with a kernel panic, which the
# host sees on the console.
set -e
# What the host takes for the end of the kernel's own start (test/guest/guest.ts).
echo 'init: started'
bb=/usr/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t tmpfs -o mode=1777 tmp /tmp
$bb mount -t tmpfs -o mode=755 run /run
# For bash's <(...) and programs that open /dev/stdin.
$bb ln -s /proc/self/fd /dev/fd
$bb ln -s /proc/self/fd/0 /dev/stdin
$bb ln -s /proc/self/fd/1 /dev/stdout
$bb ln -s /proc/self/fd/2 /dev/stderr
for module in /modules/*.ko; do $bb insmod "$module"; done
# A task that waits longer than this for a reply is told of on the console, with its stack.
echo 20 > /proc/sys/kernel/hung_task_timeout_secs
echo 1 > /proc/sys/kernel/sysrq
exec /usr/bin/agent
