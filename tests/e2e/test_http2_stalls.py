"""HTTP/2 clients that take nothing, or little, of what they ask for: what is kept for them meanwhile is bounded."""

import concurrent.futures
import hashlib
import json
import random
import struct
import time

import pytest
from h2.settings import SettingCodes
from support.attacker import DATA, GOAWAY, HEADERS, RST, WINDOW, Attacker, frame, head, literal
from support.curl import curl
from support.http2 import H2Client, H2Origin
from support.origin import pattern
from support.ports import free_port
from support.proxy import Growth, sanitized
from support.site import HOST
from support.waiting import patience, until
from support.wire import request

PER_ATTACKER = 256  # KiB
STREAMS = 100  # MAX_CONCURRENT_STREAMS of a connection that has just begun
CALM = 11  # ENHANCE_YOUR_CALM
STARTED = 48  # of them; the others are held


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
    site.start(site.route({"path": "/", "upstream": upstream_of(site, closing, upstream)}), workers=1, timeouts={"idle": "10s" if stall == "streams" else "2s"})
    # The server over HTTP/2 has one answer for all, and a large one.
    touch_the_log(site, (HOST, 200) if upstream == "http1" else ("nobody.example.com", 404))
    friend = good()
    touch_the_buffers(site)
    several = [attackers(**STALLS[stall]) for _ in range(4)]
    growth = Growth(site.edge)
    for attacker in several:
        began = time.monotonic()
        attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/bytes/1000000")) for i in range(STREAMS)))
        friend.ask()
    if stall != "socket":
        for attacker in several:
            attacker.until(HEADERS, STARTED)
    # The others' answers go on while theirs wait. Not many: lines of the access log would count as memory.
    for _ in range(20):
        friend.ask()
    until(lambda: time.monotonic() > began + 1, "a second has passed")
    held = growth.most() / len(several)
    # A client whose socket is full is not even heard to its end.
    lines = len(several) * (STARTED if stall != "socket" else 1)
    reason = "flood" if stall == "streams" else "response_too_slow"
    site.edge.wait_access(lines, within=20, path="/bytes/1000000", reason=reason)
    for attacker in several:
        attacker.ends()
    if stall == "streams":  # none of them ever took a byte: that is no pause
        took = time.monotonic() - began
        assert {attacker.goaway for attacker in several} == {CALM}
        assert site.edge.metrics().total("edgemux_drops_total", reason="flood") == len(several) * (STARTED + 1)
        assert took < 2.5 * patience(1), took
    good().ask()
    print(f"{stall} {upstream}: {held:.0f} KiB per attacker")
    assert held < PER_ATTACKER or sanitized()


def touch_the_log(site, asked=(HOST, 200)):
    """Lines as many as the ring of a worker holds (1 MiB): its memory is the worker's, whoever's lines come to lie in it first."""
    path = "/bytes/1?" + "q" * 2000
    with site.wire() as wire:
        for _ in range(600):
            assert wire.ask(path, asked[0]).status == asked[1]


def touch_the_buffers(site):
    """What a large answer passes through is the worker's as well, as large as the largest needs it."""
    with site.wire("https") as wire:
        for _ in range(4):
            assert wire.ask("/bytes/1000000", HOST).status == 200


@pytest.mark.sanitizer
@pytest.mark.parametrize("what", ["bodies", "heads"])
@pytest.mark.parametrize("stall", [*STALLS, "default windows"])
def test_what_a_rule_says_costs_a_slow_client_little(site, attackers, good, stall, what):
    """As above, of answers that are the proxy's own, each as large as a rule may make it."""
    large = {"body": "x" * (1 << 20)} if what == "bodies" else {"headers": {f"x-{i}": "y" * 8000 for i in range(8)}}
    site.start(site.route({"path": "/", "upstream": site.origin.address}, {"path": "/r", "respond": large}),
               workers=1, timeouts={"idle": "2s"})
    friend = good()
    several = [attackers(**STALLS.get(stall, {})) for _ in range(4)]
    growth = Growth(site.edge)
    for attacker in several:
        attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/r")) for i in range(40)))
        friend.ask()
    for _ in range(20):
        friend.ask()
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 0.5, "half a second has passed")
    held = growth.most() / len(several)
    print(f"{stall} {what}: {held:.0f} KiB per attacker")
    assert held < PER_ATTACKER + 64 or sanitized()
    if what == "bodies":  # heads need no window
        for attacker in several:
            attacker.ends()
    good().ask()


