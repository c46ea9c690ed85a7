"""Clients that ask for one path again and again: pullers.py HOST:PORT PATH COUNT

Half of them open a connection for each request, the others keep theirs. A request on a kept connection that has been closed
meanwhile is sent once more, as HTTP has it (RFC 9112 section 9.3.1). Prints a line for each 100 responses, and after SIGTERM
"ok N, sent again N, failed N" with the reasons of failures.
"""
import http.client
import signal
import sys
import threading

PATIENCE_SECONDS = 60

lock = threading.Lock()
stop = threading.Event()
counts = {"ok": 0, "again": 0}
failures = []


def count(name):
    with lock:
        counts[name] += 1
        if name == "ok" and counts["ok"] % 100 == 0:
            print(f"{counts['ok']} responses", flush=True)


def ask(connection, path):
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 or len(body) != int(response.headers["Content-Length"]):
        raise ValueError(f"status {response.status}, {len(body)} bytes")


def pull(address, path, keeps):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_SECONDS)
    while not stop.is_set():
        is_kept = connection.sock is not None
        try:
            try:
                ask(connection, path)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not is_kept:
                    raise
                count("again")
                connection.close()
                ask(connection, path)
            count("ok")
        except (OSError, ValueError, http.client.HTTPException) as error:
            with lock:
                failures.append(repr(error))
            connection.close()
        if not keeps:
            connection.close()


def main():
    address, path, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threads = [threading.Thread(target=pull, args=(address, path, each % 2 == 0)) for each in range(number)]
    for thread in threads:
        thread.start()
    signal.sigwait({signal.SIGTERM})
    stop.set()
    for thread in threads:
        thread.join()
    print(f"ok {counts['ok']}, sent again {counts['again']}, failed {len(failures)} {failures[:5]}", flush=True)


main()
