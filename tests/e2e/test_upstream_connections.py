"""Connections to upstreams that die, fall silent or break: what is asked again, where, and who is blamed for it."""

import re
import socket
import threading
from collections import Counter

import pytest
from support.frames import (
    ACK, DATA, END_HEADERS, END_STREAM, HEADERS, HEADERS_200, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, Listening, answer, frame, http2_upstream, take,
    websocket_upstream,
)
from support.load import Load
from support.ports import free_port
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request

pytestmark = pytest.mark.sanitizer
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "a" * 24)]
POST = 0x83  # a field block that begins with ":method: POST", from the static table
SWITCHES = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def app(*backends, **more):
    return {"app": {"endpoints": [b.address for b in backends], **more}}


def start(site, upstreams, **rule):
    return site.start(site.route({"path": "/", "upstream": "app", **rule}), upstreams=upstreams, workers=1)


def ejected(site):
    return int(site.edge.metrics().total("edgemux_upstream_endpoints", upstream="app", state="ejected"))


def switch(site):
    with site.wire() as wire:
        return wire.ask("/ws", HOST, headers=UPGRADE).status


def from_source(site, number):
    return Wire(socket.create_connection(("127.0.0.1", site.edge.http), source_address=(f"127.0.1.{number}", 0)))


# ---- what is asked again


def test_a_websocket_on_a_connection_that_was_just_closed_is_asked_again(site):
    site.origin.scripts["/ws"] = SWITCHES
    start(site, app(site.origin))
    assert site.ask("/once").status == 200
    assert switch(site) == 101
    assert [seen.connection for seen in site.origin.requests] == [1, 1, 2]


