"""The sockets of systemd's socket units, and a service that runs on them: manager.py NAME[:NAME…] PROGRAM ARGUMENT…

Opens a listening socket for each name, prints "NAME ADDRESS", and starts the program with LISTEN_FDS, LISTEN_PID and
LISTEN_FDNAMES (sd_listen_fds(3)). SIGUSR1 restarts it, SIGTERM ends it. The exit status is that of its last run, or of the
first that has failed.
"""
import fcntl
import os
import signal
import socket
import sys

FIRST = 3
SIGNALS = {signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD}


def start(sockets, names, command):
    child = os.fork()
    if child != 0:
        return child
    # Out of the way of the numbers that they get.
    far = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD_CLOEXEC, 100) for each in sockets]
    for index, descriptor in enumerate(far):
        os.dup2(descriptor, FIRST + index)
    os.environ.update(LISTEN_FDS=str(len(far)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    os.execv(command[0], command)


def main():
    names, command = sys.argv[1], sys.argv[2:]
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in names.split(":")]
    for name, each in zip(names.split(":"), sockets):
        print(f"{name} 127.0.0.1:{each.getsockname()[1]}", flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child, restarts = start(sockets, names, command), 0
    while True:
        got = signal.sigwait(SIGNALS)
        if got == signal.SIGCHLD:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                sys.exit(os.waitstatus_to_exitcode(status))
            continue
        os.kill(child, signal.SIGTERM)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if got == signal.SIGTERM or status != 0:
            sys.exit(status)
        child, restarts = start(sockets, names, command), restarts + 1
        print(f"restart {restarts}", flush=True)


main()
