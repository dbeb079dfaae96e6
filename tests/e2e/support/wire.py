"""A connection that a test drives by hand, at either end: the raw client, and the backend that only taps."""

import socket
import ssl
import struct

from .waiting import patience


class Response:
    """One HTTP/1 response. Header names in lower case, in the order that they came."""

    def __init__(self, status, version, headers, body, interim):
        self.status, self.version, self.headers, self.body, self.interim = status, version, headers, body, interim

    def get(self, name):
        """The value of a header, or None; joined where it came several times."""
        values = [v for n, v in self.headers if n == name.lower()]
        return ", ".join(values) if values else None

    def count(self, name):
        return sum(1 for n, _ in self.headers if n == name.lower())

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:200]!r}>"


class Wire:
    """One stream socket with deadlines. `buffer` holds what was received and not taken yet."""

    def __init__(self, sock, within=15.0):
        self.sock = sock
        self.buffer, self.sent = b"", 0
        self.sock.settimeout(patience(within))

    @classmethod
    def connect(cls, port, host="127.0.0.1", tls=None, name=None, within=15.0, rcvbuf=None, session=None):
        """To a port of loopback; with `tls` (a client context) the handshake is done for `name`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(patience(within))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect((host, port))
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname=name, session=session, suppress_ragged_eofs=True)
        except BaseException:
            sock.close()
            raise
        return cls(sock, within)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.sock.sendall(data)
        self.sent += len(data)

    def finish(self):
        """No more will be sent: FIN, reading goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Ends the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def _more(self):
        """Receives; false at the end of the stream."""
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def take(self, count):
        """Exactly `count` bytes."""
        while len(self.buffer) < count:
            if not self._more():
                raise AssertionError(f"the stream ended after {len(self.buffer)} of {count} bytes: {self.buffer[:300]!r}")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def take_through(self, mark):
        """Everything up to and with `mark`."""
        while mark not in self.buffer:
            if not self._more():
                raise AssertionError(f"the stream ended before {mark!r}: {self.buffer[:300]!r}")
        end = self.buffer.index(mark) + len(mark)
        data, self.buffer = self.buffer[:end], self.buffer[end:]
        return data

    def take_rest(self):
        """Everything until the peer's FIN. A reset is an error."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def rest_or_reset(self):
        """Everything until the peer ends it, whichever way. A timeout is an error: it did not end."""
        try:
            while self._more():
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        data, self.buffer = self.buffer, b""
        return data

    def is_quiet(self, seconds):
        """True when nothing comes and nothing ends for so long (not stretched)."""
        before = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self._more()
            return False
        except (TimeoutError, socket.timeout):
            return True
        except ConnectionError:
            return False
        finally:
            self.sock.settimeout(before)

    # HTTP/1 as a client

    def _head(self):
        lines = self.take_through(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ", 2)
        headers = []
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                headers.append((name.lower(), value.strip()))
        return version, int(status), headers

    def read_chunked(self):
        body = b""
        while True:
            size = int(self.take_through(b"\r\n").split(b";")[0].strip(), 16)
            if size == 0:
                while self.take_through(b"\r\n") != b"\r\n":
                    pass
                return body
            body += self.take(size)
            assert self.take(2) == b"\r\n", "a chunk does not end in CRLF"

    def response(self, method="GET"):
        """Reads the next response with its body; interim ones (1xx but 101) are collected in `interim`."""
        interim = []
        while True:
            version, status, headers = self._head()
            if 100 <= status < 200 and status != 101:
                interim.append((status, headers))
                continue
            break
        fields = dict(headers)
        body = b""
        if method != "HEAD" and status not in (101, 204, 304):
            if "chunked" in fields.get("transfer-encoding", "").lower():
                body = self.read_chunked()
            elif "content-length" in fields:
                body = self.take(int(fields["content-length"]))
            else:
                body = self.take_rest()
        return Response(status, version, headers, body, interim)

    def ask(self, target, host, method="GET", headers=(), body=b"", version="HTTP/1.1"):
        """Sends a request and reads its answer."""
        self.send(request(target, host, method, headers, body, version))
        return self.response(method)


def request(target, host, method="GET", headers=(), body=b"", version="HTTP/1.1"):
    """The bytes of a request; a body brings its Content-Length."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{n}: {v}" for n, v in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Tap:
    """A backend that a test plays by hand: it listens, `accept` gives the next connection as a Wire."""

    def __init__(self, port, backlog=128, host="127.0.0.1"):
        self.port = port
        self.address = f"{host}:{port}"
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(backlog)
        self._wires = []

    def accept(self, within=10.0):
        self.listener.settimeout(patience(within))
        sock, _ = self.listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock)
        self._wires.append(wire)
        return wire

    def nobody_comes(self, seconds=0.2):
        """True when no connection waits and none arrives for so long."""
        self.listener.settimeout(seconds)
        try:
            sock, _ = self.listener.accept()
        except (TimeoutError, socket.timeout):
            return True
        sock.close()
        return False

    def stop_listening(self):
        self.listener.close()

    def close(self):
        self.listener.close()
        for wire in self._wires:
            wire.close()


class Blackhole:
    """An endpoint whose connections never come to stand: its queue is full, so the kernel drops every SYN."""

    def __init__(self, port):
        self.address = f"127.0.0.1:{port}"
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(0)
        self._fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.settimeout(0.3)
            self._fillers.append(filler)
            try:
                filler.connect(("127.0.0.1", port))
            except (TimeoutError, socket.timeout):
                break
        else:
            raise AssertionError("the queue did not fill up")

    def close(self):
        for filler in self._fillers:
            filler.close()
        self._listener.close()
