"""HTTP/2 clients that take nothing, or little, of what they ask for: what is kept for them meanwhile is bounded."""

import hashlib
import random
import struct
import time

import pytest
from support.attacker import DATA, GOAWAY, HEADERS, RST, WINDOW, Attacker, frame, head
from support.http2 import H2Origin
from support.origin import pattern
from support.ports import free_port
from support.proxy import Growth, sanitized
from support.waiting import patience, until

PER_ATTACKER = 256  # KiB
STREAMS = 48  # MAX_CONCURRENT_STREAMS


def upstream_of(site, closing, protocol):
    if protocol == "http1":
        return site.origin.address
    return {"endpoints": [closing(H2Origin(free_port())).address], "protocol": "h2"}


# What a client may leave unread: nothing of a stream's window, nothing of the connection's, or the socket.
STALLS = {
    "streams": {"settings": [(4, 0)], "window": 1 << 30},
    "connection": {"settings": [(4, 0x7FFFFFFF)]},
    "socket": {"settings": [(4, 0x7FFFFFFF)], "window": (1 << 31) - 1 - 65_535, "rcvbuf": 4096},
}


@pytest.mark.sanitizer
@pytest.mark.parametrize("upstream", ["http1", "h2"])
@pytest.mark.parametrize("stall", STALLS)
def test_windows_that_never_open(site, attackers, good, closing, stall, upstream):
    """As many large answers asked for as may be, and none taken: a deadline, and little memory until then."""
    site.start(site.route({"path": "/", "upstream": upstream_of(site, closing, upstream)}), workers=1, timeouts={"idle": "2s"})
    friend = good()
    several = [attackers(**STALLS[stall]) for _ in range(4)]
    growth = Growth(site.edge)
    for attacker in several:
        began = time.monotonic()
        attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/bytes/1000000")) for i in range(STREAMS)))
        friend.ask()
    if stall != "socket":
        for attacker in several:
            attacker.until(HEADERS, STREAMS)
    # The others' answers go on while theirs wait. Not many: lines of the access log would count as memory.
    for _ in range(20):
        friend.ask()
    until(lambda: time.monotonic() > began + 1, "a second has passed")
    held = growth.most() / len(several)
    # A client whose socket is full is not even heard to its end.
    lines = len(several) * (STREAMS if stall != "socket" else 1)
    site.edge.wait_access(lines, within=20, path="/bytes/1000000", reason="response_too_slow")
    for attacker in several:
        attacker.ends()
    good().ask()
    print(f"{stall} {upstream}: {held:.0f} KiB per attacker")
    assert held < PER_ATTACKER or sanitized()




class Reader(Attacker):
    """Takes answers with pauses of random length: some windows are opened at once, others later. Keeps hashes, not bodies."""

    LATER = 300  # pieces that wait to be given back

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dice, self.owed, self.hashes, self.open, self.next = random.Random(10), [], {}, set(), 1

    def ask(self, path):
        self.hashes[self.next] = hashlib.sha256()
        self.open.add(self.next)
        self.send(frame(HEADERS, 5, self.next, head(path)))
        self.next += 2

    def read(self):
        data = self.sock.recv(1 << 18)
        assert data, "the connection ended"
        self.buffer += data
        at = 0
        while len(self.buffer) >= at + 9 and len(self.buffer) >= (end := at + 9 + int.from_bytes(self.buffer[at:at + 3], "big")):
            kind, flags, stream = self.buffer[at + 3], self.buffer[at + 4], int.from_bytes(self.buffer[at + 5:at + 9], "big")
            assert kind not in (RST, GOAWAY), self.buffer[at:end]
            if kind == DATA:
                self.hashes[stream].update(memoryview(self.buffer)[at + 9:end])
                self.owed.append((stream, end - at - 9))
            if kind in (DATA, HEADERS) and flags & 1:
                self.open.remove(stream)
            at = end
        self.buffer = self.buffer[at:]
        # All of it, when nothing else can come: then every stream waits for us.
        self.dice.shuffle(self.owed)
        keep = min(self.dice.randrange(self.LATER), len(self.owed) // 2) if len(self.open) > 8 else 0
        give, self.owed = self.owed[keep:], self.owed[:keep]
        total, text = 0, b""
        for stream, count in give:
            total += count
            if count and stream in self.open:
                text += frame(WINDOW, 0, stream, struct.pack(">I", count))
        if total:
            self.send(frame(WINDOW, 0, 0, struct.pack(">I", total)) + text)


def take(site, context, streams, size):
    """Asks for `streams` answers of `size` bytes over one connection; returns the most memory that took, in KiB."""
    reader = Reader(site.edge.https, context, settings=[(4, 1 << 20)], window=8 << 20, within=patience(60))
    expected = hashlib.sha256(pattern(size)).digest()
    growth = Growth(site.edge)
    for _ in range(streams):
        while len(reader.open) >= STREAMS:
            reader.read()
        reader.ask(f"/bytes/{size}".encode())
    while reader.open:
        reader.read()
    reader.close()
    assert len(reader.hashes) == streams and all(h.digest() == expected for h in reader.hashes.values())
    return growth.most()


@pytest.mark.parametrize("upstream", ["http1", "h2"])
def test_many_streams_with_pauses(site, closing, upstream):
    site.start(site.route({"path": "/", "upstream": upstream_of(site, closing, upstream)}), workers=1)
    most = take(site, site.authority.client_context(["h2"]), 150, 300_000)
    assert most < 4096 or sanitized(), f"{most} KiB"


@pytest.mark.full
def test_ten_gibibytes_over_a_thousand_streams(site):
    site.start(workers=1)
    began = time.monotonic()
    most = take(site, site.authority.client_context(["h2"]), 1000, (10 << 30) // 1000 + 1)
    print(f"10 GiB in {time.monotonic() - began:.0f} s; at most {most} KiB")
    assert most < 4096
