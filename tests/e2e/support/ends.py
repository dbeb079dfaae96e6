"""Both ends of exchanges through the proxy, over HTTP/1 or HTTP/2, driven by hand in one thread with the same words.

    client.ask(path, ...)             upstream.request() -> {"method", "path", "headers"}
    client.send(data), end(trailers)  upstream.take(n), rest() -> Rest
    client.head() -> status           upstream.interim(103, ...), head(200, ...), send(data), end(trailers)
    client.take(n), rest() -> Rest
    client.heard()                    all that it sent has been dealt with
    client.drop()                     upstream.was_dropped() -> how
                                      upstream.reset(code), lose()

What was not taken is not given back to HTTP/2's windows. `offer` and `poll` send and take what goes without waiting.
"""

import select
import ssl
import struct
import time
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from .waiting import patience, until
from .wire import Wire

GOAWAY = 7
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BROKEN = (AssertionError, ConnectionError, ssl.SSLError)


@dataclass
class Rest:
    """What came until the end. `code`: of RST_STREAM; None = whole, or the connection ended."""

    body: bytes
    whole: bool
    trailers: dict = field(default_factory=dict)
    code: int | None = None


def _now(sock, call):
    """call() without waiting; None where it would have to."""
    before = sock.gettimeout()
    sock.setblocking(False)
    try:
        return call()
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    finally:
        sock.settimeout(before)


def fill(sender, size, quiet=0.5):
    """Offers `size` bytes until none was taken for a while; how many went."""
    piece, sent, last = bytes(65_536), 0, time.monotonic()
    while sent < size and time.monotonic() - last < quiet:
        if count := sender.offer(piece[: size - sent]):
            sent, last = sent + count, time.monotonic()
        else:
            select.select([sender.wire.sock], [], [], 0.02)
    return sent


def move(sender, left, receiver, size):
    """Sends the `left` bytes that are not sent yet while the receiver takes all `size`."""
    piece, limit = bytes(65_536), time.monotonic() + patience(60)
    while size > 0:
        assert time.monotonic() < limit, f"{left} not sent, {size} not come"
        assert not getattr(receiver, "closed", False), f"the connection ended: {receiver.goaways}, {size} not come"
        sent = sender.offer(piece[:left]) if left else 0
        came = receiver.poll()
        left -= sent
        size -= len(came)
        assert size >= 0 and not any(came[:100])
        if not sent and not came:
            select.select([sender.wire.sock, receiver.wire.sock], [], [], 0.02)


# ---- HTTP/1


class _Message:
    """The body of one HTTP/1 message as it comes."""

    def __init__(self, wire, headers, bodiless=False):
        self.wire, self.data, self.ended, self.trailers = wire, b"", bodiless, {}
        self.chunked = "chunked" in headers.get("transfer-encoding", "")
        self.left = None if self.chunked else int(headers.get("content-length", 0))
        self.ended = self.ended or self.left == 0

    def more(self):
        if self.chunked:
            size = int(self.wire.take_through(b"\r\n"), 16)
            self.data += self.wire.take(size)
            while size == 0 and (line := self.wire.take_through(b"\r\n")) != b"\r\n":
                name, _, value = line.decode().partition(":")
                self.trailers[name.lower()] = value.strip()
            assert size == 0 or self.wire.take(2) == b"\r\n"
            self.ended = size == 0
            return
        if not self.wire.buffer:
            assert self.wire._more(), "it ended in the middle"
        piece, self.wire.buffer = self.wire.buffer[: self.left], self.wire.buffer[self.left :]
        self.data += piece
        self.left -= len(piece)
        self.ended = self.left == 0

    def take(self, count):
        while len(self.data) < count:
            self.more()
        data, self.data = self.data[:count], self.data[count:]
        return data

    def rest(self):
        try:
            while not self.ended:
                self.more()
        except BROKEN:
            return Rest(self.data, False)
        return Rest(self.data, True, self.trailers)

    def poll(self):
        assert not self.chunked
        if not self.wire.buffer:
            self.wire.buffer = _now(self.wire.sock, lambda: self.wire.sock.recv(1 << 18)) or b""
            if not self.wire.buffer:
                return b""
        before = len(self.data)
        self.more()
        data, self.data = self.data[before:], b""
        return data


class _End1:
    chunked = False

    def send(self, data):
        self.wire.send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def end(self, trailers=()):
        if self.chunked:
            self.wire.send(b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in trailers) + b"\r\n")

    def offer(self, data):
        assert not self.chunked
        return _now(self.wire.sock, lambda: self.wire.sock.send(data)) or 0

    def take(self, count):
        return self.message.take(count)

    def rest(self):
        return self.message.rest()

    def poll(self):
        return self.message.poll()

    def close(self):
        self.wire.close()

    def _read(self):
        lines = self.wire.take_through(b"\r\n\r\n").decode().split("\r\n")
        return lines[0].split(" ", 2), {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:] if line)}