def test_what_a_rule_says_costs_as_little_over_http1(site, closing):
    text = "x" * (1 << 20)
    site.start(site.route({"path": "/r", "respond": {"body": text}}), workers=1)
    growth = Growth(site.edge)
    clients = [closing(site.wire("https", rcvbuf=4096)) for _ in range(20)]
    for client in clients:
        client.send(request("/r", HOST))
    for client in clients:
        assert client.take(1) == b"H"
    assert growth.most() / len(clients) < 200 or sanitized()
    for client in clients[:3]:
        client.take_through(b"\r\n\r\n")
        assert client.take(len(text)) == text.encode()


@pytest.mark.sanitizer
@pytest.mark.parametrize("window", [1000, 65_535, 1 << 20])
def test_what_a_rule_says_arrives_as_the_client_takes_it(site, closing, window):
    """Many at a time, through windows of any size, beside others that take nothing."""
    text = pattern(32 << 10).hex()
    site.start(site.route({"path": "/r", "respond": {"body": text}}), workers=1)
    with H2Client(site.edge.https, site.authority, settings={SettingCodes.INITIAL_WINDOW_SIZE: window}) as client:
        for answer in client.wait(*[client.ask("/r") for _ in range(20)]):
            assert answer.status == 200 and bytes(answer.body) == text.encode()
    with site.wire("https") as wire:
        wire.send(request("/r", HOST) * 5)
        assert [wire.response().body for _ in range(5)] == [text.encode()] * 5
    assert {line["bytes_out"] for line in site.edge.wait_access(25, path="/r")} == {len(text)}


