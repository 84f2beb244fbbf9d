"""OpenStack Swift's four servers with their configuration away from /etc/swift.

    swift_server.py DIRECTORY DEVICE ADDRESS OBJECT_PORT CONTAINER_PORT ACCOUNT_PORT

DIRECTORY holds swift.conf and a KIND-server.conf for each server. Swift is imported once, which takes most of its start;
then a process is forked for each server, and DIRECTORY/pids gets a line "KIND PID" each. None of them outlives its
parent.
"""
import ctypes
import logging
import os
import signal
import sys

KINDS = ('account', 'container', 'object', 'proxy')
PR_SET_PDEATHSIG = 1
# 64 partitions, one copy, no waiting between two moves: there is one device.
PART_POWER, REPLICAS, MIN_PART_HOURS = 6, 1, 0


def use_directory(directory):
    """Take hash prefix, constraints and policies from DIRECTORY/swift.conf; Swift has read /etc/swift at its import."""
    from swift.common import constraints, storage_policy, utils
    utils.set_swift_dir(directory)
    constraints.reload_constraints()
    storage_policy.reload_storage_policies()


def log_to_file(conf, name, log_to_console, log_route, fmt, logger, adapted_logger):
    """Swift's log_custom_handlers hook: without /dev/log it would send every line to UDP port 514."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(asctime)s ' + name + ': %(message)s'))
    logger.addHandler(handler)


def write_rings(directory, device, address, *ports):
    from swift.common.ring import RingBuilder
    for kind, port in zip(('object', 'container', 'account'), ports):
        builder = RingBuilder(PART_POWER, REPLICAS, MIN_PART_HOURS)
        builder.add_dev({
            'region': 1, 'zone': 1, 'device': device, 'weight': 1.0, 'meta': '',
            'ip': address, 'port': int(port), 'replication_ip': address, 'replication_port': int(port),
        })
        builder.rebalance()
        builder.get_ring().save(os.path.join(directory, kind + '.ring.gz'))


def forget_fsync():
    """Tests crash processes, never the machine: what the kernel has is safe, and a PUT need not wait for the disk."""
    os.fsync = os.fdatasync = lambda fd: None


def end_with_parent(parent):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It died before the line above.
        os._exit(1)


def serve_one(directory, kind):
    from swift.common.wsgi import run_wsgi
    options = {}
    if kind == 'object':
        from swift.obj import server
        options['global_conf_callback'] = server.global_conf_callback
    return run_wsgi(os.path.join(directory, kind + '-server.conf'), kind + '-server', verbose=False, **options)


def serve(directory):
    # Imported before the forks, so that all share them.
    import swift.account.server, swift.common.wsgi, swift.container.server, swift.obj.server, swift.proxy.server  # noqa
    parent = os.getpid()
    lines = []
    for kind in KINDS:
        pid = os.fork()
        if pid == 0:
            end_with_parent(parent)
            os.setsid()  # Swift signals its whole process group at its end.
            return serve_one(directory, kind)
        lines.append('%s %d\n' % (kind, pid))
    with open(os.path.join(directory, 'pids.new'), 'w') as file:
        file.writelines(lines)
    os.rename(os.path.join(directory, 'pids.new'), os.path.join(directory, 'pids'))
    pid, status = os.wait()
    sys.exit('the server with process id %d ended with status %d' % (pid, status))


def main(directory, *ring_arguments):
    sys.modules['swift_server'] = sys.modules['__main__']  # log_custom_handlers names this module.
    forget_fsync()
    use_directory(directory)
    write_rings(directory, *ring_arguments)
    serve(directory)


if __name__ == '__main__':
    main(*sys.argv[1:])