class Client1(_End1):
    def __init__(self, site, **_):
        self.edge, self.wire = site.edge, site.wire("http", rcvbuf=65_536)
        self.base = self._received()

    def _received(self):
        return self.edge.metrics().total("edgemux_bytes_total", direction="client_received", listener="http")

    def heard(self):
        """For one client at a time."""
        until(lambda: self._received() >= self.base + self.wire.sent, "all of it was received")

    def ask(self, path, method="GET", headers=(), body=None):
        """`body`: None, "open" (no length is said) or its length."""
        self.method, self.chunked = method, body == "open"
        framing = [("Transfer-Encoding", "chunked")] if self.chunked else [("Content-Length", body)] if body is not None else []
        lines = [f"{method} {path} HTTP/1.1", "Host: own.example.com", *(f"{n}: {v}" for n, v in [*headers, *framing])]
        self.wire.send("\r\n".join(lines) + "\r\n\r\n")

    def head(self):
        (_, status, *_), self.headers = self._read()
        bodiless = self.method == "HEAD" or int(status) in (204, 304) or int(status) < 200
        self.message = _Message(self.wire, self.headers, bodiless)
        return int(status)

    interim = head

    def drop(self):
        self.wire.reset()


class Upstream1(_End1):
    def __init__(self, tap):
        self.tap = tap
        self.entry = tap.address
        self.wire = None

    def accept(self):
        self.wire = self.tap.accept()

    def request(self):
        if self.wire is None:
            self.accept()
        (method, path, _), headers = self._read()
        self.message = _Message(self.wire, headers)
        return {"method": method, "path": path, "headers": headers}

    def interim(self, status, headers=()):
        self.wire.send("".join([f"HTTP/1.1 {status} Wait\r\n", *(f"{n}: {v}\r\n" for n, v in headers), "\r\n"]))

    def head(self, status, headers=(), length="open"):
        self.chunked = length == "open"
        framing = [("Transfer-Encoding", "chunked")] if self.chunked else [("Content-Length", length)] if length is not None else []
        self.interim(status, [*headers, *framing])

    def was_dropped(self):
        self.wire.rest_or_reset()
        return "closed"

    def refuse_rest(self):
        self.wire.finish()

    def reset(self, _code=None):
        self.wire.reset()
        self.wire = None

    lose = reset


# ---- HTTP/2


class _Stream:
    def __init__(self):
        self.heads, self.data, self.trailers, self.ended, self.code = [], b"", {}, False, None


class _End2:
    """`stream` is the one that the words are about."""

    def begin(self, wire, client, settings=None):
        self.wire, self.streams, self.stream, self.buffer, self.goaways, self.closed = wire, {}, None, b"", [], False
        self.greeted = client  # a client sends the preface
        self.pings = 0
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding="utf-8"))
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=client, initial_values=settings)
        self.h2.initiate_connection()
        self.flush()

    @property
    def now(self):
        return self.streams[self.stream]

    def flush(self):
        if data := self.h2.data_to_send():
            self.wire.send(data)

    def receive(self, data):
        self.closed = self.closed or data == b""
        self.buffer += data or b""
        if not self.greeted and len(self.buffer) >= len(PREFACE):
            self.greeted, self.buffer = True, self.buffer[len(PREFACE) :]
            self.h2.receive_data(PREFACE)
        if not self.greeted:
            return
        while len(self.buffer) >= 9 and len(self.buffer) >= (size := 9 + int.from_bytes(self.buffer[:3], "big")):
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            if frame[3] == GOAWAY:  # python-h2 takes nothing after one
                self.goaways.append(struct.unpack(">II", frame[9:17]))
            elif frame[3] <= 9:
                for event in self.h2.receive_data(frame):
                    self.see(event)
        self.flush()

    def see(self, event):
        number = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.PingAckReceived):
            self.pings += 1
        if isinstance(event, (h2.events.RequestReceived, h2.events.ResponseReceived, h2.events.InformationalResponseReceived)):
            self.streams.setdefault(number, _Stream()).heads.append(dict(event.headers))
        elif number in self.streams:
            of = self.streams[number]
            if isinstance(event, h2.events.DataReceived):
                of.data += event.data
            elif isinstance(event, h2.events.TrailersReceived):
                of.trailers = dict(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                of.ended = True
            elif isinstance(event, h2.events.StreamReset):
                of.code = event.error_code

    def until(self, condition):
        while not condition():
            assert not self.closed, f"the connection ended: {self.goaways}"
            try:
                self.receive(self.wire.sock.recv(65_536))
            except ConnectionError:
                self.closed = True

    def send(self, data):
        while data:
            count = self.offer(data)
            if not count:
                self.until(lambda: self.room() > 0)
            data = data[count:]

    def room(self):
        return min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size)

    def offer(self, data):
        self.look()
        count = min(self.room(), len(data))
        if count:
            self.h2.send_data(self.stream, data[:count])
            self.flush()
        return count

    def look(self):
        """Takes what has arrived."""
        while (data := _now(self.wire.sock, lambda: self.wire.sock.recv(1 << 18))) is not None:
            self.receive(data)
            if not data:
                break

    def end(self, trailers=()):
        if trailers:
            self.h2.send_headers(self.stream, trailers, end_stream=True)
        else:
            self.h2.end_stream(self.stream)
        self.flush()

    def _taken(self, count):
        of = self.now
        data, of.data = of.data[:count], of.data[count:]
        if data and not self.closed:
            self.h2.acknowledge_received_data(len(data), self.stream)
            self.flush()
        return data

    def take(self, count):
        self.until(lambda: len(self.now.data) >= count or self.now.ended)
        assert len(self.now.data) >= count, f"only {self.now.data!r}"
        return self._taken(count)

    def poll(self):
        self.look()
        return self._taken(len(self.now.data))

    def rest(self):
        body, of = b"", self.now
        try:
            while not of.ended and of.code is None:
                self.until(lambda: of.data or of.ended or of.code is not None)
                body += self._taken(len(of.data))
        except AssertionError:
            return Rest(body, False)
        return Rest(body + self._taken(len(of.data)), of.ended, of.trailers, of.code)

    def ends(self):
        """Reads until the other side's FIN (a reset is an error); the error codes of its GOAWAYs."""
        while not self.closed:
            self.receive(self.wire.sock.recv(65_536))
        return [code for _, code in self.goaways]

    def close(self):
        if self.wire is not None:
            self.wire.close()


