"""What ends, and who is told of it, where several requests share a connection: nobody's end may cost others anything."""

import contextlib
import hashlib
import json
import re
import signal
import socket
import ssl
import struct
import threading
import time
from pathlib import Path

import pytest
from h2.settings import SettingCodes
from support.frames import RST_STREAM, SETTINGS, Listening, answer, frame, http2_upstream, serve_http2, take, take_head, websocket_upstream
from support.http2 import H2Client
from support.ports import free_port
from support.proxy import edgemux
from support.site import HOST
from support.waiting import patience, until
from support.wire import request
from support.written import as_yaml


@pytest.fixture
def listening(closing):
    return lambda serve: closing(Listening(free_port(), serve))


def tunnel(client, path="/ws"):
    """The number of a stream that is a WebSocket's, once it stands."""
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    return client.ask(path, method="CONNECT", pseudo=[(":protocol", "websocket")], end=False, headers=[("sec-websocket-version", "13")])


def over_h2(upstream):
    return {"endpoints": [upstream.address], "protocol": "h2"}


@pytest.mark.sanitizer
@pytest.mark.parametrize("says", [
    pytest.param(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", id="HTTP/1"),
    pytest.param(b"\xff" * 100, id="nonsense"),
    pytest.param(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x05\x00\x00\x00\x00\x00\x00hello", id="DATA of stream 0"),
])
def test_an_upstream_that_speaks_no_http2_is_a_502(site, listening, says):
    def serve(sock):
        sock.recv(65536)
        sock.sendall(says)
        sock.recv(65536)

    site.start(site.route({"path": "/", "upstream": over_h2(listening(serve))}, {"path": "/here", "respond": {"body": "here"}}))
    assert [site.ask("/").status for _ in range(3)] == [502] * 3
    assert site.ask("/here").status == 200


@pytest.mark.sanitizer
def test_what_a_client_still_sends_gets_into_nobodys_answer(site, listening):
    """Its answer ends in the middle of an event of the upstream's connection, whose bytes others are waiting for."""
    streams = []

    def both(sock, stream, _):
        streams.append(stream)
        if len(streams) == 2:
            assert ready.wait(10)
            sock.sendall(answer(streams[0], b"answer for A\n") + answer(streams[1], b"B" * 16_000))

    ready = threading.Event()
    site.start(site.route({"path": "/", "upstream": over_h2(listening(http2_upstream(both)))}), workers=1)
    with site.wire() as a, site.wire() as b:
        a.send(request("/a", HOST, headers=[("Connection", "close")]))
        until(lambda: len(streams) == 1, "the first has come")
        b.send(request("/b", HOST))
        until(lambda: len(streams) == 2, "the second has come")
        a.send(b"SECRET-OF-A;" * 4000)
        a.is_quiet(0.2)
        ready.set()
        assert b.response().body == b"B" * 16_000


@pytest.mark.sanitizer
def test_websockets_that_are_reset_while_their_upstreams_talk(site, h2, listening):
    """The proxy stands still meanwhile, so that it finds both in one turn: first the reset, then bytes for what is over."""
    go, sent = threading.Event(), threading.Semaphore(0)

    def talk(sock):
        assert go.wait(20)
        sock.sendall(b"x" * 1000)
        sent.release()
        sock.recv(1)

    upstream = listening(websocket_upstream(talk))
    site.start(site.route({"path": "/ws", "upstream": upstream.address}, {"path": "/here", "respond": {"body": "here"}}), workers=1)
    for _ in range(3):
        go.clear()
        client = h2()
        streams = [tunnel(client) for _ in range(10)]
        client.until(lambda c=client, s=streams: all(c.streams[n].headers for n in s), "all stand")
        site.edge.signal(signal.SIGSTOP)
        until(lambda: "T (stopped)" in Path(f"/proc/{site.edge.process.pid}/status").read_text(), "it stands still")
        for stream in streams:
            client.h2.reset_stream(stream)
        client.flush()
        go.set()
        for _ in streams:
            assert sent.acquire(timeout=20)
        site.edge.signal(signal.SIGCONT)
        assert site.ask("/here").status == 200
        client.close()
    until(lambda: site.edge.metrics().total("edgemux_tunnels_active") == 0, "all are gone")


@pytest.mark.sanitizer
def test_a_client_that_is_cut_in_the_middle_of_an_answer(site, h2, listening):
    """Windows of a byte are a flood: the connection ends while a piece of an answer is written, and another is to follow."""
    upstream = listening(http2_upstream(lambda sock, stream, _: sock.sendall(answer(stream, b"x" * 100, b"y" * 50))))
    site.start(site.route({"path": "/", "upstream": over_h2(upstream)}, {"path": "/here", "respond": {"body": "here"}}), workers=1)
    for _ in range(2):
        client = h2(settings={SettingCodes.INITIAL_WINDOW_SIZE: 1}, manual=True)
        for number in range(80):
            if client.closed or client.goaway is not None:
                break
            stream = client.ask("/")
            client.until(lambda c=client, s=stream: c.streams[s].headers or c.goaway is not None or c.closed, f"a head for {number}")
            if client.goaway is None and not client.closed:
                client.h2.reset_stream(stream)
                client.flush()
        client.close()
    assert site.ask("/here").status == 200


@pytest.mark.sanitizer
def test_an_upload_beside_a_websocket_arrives_as_it_was_sent(site, h2, listening):
    def echo(sock):
        while data := sock.recv(65536):
            sock.sendall(data)

    upstream = listening(websocket_upstream(echo))
    site.start(site.route({"path": "/ws", "upstream": upstream.address}, {"path": "/", "upstream": site.origin.address}), workers=1)
    client = h2()
    socket_stream = tunnel(client)
    client.until(lambda: client.streams[socket_stream].headers, "the tunnel stands")
    for size in (100, 8192, 16_000):
        body = bytes(i % 251 for i in range(size))
        upload = client.ask("/upload", method="POST", headers=[("content-length", str(size))], end=False)
        client.h2.send_data(upload, body, end_stream=True)
        client.h2.send_data(socket_stream, b"websocket-bytes;" * 20)
        client.flush()  # in one write
        client.wait(upload)
        assert json.loads(client.streams[upload].body)["sha256"] == hashlib.sha256(body).hexdigest()
        talk = client.streams[socket_stream].body
        client.until(lambda: len(talk) == 320, "the echo")
        assert bytes(talk) == b"websocket-bytes;" * 20
        talk.clear()


def test_a_mirror_that_switches_protocols_takes_no_memory(site, listening):
    def pour(sock):
        while True:
            sock.sendall(b"z" * 100_000)

    shadow = listening(websocket_upstream(pour))
    site.start(site.route({"path": "/", "upstream": site.origin.address, "mirror": {"upstream": shadow.address}}))
    assert site.ask("/bytes/10").status == 200
    before = site.edge.pss()
    for _ in range(5):
        assert site.ask("/bytes/10").status == 200
    until(lambda: site.edge.metrics().total("edgemux_mirrored_requests_total", result="failed") == 6, "all mirrors have failed")
    assert site.edge.pss() - before < 8 * 1024


def test_requests_that_are_taken_back_break_no_connection_of_others(site, listening):
    """A thousand clients go away; the upstream, which all share a connection to, has done nothing wrong."""
    asked = []

    def serve(sock, stream, _):
        asked.append(stream)
        if len(asked) == 1:
            victim.append((sock, stream))

    victim = []
    site.start(site.route({"path": "/", "upstream": over_h2(listening(http2_upstream(serve)))}), workers=1)
    with site.wire(within=60) as waiting:
        waiting.send(request("/victim", HOST))
        until(lambda: victim, "the first one has come")
        count = 1
        while count < 1500:
            batch = [site.wire() for _ in range(50)]
            for wire in batch:
                wire.send(request("/", HOST))
            count += len(batch)
            until(lambda n=count: len(asked) >= n, "all have come")
            for wire in batch:
                wire.reset()
        sock, stream = victim[0]
        sock.sendall(answer(stream, b"fine"))
        got = waiting.response()
        assert (got.status, got.body) == (200, b"fine")


@pytest.mark.sanitizer
def test_a_tunnel_whose_stream_is_over_leaves_the_next_one_alone(site, h2, listening):
    """Both halves have ended; what the client sent waits for a backend that reads nothing, and resets in the end."""
    fin, reset = threading.Event(), threading.Event()

    def mute(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert fin.wait(20)
        sock.shutdown(socket.SHUT_WR)
        assert reset.wait(20)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    upstream = listening(websocket_upstream(mute))
    site.start(site.route({"path": "/ws", "upstream": upstream.address}, {"path": "/", "upstream": site.origin.address}), workers=1)
    client = h2()
    first = tunnel(client)
    client.until(lambda: client.streams[first].headers, "the tunnel stands")
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.5:  # until nothing of it is taken any more
        size = min(client.h2.local_flow_control_window(first), 16_384)
        if size > 0:
            client.send(first, b"d" * size)
            quiet_since = time.monotonic()
        client.poll(0.05)
    fin.set()
    client.h2.end_stream(first)
    client.flush()
    client.until(lambda: client.streams[first].ended, "the upstream's half has ended, too")
    second = client.ask("/gate/second")
    site.origin.wait_for_requests(1)
    reset.set()
    client.poll(0.3)
    assert client.streams[second].reset is None
    site.origin.gate("second").set()
    client.wait(second)
    assert client.streams[second].status == 200


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
@pytest.mark.parametrize("surplus", [b"", b"S" * 1000], ids=["alone", "with a surplus"])
def test_an_answer_whose_head_comes_in_pieces(site, listening, transport, surplus):
    """The head is kept until it is whole, and the body that came with its end is sent from there."""
    body = b"".join(b"%07d\n" % n for n in range(375))

    def serve(sock):
        while True:
            take_head(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            threading.Event().wait(0.15)
            sock.sendall(b"ngth: 3000\r\n\r\n" + body + surplus)

    site.start(site.route({"path": "/", "upstream": listening(serve).address}), workers=1)
    for _ in range(3):
        answer_ = site.ask("/", transport)
        assert (answer_.status, answer_.body) == (200, body)


@pytest.mark.sanitizer
def test_an_upstream_whose_windows_are_a_flood(site, listening):
    """Its connection breaks while a request that waited for it is written."""
    first = frame(SETTINGS, 0, 0, struct.pack(">HIHI", 4, 1, 3, 1))  # windows of a byte, one stream at a time
    upstream = listening(http2_upstream(lambda sock, stream, _: sock.sendall(answer(stream, b"ok") + frame(RST_STREAM, 0, stream, b"\0" * 4)),
                                        first))
    site.start(site.route({"path": "/", "upstream": {**over_h2(upstream), "limits": {"connections": 1, "pending": 1000}}},
                          {"path": "/here", "respond": {"body": "here"}}), workers=1)
    statuses = []

    def post():
        for _ in range(30):
            with contextlib.suppress(ConnectionError):
                statuses.append(site.ask("/", method="POST", body=b"b" * 3000).status)

    threads = [threading.Thread(target=post) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert site.ask("/here").status == 200
    assert statuses.count(200) > 300 and set(statuses) <= {200, 502}


@pytest.mark.sanitizer
def test_who_ends_with_the_answer_gets_all_of_it(site):
    """A client that half-closes behind its request: over HTTP/2, and slowly over HTTP/1."""
    site.start(workers=1)
    with H2Client(site.edge.https, site.authority) as client:
        client.poll(0.1)
        stream = client.ask("/gate/later")
        socket.socket.shutdown(client.wire.sock, socket.SHUT_WR)
        site.origin.wait_for_requests(1)
        site.origin.gate("later").set()
        client.wait(stream)
        assert client.streams[stream].status == 200 and client.streams[stream].body
    sizes = range(1_000_000, 3_000_000, 50_000)
    wires = [(size, site.wire(rcvbuf=16_384)) for size in sizes]
    for size, wire in wires:
        wire.send(request(f"/bytes/{size}", HOST))
        wire.finish()
    site.origin.wait_for_requests(1 + len(wires))
    wires[0][1].is_quiet(0.5)
    for size, wire in wires:
        assert len(wire.response().body) == size
        wire.close()


def test_a_drain_cuts_no_answer_that_is_on_its_way(site):
    site.start(workers=1, timeouts={"drain": "20s"})
    wires = [(size, site.wire("https", rcvbuf=16_384)) for size in range(1_000_000, 2_000_000, 50_000)]
    for size, wire in wires:
        wire.send(request(f"/bytes/{size}", HOST))
    site.origin.wait_for_requests(len(wires))
    wires[0][1].is_quiet(0.5)
    site.edge.signal(signal.SIGTERM)
    for size, wire in wires:
        assert len(wire.response().body) == size
    assert site.edge.process.wait(20) == 0


@pytest.mark.sanitizer
@pytest.mark.parametrize("limit", [1, 0])
def test_who_waits_for_an_upstream_that_takes_few_streams_gets_a_connection_of_his_own(site, listening, limit):
    connections = []

    def serve(sock):
        connections.append(sock)
        mine = len(connections)
        take(sock, 24)
        assert settled.wait(20)
        sock.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, limit if mine == 1 else 100)))
        serve_http2(sock, first if mine == 1 else lambda sock, stream, _: sock.sendall(answer(stream, b"ok")))

    def first(sock, stream, _):
        if limit == 0:  # as it must where it takes none
            sock.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", 7)))

    settled = threading.Event()
    site.start(site.route({"path": "/", "upstream": over_h2(listening(serve))}), workers=1)
    wires = [site.wire() for _ in range(4)]
    for wire in wires:
        wire.send(request("/", HOST))
        wire.is_quiet(0.1)
    settled.set()
    answered = []
    for wire in wires:
        with contextlib.suppress(AssertionError, OSError):
            wire.sock.settimeout(patience(3))
            answered.append(wire.response().status)
        wire.close()
    assert answered == [200] * (4 - limit)


@pytest.mark.sanitizer
def test_an_answer_that_is_whole_counts_whatever_comes_behind(site, listening):
    broken = b"\x00\x00\x05\x00\x00\x00\x00\x00\x00hello"
    upstream = listening(http2_upstream(lambda sock, stream, _: sock.sendall(answer(stream, b"hello\n") + broken)))
    site.start(site.route({"path": "/", "upstream": over_h2(upstream)}))
    for transport in ("http", "https"):
        got = site.ask("/", transport)
        assert (got.status, got.body) == (200, b"hello\n")


def test_an_upstream_may_end_the_requests_that_it_has_answered(site, listening):
    """RST_STREAM(NO_ERROR) behind a whole answer, as Go's servers send it where they did not read the body."""
    upstream = listening(http2_upstream(lambda sock, stream, _: sock.sendall(answer(stream, b"no") + frame(RST_STREAM, 0, stream, b"\0" * 4))))
    site.start(site.route({"path": "/", "upstream": over_h2(upstream)}), workers=1)
    for _ in range(30):
        wires = [site.wire() for _ in range(50)]
        for wire in wires:
            wire.send(request("/", HOST, "POST", [("Content-Length", 100)]) + b"half")
        assert {wire.response().status for wire in wires} == {200}
        for wire in wires:
            wire.close()
    assert "is not valid HTTP" not in site.edge.log()


def after(seconds):
    began = time.monotonic()
    until(lambda: time.monotonic() > began + seconds, "it has passed", within=3 * seconds)


def test_who_asks_for_a_tunnel_or_opens_a_call_may_be_silent_for_as_long_as_an_answer_may_take(site, h2, listening):
    """No body is due: neither from who waits for its WebSocket, nor from a call that has nothing to say yet."""
    def late(sock):
        take_head(sock)
        after(11)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        sock.recv(1)

    calls = []
    rules = [{"path": "/ws", "upstream": listening(late).address},
             {"path": "/grpc", "upstream": over_h2(listening(lambda sock: serve_http2(sock, lambda *call: calls.append(call) or b"")))}]
    site.start(site.route(*rules))
    client = h2(within=30)
    websocket = tunnel(client)
    call = client.ask("/grpc", method="POST", end=False, headers=[("content-type", "application/grpc"), ("te", "trailers")])
    client.until(lambda: client.streams[websocket].headers, "an answer")
    assert client.streams[websocket].status == 200
    assert not client.streams[call].headers and not client.streams[call].ended, "it is still open"


@pytest.mark.sanitizer
@pytest.mark.parametrize("begun", [False, True], ids=["before any request", "in the middle of a head"])
def test_an_http2_connection_that_ends_for_its_silence_says_so(site, h2, begun):
    timeouts = {"request_head": "1s"}
    site.start(timeouts=timeouts)
    client = h2()
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "the settings")
    if begun:
        assert client.raw(frame(1, 1, 1, b"\x82"))  # HEADERS whose block goes on
    client.until(lambda: client.closed or len(client.goaways) == 2, "the second GOAWAY")
    assert client.goaways[-1][1] == 0, "nothing is wrong"


@pytest.mark.sanitizer
def test_a_head_in_many_frames_is_one_as_any_other(site, h2):
    site.start(limits={"request_head": "1MiB"})
    client = h2()
    stream = client.ask("/echo", headers=[(f"x-{i}", "v" * 4000) for i in range(50)])
    client.until(lambda: client.streams[stream].headers, "an answer")
    assert client.streams[stream].status == 200
    assert client.goaway is None


@pytest.mark.sanitizer
@pytest.mark.parametrize("way", ["cut", "closed"])
def test_an_answer_over_tls_that_is_cut_is_no_whole_one(site, listening, authority, way):
    """Without a length the end is the connection's, and anybody on the way can send a FIN (RFC 9112 9.8)."""
    pair = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)

    def serve(sock):
        secure = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True)
        take_head(secure)
        secure.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome of it")
        if way == "closed":
            with contextlib.suppress(OSError):
                secure.unwrap()
        else:
            socket.socket(fileno=socket.dup(secure.fileno())).shutdown(socket.SHUT_WR)
            secure.detach()

    port = listening(serve).address.rpartition(":")[2]
    upstream = {"endpoints": [f"localhost:{port}"], "tls": {"ca": str(authority.path)}}
    site.start(site.route({"path": "/", "upstream": upstream}))
    if way == "closed":
        assert site.ask("/").body == b"some of it"
        return
    with pytest.raises((AssertionError, EOFError, OSError)):
        site.ask("/")
    site.edge.wait_access(reason="upstream_closed")


