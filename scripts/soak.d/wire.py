"""A raw HTTP/1.1 client for attacks: sends any bytes in any pieces, and reads answers strictly."""

import random
import socket
import struct


class Malformed(Exception):
    """What came back is not HTTP as RFC 9112 has it."""


class Hang(Exception):
    """Nothing came, and the connection stayed open."""


class Answer:
    def __init__(self, status, fields, body, complete):
        self.status, self.fields, self.body, self.complete = status, fields, body, complete

    def first(self, name):
        return next((value for key, value in self.fields if key == name), None)


class Peer:
    """One connection to the server."""

    def __init__(self, port, timeout=30.0, receive_buffer=None):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect(("127.0.0.1", port))
        self.buffer = b""
        self.ended = False
        self.was_reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data, pieces=1, rng=random):
        """Sends everything; a server that has closed meanwhile is no error."""
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(pieces - 1))
        try:
            for start, end in zip([0] + cuts, cuts + [len(data)]):
                self.sock.sendall(data[start:end])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def abort(self):
        """Closes with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def more(self):
        """Reads some; false at the end."""
        if self.ended:
            return False
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise Hang(f"silence after {self.buffer[:80]!r}") from None
        except ConnectionResetError:
            self.was_reset = True
            data = b""
        self.ended = not data
        self.buffer += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > 65536:
                raise Malformed("a line without end")
            if not self.more():
                return None
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def answer(self, method="GET"):
        """The next answer, or None at the end of the connection."""
        first = self.line()
        if first is None:
            if self.buffer:
                raise Malformed(f"half an answer: {self.buffer[:80]!r}")
            return None
        parts = first.split(b" ", 2)
        if len(parts) != 3 or parts[0] != b"HTTP/1.1" or not parts[1].isdigit() or len(parts[1]) != 3:
            raise Malformed(f"status line {first!r}")
        status, fields = int(parts[1]), []
        while line := self.line():
            name, colon, value = line.partition(b":")
            if not colon or name.strip() != name or not name or any(byte < 0x20 for byte in value):
                raise Malformed(f"field line {line!r}")
            fields.append((name.decode().lower(), value.strip().decode("latin-1")))
        if line is None:
            raise Malformed(f"a head that breaks off, status {status}")
        return self._body(Answer(status, fields, b"", True), method)

    def _body(self, answer, method):
        lengths = [value for name, value in answer.fields if name == "content-length"]
        chunked = answer.first("transfer-encoding") == "chunked"
        if len(lengths) > 1 or (lengths and chunked):
            raise Malformed(f"lengths {answer.fields}")
        if method == "HEAD" or answer.status == 304:
            return answer
        if chunked:
            return self._chunks(answer)
        if not lengths:
            raise Malformed(f"no length in {answer.status} {answer.fields}")
        wanted = int(lengths[0])
        pieces, count = [self.buffer], len(self.buffer)
        self.buffer = b""
        while count < wanted and self.more():
            pieces.append(self.buffer)
            count += len(self.buffer)
            self.buffer = b""
        data = b"".join(pieces)
        answer.body, self.buffer = data[:wanted], data[wanted:]
        answer.complete = len(answer.body) == wanted
        return answer

    def _chunks(self, answer):
        pieces = []
        while (line := self.line()) is not None:
            size = int(line, 16)
            while len(self.buffer) < size + 2:
                if not self.more():
                    answer.body, answer.complete = b"".join(pieces) + self.buffer, False
                    return answer
            piece, end, self.buffer = self.buffer[:size], self.buffer[size:size + 2], self.buffer[size + 2:]
            if end != b"\r\n":
                raise Malformed("a chunk without its end")
            pieces.append(piece)
            if size == 0:
                answer.body = b"".join(pieces)
                return answer
        answer.body, answer.complete = b"".join(pieces), False
        return answer


def ask(port, target, method="GET", fields=(), version="1.1", timeout=30.0):
    """One request on a connection of its own."""
    with Peer(port, timeout) as peer:
        lines = [f"{method} {target} HTTP/{version}", "Host: localhost", "Connection: close", *fields, "", ""]
        peer.send("\r\n".join(lines).encode("latin-1"))
        answer = peer.answer(method)
        if answer is None:
            raise Malformed(f"no answer to {method} {target}")
        if peer.more() or peer.buffer:
            raise Malformed(f"more than one answer to {method} {target}: {peer.buffer[:80]!r}")
        return answer
