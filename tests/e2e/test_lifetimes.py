"""What ends, and who is told of it, where several requests share a connection: nobody's end may cost others anything."""

import hashlib
import json
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from h2.settings import SettingCodes
from support.frames import Listening, answer, http2_upstream, websocket_upstream
from support.ports import free_port
from support.site import HOST
from support.waiting import until
from support.wire import request


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