def test_one_address_that_asks_for_tokens_without_end_leaves_the_others_alone(site, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "here").write_text("here.key")
    site.start(acme={"tokens_dir": str(tokens)}, workers=1)
    path = "/.well-known/acme-challenge/"
    with site.wire() as wire:
        flood = [wire.ask(path + "nothing", HOST).status for _ in range(400)]
    assert 503 in flood, "it is bounded"
    with socket.create_connection(("127.0.0.1", site.edge.http), source_address=("127.0.0.77", 0)) as other:
        other.sendall(f"GET {path}here HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        answered = b"".join(iter(lambda: other.recv(65536), b""))
    assert answered.startswith(b"HTTP/1.1 200 ") and answered.endswith(b"here.key")


def test_who_came_under_a_listeners_old_name_is_served(site, edge):
    """Nothing of the host has changed but what the listener is called."""
    site.start()
    with site.wire() as wire:
        text = (edge.folder / "edgemux.yaml").read_text()
        generation = len(re.findall(r"generation \d+: ", edge.log()))
        edge.write(text.replace("name: http\n", "name: web\n"))
        until(lambda: len(re.findall(r"generation \d+: ", edge.log())) > generation, edge.log)
        assert wire.ask("/echo", HOST).status == 200


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http1", "h2"])
def test_nobody_is_switched_to_what_he_has_not_asked_for(site, h2, listening, transport):
    def serve(sock):
        asked = take_head(sock)
        protocol = b"evil" if b"/evil" in asked else b"WebSocket"
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
        sock.recv(1)

    site.start(site.route({"path": "/", "upstream": listening(serve).address}))
    if transport == "h2":
        client = h2()
        streams = [tunnel(client, path) for path in ("/evil", "/good")]
        client.until(lambda: all(client.streams[stream].headers for stream in streams), "both answers")
        assert [client.streams[stream].status for stream in streams] == [502, 200]
        return
    statuses = []
    for path in ("/evil", "/good"):
        with site.wire() as wire:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: foo, websocket\r\n\r\n".encode())
            statuses.append(wire.take_through(b"\r\n").split()[1])
    assert statuses == [b"502", b"101"]


def test_strangers_at_the_probes_do_not_keep_the_operator_out(site, edge, closing):
    site.start()
    for _ in range(80):
        closing(socket.create_connection(("127.0.0.1", edge.probes)))
    until(lambda: "admin.probes: 64 connections are open" in edge.log(), edge.log)
    asked = edgemux("status", "-c", edge.path)
    assert asked.returncode == 0, asked.stderr


def ignores(pid, number):
    found = re.search(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found.group(1), 16) >> (number - 1) & 1 == 1


def test_a_signal_during_the_start_ends_nothing(edge):
    edge.write(as_yaml(edge.base(routes=[{"host": f"h{n}.example.com", "passthrough": f"10.0.{n // 250}.{n % 250 + 1}:443"} for n in range(20_000)])))
    edge.spawn()
    until(lambda: ignores(edge.process.pid, signal.SIGHUP), "it has come so far")
    for number in (signal.SIGHUP, signal.SIGUSR1):
        edge.signal(number)
    edge.wait_ready()
    assert edge.process.poll() is None