@pytest.mark.sanitizer
@pytest.mark.parametrize("what", ["heads", "small heads", "bodies", "bodies of held ones", "trailers"])
def test_requests_that_wait_are_bounded(site, attackers, good, blackhole, what):
    """As much as may be sent to an upstream that takes no connection: what is too much is refused, heads as not processed."""
    site.start(site.route({"path": "/waits", "upstream": blackhole.address}, {"path": "/", "upstream": site.origin.address}),
               workers=1, timeouts={"connect": "2s"})
    touch_the_log(site)
    friend = good()
    several = [attackers() for _ in range(4)]
    growth = Growth(site.edge)
    for attacker in several:
        large = b"\0\x01x\x7f\x99\x74" + b"x" * 15_000
        if what == "heads":
            attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/waits") + large) for i in range(STREAMS)))
            attacker.until(RST, STREAMS // 2 + 1)
        elif what == "small heads":
            attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/waits")) for i in range(STREAMS)))
        elif what == "trailers":
            attacker.send(b"".join(frame(HEADERS, 4, 2 * i + 1, head(b"/waits", b"POST")) for i in range(STREAMS)))
            attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, large) for i in range(STREAMS)))
            attacker.until(HEADERS, STARTED // 2)
        else:
            attacker.send(b"".join(frame(HEADERS, 4, 2 * i + 1, head(b"/waits", b"POST")) for i in range(STREAMS)))
            first = STARTED if what == "bodies of held ones" else 0
            for i in range(first, first + 4):  # all of the connection's window
                attacker.send(frame(DATA, 0, 2 * i + 1, b"x" * 16_000))
        friend.ask()
    held = growth.most() / len(several)
    if what == "heads":
        assert all(attacker.refused > STREAMS // 2 for attacker in several)
    if what == "trailers":
        site.edge.wait_access(len(several) * (STARTED // 2), path="/waits", status=431, reason="head_too_large")
    assert all(attacker.goaway is None for attacker in several)
    site.edge.wait_access(len(several), path="/waits", reason="connect_timeout")
    friend.ask()
    print(f"{what}: {held:.0f} KiB per attacker")
    assert held < PER_ATTACKER or sanitized()


@pytest.mark.sanitizer
def test_what_is_held_for_who_never_knows_the_limit_has_its_time(site, attackers, good):
    """A hundred at once, and as many again and again: they are held for a while, then refused, and cost little."""
    site.start(workers=1, timeouts={"request_head": "1s"})
    friend = good()
    several = [attackers(knows=False) for _ in range(4)]
    growth = Growth(site.edge)
    for attacker in several:
        attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/gate/attack")) for i in range(STREAMS)))
        friend.ask()
    for attacker in several:
        attacker.until(RST, STREAMS - STARTED)
        assert attacker.refused == STREAMS - STARTED and attacker.goaway is None
        attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/gate/attack")) for i in range(STREAMS, STREAMS + 10)))
        attacker.until(RST, STREAMS - STARTED + 10)
        friend.ask()
    held = growth.most() / len(several)
    site.origin.gate("attack").set()
    for attacker in several:
        attacker.until(HEADERS, STARTED)
        assert attacker.seen[HEADERS] == STARTED
    site.edge.wait_access(len(several) * STARTED, path="/gate/attack", status=200)
    assert sum(r.target == "/gate/attack" for r in site.origin.requests) == len(several) * STARTED
    lines = [line for line in site.edge.access() if line.get("path") == "/gate/attack"]
    assert len([line for line in lines if line.get("status") == 200]) == len(several) * STARTED
    refused = sum(attacker.refused for attacker in several)
    assert len([line for line in lines if line["reason"] == "too_many_streams"]) == refused == len(lines) - len(several) * STARTED
    friend.ask()
    print(f"{held:.0f} KiB per attacker")
    assert held < PER_ATTACKER or sanitized()


# ---- what a good client makes of being refused

MANY = 40
LARGE = "v" * 12_000


@pytest.fixture
def narrow(site):
    """One connection for everybody: what waits for it is kept, and so bounded."""
    upstream = {"endpoints": [site.origin.address], "limits": {"connections": 1, "pending": 1000}, "timeouts": {"pending": "60s"}}
    site.start(site.route({"path": "/", "upstream": upstream}), workers=1)
    return site


@pytest.mark.sanitizer
@pytest.mark.parametrize("again", ["at once", "when another is through"])
def test_what_is_refused_may_be_sent_again_and_arrives_once(narrow, closing, again):
    client = closing(H2Client(narrow.edge.https, narrow.authority, within=60))

    def ask(number):
        stream = client.ask(f"/echo?{number}", method="POST", headers=[("x-large", LARGE)], end=False)
        client.send(stream, b"pay 10", end=True)
        return stream

    first = client.ask("/gate/first")
    narrow.origin.wait_for_requests(1)
    under_way = {ask(number): number for number in range(MANY)}
    answered, refused = {}, 0

    def over(stream):
        return client.streams[stream].ended or client.streams[stream].reset is not None

    def take():
        """Takes away those that are over; the numbers of those that were refused."""
        back = []
        for stream in [s for s in under_way if over(s)]:
            number, answer = under_way.pop(stream), client.streams[stream]
            if answer.reset is None:
                assert answer.status == 200
                answered[number] = json.loads(answer.body)
            else:
                assert answer.reset == 7
                back.append(number)
        return back

    client.until(lambda: any(client.streams[s].reset == 7 for s in under_way), "some are refused")
    narrow.origin.gate("first").set()
    waiting = []
    while under_way or waiting:
        waiting += take()
        if waiting and (again == "at once" or not under_way or len(answered) > 0):
            refused += len(waiting)
            under_way.update({ask(number): number for number in waiting})
            waiting = []
        if under_way:
            client.until(lambda: any(over(s) for s in under_way), "something is over")
    assert client.wait(first).status == 200 and client.goaway is None
    assert sorted(answered) == list(range(MANY)) and all(seen["length"] == 6 for seen in answered.values())
    assert sorted(r.target for r in narrow.origin.requests if r.target != "/gate/first") == sorted(f"/echo?{n}" for n in range(MANY))
    assert refused > 0
    print(f"{again}: {refused} refused")


def test_curl_sends_again_what_is_refused(narrow, tmp_path):
    with narrow.wire() as wire, concurrent.futures.ThreadPoolExecutor(1) as pool:
        wire.send(request("/gate/first", HOST))
        narrow.origin.wait_for_requests(1)
        run = pool.submit(curl, f"https://{HOST}:{{port}}/echo?[1-{MANY}]", "--http2", "--parallel", "--parallel-max", MANY,
                          "-H", f"x-large: {LARGE}", "-o", f"{tmp_path}/#1", "--fail", port=narrow.edge.https,
                          ca=narrow.authority.path)
        # What one connection refuses, curl asks for on another.
        until(lambda: run.done() or narrow.edge.metrics().total("edgemux_connections_total", listener="https") >= 2, "refused")
        narrow.origin.gate("first").set()
        done = run.result()
    assert done.returncode == 0, done.stderr
    seen = [json.loads((tmp_path / str(number)).read_text())["target"] for number in range(1, MANY + 1)]
    assert seen == [f"/echo?{number}" for number in range(1, MANY + 1)]


@pytest.mark.sanitizer
def test_tunnels_that_nobody_reads(site, attackers, good):
    """WebSockets whose upstream sends all the time, over streams without a window."""

    def flood(call):
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + bytes(1 << 20))

    site.origin.scripts["/flood"] = flood
    site.start(workers=1)
    friend = good()
    several = [attackers(settings=[(4, 0)], window=1 << 30) for _ in range(4)]
    growth = Growth(site.edge)
    connect = literal(b":method", b"CONNECT") + literal(b":protocol", b"websocket") + head(b"/flood")[len(literal(b":method", b"GET")):]
    for attacker in several:
        attacker.send(b"".join(frame(HEADERS, 4, 2 * i + 1, connect + literal(b"sec-websocket-version", b"13")) for i in range(STREAMS)))
        attacker.until(HEADERS, STARTED)
        friend.ask()
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 1, "a second has passed")
    held = growth.most() / len(several)
    attacker.send(frame(WINDOW, 0, 1, struct.pack(">I", 60_000)))
    attacker.until(DATA, 2)
    friend.ask()
    print(f"{held:.0f} KiB per attacker")
    assert held < PER_ATTACKER or sanitized()


@pytest.mark.sanitizer
def test_only_the_answer_that_is_not_taken_is_given_up(site, h2):
    """A paused video costs the connection's other streams nothing."""
    site.start(workers=1, timeouts={"idle": "1s"})
    client = h2(manual=True)
    client.h2.increment_flow_control_window(8 << 20)
    quiet, paused = client.ask("/gate/quiet"), client.ask("/bytes/5000000")
    client.until(lambda: client.streams[paused].reset is not None, "it is given up")
    assert client.streams[paused].reset == 8 and len(client.streams[paused].body) == 65_535
    line, = site.edge.wait_access(path="/bytes/5000000", reason="response_too_slow")
    assert line["detail"] == "the client opens no window for what it asked for"
    site.origin.gate("quiet").set()
    assert client.wait(quiet).status == 200 and client.goaway is None
    assert client.get("/bytes/10").status == 200


@pytest.mark.sanitizer
def test_a_tunnel_that_is_not_read_has_the_time_of_tunnels(site, h2):
    def flood(call):
        call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + bytes(1 << 20))

    site.origin.scripts["/flood"] = flood
    site.start(workers=1, timeouts={"idle": "1s", "tunnel_idle": "3s"})
    client = h2(manual=True)
    began = time.monotonic()
    stream = client.ask("/flood", method="CONNECT", pseudo=[(":protocol", "websocket")], headers=[("sec-websocket-version", "13")], end=False)
    client.until(lambda: len(client.streams[stream].body) == 65_535, "all that its windows let out")
    client.until(lambda: client.closed or client.goaway is not None or client.streams[stream].reset is not None, "the end")
    assert time.monotonic() > began + 2.9


@pytest.mark.sanitizer
def test_a_whole_answer_that_is_taken_slowly_is_not_cut(site, h2):
    """`timeouts.idle` counts from the end of what waits in windows, though the request is over long before."""
    body = "r" * 60_000
    site.start(site.route({"path": "/", "respond": {"body": body}}), workers=1, timeouts={"idle": "1s"})
    client = h2(settings={SettingCodes.INITIAL_WINDOW_SIZE: 16_384}, manual=True)
    stream = client.ask("/")
    answer, taken = client.streams[stream], 0
    while not answer.ended:
        client.until(lambda: len(answer.body) > taken or answer.ended, "more of it")
        client.poll(0.6)
        if len(answer.body) > taken and not answer.ended:
            client.h2.acknowledge_received_data(len(answer.body) - taken, stream)
            client.flush()
        taken = len(answer.body)
    assert bytes(answer.body) == body.encode()
    assert client.ends() == 0, "and then it idles"


def test_an_upload_through_a_tunnel_that_is_read_slowly_is_not_kept(site, tap, h2):
    """A WebSocket whose client always has more to send than `bandwidth_per_source` lets through."""
    size = 12 << 20
    site.start(site.route({"path": "/", "upstream": tap.address}), workers=1, limits={"bandwidth_per_source": "4MiB"})
    client = h2(within=60)
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    stream = client.ask("/sink", method="CONNECT", pseudo=[(":protocol", "websocket")], headers=[("sec-websocket-version", "13")], end=False)
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.until(lambda: client.streams[stream].status == 200, "the tunnel")
    sent = pattern(size)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        taken = pool.submit(backend.take, size)
        client.send(stream, sent[: 1 << 20])
        growth = Growth(site.edge)
        client.send(stream, sent[1 << 20 :])
        assert taken.result() == sent
    assert growth.most() < 2048 or sanitized()


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
        while len(reader.open) >= STARTED:
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
    most = take(site, site.authority.client_context(["h2"]), 150, 300_000 if sanitized() else 1_000_000)
    assert most < 4096 or sanitized(), f"{most} KiB"


@pytest.mark.full
def test_ten_gibibytes_over_a_thousand_streams(site):
    site.start(workers=1)
    began = time.monotonic()
    most = take(site, site.authority.client_context(["h2"]), 1000, (10 << 30) // 1000 + 1)
    print(f"10 GiB in {time.monotonic() - began:.0f} s; at most {most} KiB")
    assert most < 4096


@pytest.mark.full
def test_a_gibibyte_over_a_thousand_streams_from_http2(site, closing):
    """Less, because the origin is python-h2."""
    site.start(site.route({"path": "/", "upstream": upstream_of(site, closing, "h2")}), workers=1)
    began = time.monotonic()
    most = take(site, site.authority.client_context(["h2"]), 1000, (1 << 30) // 1000 + 1)
    print(f"1 GiB in {time.monotonic() - began:.0f} s; at most {most} KiB")
    assert most < 4096


class Writer(Attacker):
    """Sends a body on each of many streams at a time, pieces of random length in random order, within the windows."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dice, self.room, self.rooms, self.left, self.hashes, self.answers = random.Random(11), 65_535, {}, {}, {}, {}
        self.first = 65_536  # SETTINGS_INITIAL_WINDOW_SIZE of the proxy

    def begin(self, streams, size):
        for stream in range(1, 2 * streams, 2):
            self.rooms[stream], self.left[stream], self.hashes[stream] = self.first, size, hashlib.sha256()
            self.answers[stream] = b""
            self.send(frame(HEADERS, 4, stream, head(b"/upload", b"POST")))

    def write(self):
        """All that may go now."""
        text = b""
        while self.room > 0 and (may := [s for s, left in self.left.items() if left and self.rooms[s] > 0]):
            stream = self.dice.choice(may)
            count = min(self.dice.randrange(1000, 16_384), self.left[stream], self.rooms[stream], self.room)
            piece = self.dice.randbytes(count)
            self.hashes[stream].update(piece)
            self.left[stream] -= count
            self.rooms[stream] -= count
            self.room -= count
            text += frame(DATA, 0 if self.left[stream] else 1, stream, piece)
        self.send(text)

    def read(self):
        data = self.sock.recv(1 << 18)
        assert data, "the connection ended"
        self.buffer += data
        while len(self.buffer) >= 9 and len(self.buffer) >= (end := 9 + int.from_bytes(self.buffer[:3], "big")):
            kind, stream, payload = self.buffer[3], int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:end]
            assert kind not in (RST, GOAWAY), self.buffer[:end]
            if kind == DATA:
                self.answers[stream] += payload
            elif kind == WINDOW and stream == 0:
                self.room += int.from_bytes(payload, "big")
            elif kind == WINDOW:
                self.rooms[stream] += int.from_bytes(payload, "big")
            if kind in (DATA, HEADERS) and self.buffer[4] & 1:
                self.hashes[stream] = (self.hashes[stream].hexdigest(), json.loads(self.answers.pop(stream)))
            self.buffer = self.buffer[end:]


def give(site, context, streams, size):
    """Uploads `size` bytes on each of `streams` streams at a time; returns the most memory that took, in KiB."""
    writer = Writer(site.edge.https, context, within=patience(60))
    growth = Growth(site.edge)
    writer.begin(streams, size)
    while writer.answers:
        writer.write()
        writer.read()
    writer.close()
    assert all((sent, size) == (seen["sha256"], seen["length"]) for sent, seen in writer.hashes.values())
    return growth.most()


@pytest.mark.parametrize("upstream", ["http1", "h2"])
def test_many_uploads_at_a_time(site, closing, upstream):
    site.start(site.route({"path": "/", "upstream": upstream_of(site, closing, upstream)}), workers=1)
    most = give(site, site.authority.client_context(["h2"]), STARTED, 100_000 if sanitized() else 500_000)
    assert most < 4096 or sanitized(), f"{most} KiB"


@pytest.mark.full
@pytest.mark.parametrize("upstream", ["http1", "h2"])
def test_a_gibibyte_uploaded_over_48_streams(site, closing, upstream):
    site.start(site.route({"path": "/", "upstream": upstream_of(site, closing, upstream)}), workers=1)
    began = time.monotonic()
    most = give(site, site.authority.client_context(["h2"]), STARTED, (1 << 30) // STARTED + 1)
    print(f"{upstream}: 1 GiB in {time.monotonic() - began:.0f} s; at most {most} KiB")
    assert most < 4096
