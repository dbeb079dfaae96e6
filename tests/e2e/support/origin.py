"""The origin server: plain sockets and threads, so that it can answer as badly as a test wants.

Paths it knows:
  /echo            JSON of what came: method, target, version, headers, body hash, number of the connection
  /bytes/N         N bytes with Content-Length         /chunked/N    N bytes in chunks
  /upload          the body's SHA-256 and length        /status/N     that status
  /hints           103 Early Hints, then 200            /gate/NAME    answers when the test opens the gate
  /early           answers 403 without reading the body, and closes
  /short/N         says N bytes, sends half, closes     /cut          one chunk, then closes
  /nothing         closes without an answer             /reset        the same with RST
  /once            answers, and closes the connection without an answer when another request comes on it
  /bye             answers as keep-alive, then closes
Anything in `scripts` beats these: bytes are sent as they are, a function gets the Call.
"""

import hashlib
import json
import os
import socket
import struct
import threading
from dataclasses import dataclass, field

from .waiting import patience, until

_BLOCK = bytes(range(256)) * 256


def pattern(count):
    """The bytes that /bytes/N and /chunked/N send."""
    return (_BLOCK * (count // len(_BLOCK) + 1))[:count]


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    version: str
    headers: list
    connection: int
    body_sha256: str = ""
    body_length: int = 0
    trailers: list = field(default_factory=list)

    def get(self, name):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return ", ".join(values) if values else None

    def count(self, name):
        return sum(1 for n, _ in self.headers if n.lower() == name.lower())


class Call:
    """One request being answered."""

    def __init__(self, origin, sock, reader, seen):
        self.origin, self.sock, self.reader, self.seen = origin, sock, reader, seen
        self.keep = seen.version == "HTTP/1.1" and (seen.get("connection") or "").lower() != "close"

    def blocks(self):
        """The body in pieces, framing taken off. A client that asked whether to go on is told so first."""
        if (self.seen.get("expect") or "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in (self.seen.get("transfer-encoding") or ""):
            while True:
                size = int(self.reader.readline().split(b";")[0], 16)
                if size == 0:
                    while (line := self.reader.readline()) not in (b"\r\n", b""):
                        self.seen.trailers.append(line.decode("latin-1").strip())
                    return
                yield from self._exactly(size)
                self.reader.readline()
        else:
            yield from self._exactly(int(self.seen.get("content-length") or 0))

    def _exactly(self, count):
        while count:
            block = self.reader.read1(min(count, 262_144))
            if not block:
                raise ConnectionError("the body ended early")
            count -= len(block)
            yield block

    def read_body(self):
        digest, length = hashlib.sha256(), 0
        for block in self.blocks():
            digest.update(block)
            length += len(block)
        self.seen.body_sha256, self.seen.body_length = digest.hexdigest(), length

    def answer(self, status=200, body=b"", headers=(), content_type="text/plain"):
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", f"Content-Type: {content_type}"]
        lines += [f"{n}: {v}" for n, v in headers]
        if not self.keep:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        self.sock.sendall(head if self.seen.method == "HEAD" else head + body)

    def answer_json(self, value, **kwargs):
        self.answer(body=json.dumps(value).encode(), content_type="application/json", **kwargs)

    def send(self, data):
        self.sock.sendall(data)

    def gate(self, name):
        """Waits until the test opens the gate."""
        self.origin.gate(name).wait(patience(60))


class Origin:
    def __init__(self, port, name="origin", tls=None, host="127.0.0.1"):
        self.port, self.name, self._tls = port, name, tls
        self.address = f"{host}:{port}"
        self.requests, self.scripts = [], {}
        self.connections = 0
        self.clients = set()  # their addresses
        self.bytes_received = 0
        self.bytes_sent = 0  # of the patterns
        self._gates, self._lock, self._open = {}, threading.Lock(), set()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port))
        self._listener.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    # for tests

    def gate(self, name):
        with self._lock:
            return self._gates.setdefault(name, threading.Event())

    def wait_for_requests(self, count, within=10.0):
        until(lambda: len(self.requests) >= count, lambda: f"{count} requests, came {len(self.requests)}", within)
        return self.requests

    def open_connections(self):
        with self._lock:
            return len(self._open)

    def close(self):
        """Stops listening and ends whatever is open: what the death of a backend looks like."""
        # close() alone would leave the accepting thread's hold on the socket in place.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for gate in list(self._gates.values()):
            gate.set()
        with self._lock:
            socks, self._open = list(self._open), set()
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # inside

    def _accept(self):
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections += 1
                self.clients.add(peer[0])
                number = self.connections
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock, number):
        stream = sock
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open.discard(sock)
                    self._open.add(stream)
            reader = stream.makefile("rb", 262_144)
            once = False
            while True:
                seen = self._read_head(reader, number)
                if seen is None:
                    return
                self.requests.append(seen)
                if once:
                    return
                call = Call(self, stream, reader, seen)
                once = seen.target.startswith("/once")
                if not self._dispatch(call):
                    return
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open.discard(stream)
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            stream.close()

    def _read_head(self, reader, number):
        lines = []
        while True:
            line = reader.readline(262_144)
            with self._lock:
                self.bytes_received += len(line)
            if not line:
                return None
            if line in (b"\r\n", b"\n"):
                break
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        if not lines:
            return None
        method, target, version = (lines[0].split(" ") + ["", ""])[:3]
        headers = [tuple(p.strip() for p in line.split(":", 1)) for line in lines[1:] if ":" in line]
        return Seen(method, target, version, headers, number)

    def _dispatch(self, call):
        """Answers one request; true when the connection goes on."""
        path = call.seen.target.split("?")[0]
        script = self.scripts.get(path)
        if script is not None:
            if callable(script):
                return bool(script(call))
            call.read_body()
            call.send(script)
            return False
        word, _, rest = path.lstrip("/").partition("/")
        action = getattr(self, f"_do_{word}", None)
        if action is None:
            call.read_body()
            call.answer(body=f"{self.name} {call.seen.target}\n".encode())
            return call.keep
        return bool(action(call, rest))

    def _do_echo(self, call, _):
        call.read_body()
        seen = call.seen
        call.answer_json({
            "origin": self.name, "method": seen.method, "target": seen.target, "version": seen.version,
            "headers": seen.headers, "sha256": seen.body_sha256, "length": seen.body_length,
            "connection": seen.connection,
        })
        return call.keep

    def _do_bytes(self, call, rest):
        call.read_body()
        count = int(rest)
        call.send(f"HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n".encode())
        if call.seen.method != "HEAD":
            self._send_pattern(call, count)
        return call.keep

    def _do_chunked(self, call, rest):
        call.read_body()
        count, sent = int(rest), 0
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while call.seen.method != "HEAD" and sent < count:
            size = min(len(_BLOCK), count - sent)
            call.send(b"%x\r\n%b\r\n" % (size, _BLOCK[:size]))
            sent += size
            self.bytes_sent += size
        if call.seen.method != "HEAD":
            call.send(b"0\r\n\r\n")
        return call.keep

    def _do_upload(self, call, _):
        call.read_body()
        call.answer_json({"sha256": call.seen.body_sha256, "length": call.seen.body_length})
        return call.keep

    def _do_status(self, call, rest):
        call.read_body()
        status = int(rest)
        if status in (204, 304):
            call.send(f"HTTP/1.1 {status} Nothing\r\nETag: \"e\"\r\n\r\n".encode())
        else:
            call.answer(status, body=f"status {status}\n".encode())
        return call.keep

    def _do_hints(self, call, _):
        call.read_body()
        call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        call.answer(body=b"after hints\n")
        return call.keep

    def _do_gate(self, call, rest):
        call.read_body()
        call.gate(rest)
        call.answer(body=f"through {rest}\n".encode())
        return call.keep

    def _do_early(self, call, _):
        call.keep = False
        call.answer(403, body=b"no need to send that\n")
        return False

    def _do_short(self, call, rest):
        call.read_body()
        count = int(rest)
        call.send(f"HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n".encode())
        self._send_pattern(call, count // 2)
        return False

    def _do_cut(self, call, _):
        call.read_body()
        call.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        return False

    def _do_nothing(self, call, _):
        call.read_body()
        return False

    def _do_reset(self, call, _):
        call.read_body()
        call.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with self._lock:
            self._open.discard(call.sock)
        # The reader shares the descriptor, so that close() alone would leave it open.
        os.close(call.sock.detach())
        raise OSError("reset")

    def _do_once(self, call, _):
        call.read_body()
        call.answer(body=b"once\n")
        return True

    def _do_bye(self, call, _):
        call.read_body()
        call.answer(body=b"bye\n")
        return False

    def _send_pattern(self, call, count):
        while count > 0:
            size = min(len(_BLOCK), count)
            call.send(_BLOCK[:size])
            self.bytes_sent += size
            count -= size