def start_auto(site, closing, authority, on_page, **more):
    """An upstream with `auto` whose server speaks both: pages over HTTP/2, WebSockets over HTTP/1.1. What was agreed on."""
    context = authority.server_context(authority.issue("app.example.com"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    pages, sockets = http2_upstream(on_page), websocket_upstream(lambda sock: sock.sendall(sock.recv(100)))
    spoken = []

    def serve(sock):
        sock = context.wrap_socket(sock, server_side=True)
        spoken.append(sock.selected_alpn_protocol())
        (pages if spoken[-1] == "h2" else sockets)(sock)

    upstream = closing(Listening(free_port(), serve))
    start(site, app(upstream, protocol="auto", tls={"ca": str(authority.path), "server_name": "app.example.com"}, **more))
    return spoken


@pytest.mark.parametrize("first", ["page", "socket"])
def test_a_websocket_goes_over_http1_where_the_server_speaks_both(site, closing, authority, first):
    """`auto`: pages share a connection over HTTP/2, and a WebSocket gets one that offers HTTP/1.1 alone."""
    spoken = start_auto(site, closing, authority, lambda sock, stream, _: sock.sendall(answer(stream, b"page")))
    asked = [lambda: site.ask("/").status == 200, lambda: switch(site) == 101]
    for ask in asked if first == "page" else asked[::-1]:
        assert ask()
    assert switch(site) == 101 and site.ask("/").body == b"page"
    assert sorted(spoken) == ["h2", "http/1.1", "http/1.1"]


def test_a_websocket_at_the_limit_of_connections_holds_up_nobody(site, closing, authority):
    """No connection is to be had for it: it goes over the shared one, where an Upgrade is ignored."""
    streams, late = [], threading.Event()

    def page(sock, stream, _):  # alone writes to its connection: TLS in Python is no thing for two threads
        streams.append(stream)
        if len(streams) > 1:
            sock.sendall(answer(stream, b"page"))
        if late.is_set():
            sock.sendall(answer(streams[0], b"late"))

    spoken = start_auto(site, closing, authority, page, limits={"connections": 1, "pending": 10}, timeouts={"pending": "60s"})
    with site.wire() as first:
        first.send(request("/held", HOST))
        until(lambda: streams, "it is under way")
        assert switch(site) == 200 and site.ask("/").body == b"page"
        late.set()
        assert site.ask("/").body == b"page"
        assert first.response().body == b"late"
    assert spoken == ["h2"]


def test_calls_whose_answers_go_on_leave_room_for_others(site, h2, closing):
    """Their bodies are kept as long as an upstream may say that it did nothing with them; these came before the connections stood."""
    def begins(sock, stream, _):
        sock.sendall(frame(HEADERS, END_HEADERS, stream, HEADERS_200) + frame(DATA, 0, stream, b"begun"))

    def behind(gate):
        def serve(sock):
            gate.wait()
            http2_upstream(begins)(sock)

        return closing(Listening(free_port(), serve))

    gates = {f"u{n}": threading.Event() for n in range(4)}
    backends = {name: behind(gate) for name, gate in gates.items()}
    rules = [{"path": f"/{name}", "upstream": name} for name in backends]
    site.start(site.route({"path": "/ping", "respond": {"body": "pong"}}, *rules), workers=1,
               upstreams={name: {"endpoints": [backend.address], "protocol": "h2"} for name, backend in backends.items()})
    client = h2()
    for name, gate in gates.items():
        calls = [client.ask(f"/{name}", method="POST", end=False) for _ in range(5)]
        for call in calls:
            client.send(call, b"x" * 7900, end=True)
        assert client.get("/ping").status == 200  # they have come
        gate.set()
        client.until(lambda c=calls: all(client.streams[call].body for call in c), "their answers have begun")
        assert client.get("/ping").status == 200


@pytest.mark.parametrize("end", ["reset", "stall"])
def test_half_a_head_is_no_answer(site, origins, end):
    def half(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-")
        return call.gate("never") if end == "stall" else False

    bad, good = origins("bad"), origins("good")
    bad.scripts["/who"] = half
    start(site, app(bad, good, outlier={"consecutive_failures": 2, "eject_for": "60s"}),
          timeouts={"try": "300ms"}, retry={"attempts": 1, "on": ["reset", "timeout"]})
    assert [site.ask("/who").status for _ in range(6)] == [200] * 6
    assert len(bad.requests) == 2 and ejected(site) == 1


def test_a_try_that_ends_before_a_connection_stands_goes_elsewhere(site, origins, authority, blackhole):
    """TLS that does not come about, for as long as a try may take: another endpoint, and it is to blame."""
    good = origins("good", tls=authority.server_context(authority.issue("app.example.com")))
    start(site, app(blackhole, good, balance="source_hash", tls={"ca": str(authority.path), "server_name": "app.example.com"},
                    outlier={"consecutive_failures": 3, "eject_for": "60s"}),
          timeouts={"try": "300ms"}, retry={"attempts": 1, "on": ["connect", "timeout"]})
    number, tried = 0, 0
    while tried < 3:  # clients whose endpoint is the silent one
        number += 1
        before = site.edge.metrics().total("edgemux_upstream_retries_total")
        with from_source(site, number) as wire:
            assert wire.ask("/who", HOST).status == 200
        tried += site.edge.metrics().total("edgemux_upstream_retries_total") > before
    assert ejected(site) == 1


def test_a_retry_shares_the_connection(site, h2, closing):
    """Over HTTP/2: an upstream that is short of breath gets no handshake on top."""
    statuses = []

    def on_request(sock, stream, _):
        statuses.append(503 if len(statuses) % 2 == 0 else 200)
        block = b"\x08\x03503" if statuses[-1] == 503 else HEADERS_200
        sock.sendall(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))

    upstream = closing(Listening(free_port(), http2_upstream(on_request)))
    start(site, app(upstream, protocol="h2"), retry={"attempts": 1, "on": [503]})
    assert [site.ask("/").status for _ in range(5)] == [200] * 5
    assert len(statuses) == 10 and upstream.accepted == 1


@pytest.mark.parametrize("bad", ["silent", "resets"])
def test_a_retry_at_another_endpoint_shares_its_connection(site, closing, bad):
    """Also where no status says so: a try's time is over, or its stream was reset."""
    def on_request(sock, stream, _):
        if bad == "resets":
            sock.sendall(frame(RST_STREAM, 0, stream, (2).to_bytes(4, "big")))

    broken = closing(Listening(free_port(), http2_upstream(on_request)))
    good = closing(Listening(free_port(), http2_upstream(lambda sock, stream, _: sock.sendall(answer(stream, b"here")))))
    start(site, app(broken, good, protocol="h2"), timeouts={"try": "100ms"}, retry={"attempts": 1, "on": ["reset", "timeout"]})
    assert [site.ask("/").status for _ in range(10)] == [200] * 10
    assert good.accepted <= 2, "a try that found its connection still in the making may have made another"


@pytest.mark.parametrize("protocol", ["auto", "http1"])
def test_a_retry_goes_elsewhere_also_when_it_moves_on(site, h2, origins, authority, protocol):
    """`auto`, and the endpoint speaks HTTP/1.1: who waited for the connection gets one of its own, and not to where it failed."""
    context = authority.server_context(authority.issue("app.example.com"))
    bad, good = (origins(name, tls=context) for name in ("bad", "good"))
    bad.scripts["/who"] = lambda call: call.answer(503) or True
    site.start(site.route({"path": "/", "upstream": "app", "retry": {"attempts": 1, "on": [503]}}), workers=1, upstreams=app(
        bad, good, protocol=protocol, tls={"ca": str(authority.path), "server_name": "app.example.com"}))
    client = h2()
    assert [one.status for one in client.wait(*[client.ask("/who") for _ in range(8)])] == [200] * 8


# ---- clients stay where they are


def test_source_hash_holds_when_a_kept_connection_was_closed(site, origins):
    backends = [origins(name) for name in ("one", "two", "three", "four")]
    start(site, app(*backends, balance="source_hash"))
    with site.wire() as wire:
        assert {wire.ask("/once", HOST).status for _ in range(6)} == {200}
    assert Counter(len(b.requests) > 0 for b in backends)[True] == 1
    assert sum(b.connections for b in backends) == 6


def test_source_hash_holds_for_those_who_waited_for_a_shared_connection(site, h2, origins, authority):
    """`auto`, and the endpoint speaks HTTP/1.1: each gets a connection of its own, to the same endpoint."""
    context = authority.server_context(authority.issue("app.example.com"))
    backends = [origins(name, tls=context) for name in ("one", "two", "three", "four", "five", "six")]
    site.start(site.route({"path": "/", "upstream": "app"}), workers=1, upstreams=app(
        *backends, balance="source_hash", protocol="auto", tls={"ca": str(authority.path), "server_name": "app.example.com"}))
    client = h2()
    answers = client.wait(*[client.ask("/who") for _ in range(6)])
    assert len({bytes(one.body) for one in answers}) == 1
    assert max(b.connections for b in backends) == 6


# ---- connections over HTTP/2 that are dead, or nearly


def test_a_silent_shared_connection_gets_no_more_requests(site, closing):
    """As if a router on the way had lost it: a request in vain, then another connection."""
    def on_request(sock, stream, _):
        if upstream.accepted > 1 or stream == 1:
            sock.sendall(answer(stream, b"here"))

    upstream = closing(Listening(free_port(), http2_upstream(on_request)))
    start(site, app(upstream, protocol="h2"), timeouts={"response": "500ms"})
    assert [site.ask("/").status for _ in range(4)] == [200, 504, 200, 200]
    assert upstream.accepted == 2


def test_a_slow_upstream_keeps_its_connection(site, closing):
    """It answers nothing in time, and yet gives a sign of life."""
    pings = []

    def serve(sock):
        take(sock, 24)
        sock.sendall(frame(SETTINGS, 0, 0))
        while True:
            head = take(sock, 9)
            payload = take(sock, int.from_bytes(head[:3], "big"))
            if head[3] == PING:
                pings.append(payload)
                sock.sendall(frame(PING, ACK, 0, payload))

    upstream = closing(Listening(free_port(), serve))
    start(site, app(upstream, protocol="h2"), timeouts={"try": "200ms"})
    for number in range(4):  # its SETTINGS came after the first
        assert site.ask("/").status == 504
        until(lambda n=number: len(pings) >= n, "it was asked for a sign of life")
    assert upstream.accepted <= 2  # the answer to a PING may be on its way yet


def test_a_connection_that_falls_silent_in_an_answer_gets_no_more_requests(site, closing):
    def on_request(sock, stream, _):
        whole = upstream.accepted > 1
        sock.sendall(answer(stream, b"here") if whole else frame(HEADERS, END_HEADERS, stream, HEADERS_200))

    upstream = closing(Listening(free_port(), http2_upstream(on_request)))
    start(site, app(upstream, protocol="h2"), timeouts={"response": "500ms"})
    with site.wire() as wire:
        wire.send(request("/", HOST))
        assert wire.rest_or_reset().startswith(b"HTTP/1.1 200")
    assert [site.ask("/").status for _ in range(2)] == [200, 200]


def test_a_slow_answer_beside_others_leaves_the_connection(site, h2, closing):
    """Somebody was answered meanwhile: it is the request that is slow."""
    def on_request(sock, stream, block):
        if block[0] != POST:
            sock.sendall(answer(stream, b"here"))

    upstream = closing(Listening(free_port(), http2_upstream(on_request)))
    start(site, app(upstream, protocol="h2"), timeouts={"response": "1s"})
    client = h2()
    slow = client.ask("/", method="POST")
    with Load(site, connections=1) as load:
        assert client.wait(slow).status == 504
        load.more(2)
    assert load.bad == [] and upstream.accepted == 1


def test_a_body_that_is_not_taken_has_its_time_also_beside_others(site, closing):
    """The window of one stream stays closed; the connection is as busy as ever."""
    def on_request(sock, stream, block):
        if block[0] != POST:
            sock.sendall(answer(stream, b"here"))

    upstream = closing(Listening(free_port(), http2_upstream(
        on_request, frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))))
    start(site, app(upstream, protocol="h2"), timeouts={"response": "1s"})
    with Load(site, connections=1) as load, site.wire() as wire:
        wire.send(request("/", HOST, "POST", body=b"x" * 120_000))
        assert wire.response().status == 504
        load.more(2)
    assert load.bad == [] and upstream.accepted == 1


# ---- who is to blame


def test_a_shared_connection_that_breaks_before_any_answer_is_a_failure(site, h2, closing):
    """However many requests were on it."""
    taken = Counter()

    def on_request(sock, stream, _):
        taken[sock] += 1
        if taken[sock] == 2:
            raise EOFError

    upstream = closing(Listening(free_port(), http2_upstream(on_request)))
    site.start(site.route({"path": "/", "upstream": "app"}), workers=1, upstreams=app(
        upstream, protocol="h2", outlier={"consecutive_failures": 3, "eject_for": "60s", "max_ejected": "100%"}))
    client = h2()
    for _ in range(3):
        assert {one.status for one in client.wait(*[client.ask("/", method="POST") for _ in range(2)])} <= {502, 503}
    assert ejected(site) == 1


def test_a_websocket_is_an_answer(site):
    site.origin.scripts["/ws"] = SWITCHES
    start(site, app(site.origin, outlier={"consecutive_failures": 2, "eject_for": "60s", "max_ejected": "100%"}))
    for _ in range(3):
        assert site.ask("/nothing", method="POST", body=b"").status == 502
        assert switch(site) == 101
    assert ejected(site) == 0


def test_an_answer_that_breaks_off_ejects_nobody(site):
    start(site, app(site.origin, outlier={"consecutive_failures": 1, "eject_for": "60s", "max_ejected": "100%"}))
    for _ in range(3):
        with site.wire() as wire:
            wire.send(request("/short/100", HOST))
            assert re.match(rb"HTTP/1.1 200 .*\r\n\r\n.{50}$", wire.rest_or_reset(), re.DOTALL)
    assert ejected(site) == 0
