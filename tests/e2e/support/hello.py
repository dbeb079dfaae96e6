"""ClientHellos: made by hand where they need not finish, or real ones whose bytes go out as the test wants."""

import os
import ssl
import struct

GREASE = (0x0A0A, 0x1A1A, 0x2A2A, 0xFAFA)


def _vector(width, data):
    return len(data).to_bytes(width, "big") + data


def _extension(number, data):
    return struct.pack("!H", number) + _vector(2, data)


def sni_extension(name):
    raw = name.encode() if isinstance(name, str) else name
    return _extension(0, _vector(2, b"\x00" + _vector(2, raw)))


def alpn_extension(protocols):
    return _extension(16, _vector(2, b"".join(_vector(1, p.encode()) for p in protocols)))


def padding_extension(length):
    return _extension(21, bytes(length))


def handshake_message(name=None, alpn=(), grease=False, total=None, before=b"", after=b""):
    """A ClientHello handshake message (no record header). `total` pads the message to that many bytes."""
    suites = b"".join(struct.pack("!H", s) for s in (0x1301, 0x1302, 0xC02B, 0xC02F))
    extensions = before
    if grease:
        suites = struct.pack("!H", GREASE[0]) + suites
        extensions += _extension(GREASE[1], b"")
    if name is not None:
        extensions += sni_extension(name)
    if alpn:
        extensions += alpn_extension((["\u002a\u002a"] if grease else []) + list(alpn))
    versions = ((GREASE[2],) if grease else ()) + (0x0304, 0x0303)
    extensions += _extension(43, _vector(1, b"".join(struct.pack("!H", v) for v in versions)))
    extensions += _extension(10, _vector(2, struct.pack("!HH", 0x001D, 0x0017)))
    extensions += _extension(13, _vector(2, struct.pack("!HHH", 0x0403, 0x0804, 0x0401)))
    share = struct.pack("!H", 0x001D) + _vector(2, os.urandom(32))
    if grease:
        share = struct.pack("!H", GREASE[3]) + _vector(2, b"\x00") + share
    extensions += _extension(51, _vector(2, share))
    extensions += after

    def message(tail):
        body = b"\x03\x03" + os.urandom(32) + _vector(1, os.urandom(32)) + _vector(2, suites) + b"\x01\x00"
        return b"\x01" + _vector(3, body + _vector(2, extensions + tail))

    if total is None:
        return message(b"")
    missing = total - len(message(b"")) - 4
    assert missing >= 0, "the message is longer than that without padding"
    return message(padding_extension(missing))


def records(message, size=16384, version=b"\x03\x01"):
    """The message in TLS records of at most `size` bytes."""
    return b"".join(
        b"\x16" + version + _vector(2, message[i : i + size]) for i in range(0, len(message), size)
    )


def hello(name=None, **kwargs):
    """A whole ClientHello, ready to send."""
    return records(handshake_message(name, **kwargs))


def messages_of(record_bytes):
    """The handshake bytes inside a run of records: what `records` can cut anew."""
    out = b""
    while record_bytes:
        length = int.from_bytes(record_bytes[3:5], "big")
        out += record_bytes[5 : 5 + length]
        record_bytes = record_bytes[5 + length :]
    return out


class SlowHandshake:
    """A real TLS client whose first flight is sent as the test decides; the rest runs as usual.

    hello = h.first_flight();  h.finish_over(wire);  h.ask(wire, request)
    """

    def __init__(self, context, name):
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name)

    def first_flight(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self._out.read()

    def _run(self, wire, step):
        while True:
            try:
                answer = step()
                pending = self._out.read()
                if pending:
                    wire.send(pending)
                return answer
            except ssl.SSLWantReadError:
                pending = self._out.read()
                if pending:
                    wire.send(pending)
                data = wire.sock.recv(65536)
                if not data:
                    raise AssertionError("the peer closed during the handshake") from None
                self._in.write(data)

    def finish_over(self, wire):
        self._run(wire, self.tls.do_handshake)

    def send(self, wire, data):
        self.tls.write(data)
        wire.send(self._out.read())

    def receive_through(self, wire, mark):
        data = b""
        while mark not in data:
            data += self._run(wire, lambda: self.tls.read(65536))
        return data

    def certificate(self):
        return self.tls.getpeercert(binary_form=True)