class Client2(_End2):
    def __init__(self, site, settings=None):
        wire = Wire.connect(site.edge.https, tls=site.authority.client_context(["h2"]), name="own.example.com")
        self.begin(wire, True, settings)

    def ask(self, path, method="GET", headers=(), body=None):
        self.stream = self.h2.get_next_available_stream_id()
        self.streams[self.stream] = _Stream()
        head = [(":method", method), (":scheme", "https"), (":authority", "own.example.com"), (":path", path)]
        if isinstance(body, int):
            head.append(("content-length", str(body)))
        self.h2.send_headers(self.stream, [*head, *((n.lower(), v) for n, v in headers)], end_stream=body is None)
        self.flush()
        return self.stream

    def head(self):
        self.until(lambda: self.now.heads)
        self.headers = self.now.heads.pop(0)
        return int(self.headers[":status"])

    interim = head

    def heard(self):
        self.h2.ping(b"heard it")
        self.flush()
        before = self.pings
        self.until(lambda: self.pings > before)

    def drop(self):
        self.h2.reset_stream(self.stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()


class Upstream2(_End2):
    def __init__(self, tap):
        self.tap = tap
        self.entry = {"endpoints": [tap.address], "protocol": "h2"}
        self.wire, self.settings = None, None

    def accept(self):
        self.begin(self.tap.accept(), False, self.settings)

    def request(self):
        """The next one, on this connection or on a new one, which takes its place."""
        if self.wire is None:
            self.accept()
        known = self.stream or 0
        while max(self.streams, default=0) <= known:
            ready, _, _ = select.select([self.tap.listener, self.wire.sock], [], [], patience(15))
            assert ready, "no request comes"
            if self.tap.listener in ready:
                self.wire.close()
                self.accept()
                known = 0
            else:
                self.look()
                assert not self.closed, "the connection ended"
        self.stream = min(number for number in self.streams if number > known)
        head = self.now.heads.pop(0)
        return {"method": head[":method"], "path": head[":path"], "headers": head}

    def interim(self, status, headers=()):
        self.h2.send_headers(self.stream, [(":status", str(status)), *headers])
        self.flush()

    def head(self, status, headers=(), length="open"):
        size = [] if length in ("open", None) else [("content-length", str(length))]
        self.h2.send_headers(self.stream, [(":status", str(status)), *headers, *size])
        self.flush()

    def was_dropped(self):
        self.until(lambda: self.now.code is not None)
        return int(self.now.code)

    def refuse_rest(self):
        self.reset(h2.errors.ErrorCodes.NO_ERROR)

    def reset(self, code):
        self.h2.reset_stream(self.stream, code)
        self.flush()

    def lose(self, _code=None):
        self.wire.close()
        self.wire, self.stream = None, None

    def goaway(self, last, code=0):
        self.flush()
        self.wire.send(b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", last, code))


CLIENTS = {"h1": Client1, "h2": Client2}
UPSTREAMS = {"h1": Upstream1, "h2": Upstream2}
