"""HTTP/2 to upstreams, and what goes on between both sides over HTTP/2: WebSocket, and bytes that must not wait."""

import hashlib
import json
import time

import pytest
from h2.settings import SettingCodes
from hpack import NeverIndexedHeaderTuple
from support.http2 import H2Origin
from support.origin import pattern
from support.ports import free_port
from support.site import HOST
from support.waiting import until
from support.wire import request


# ---- upstreams that speak HTTP/2


@pytest.fixture
def h2_origin(closing):
    return closing(H2Origin(free_port()))


def to_h2(origin, **more):
    return {"path": "/", "upstream": {"endpoints": [origin.address], "protocol": "h2", **more}}


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["h1", "h2"])
def test_to_an_http2_upstream(site, h2, h2_origin, transport):
    site.start(site.route(to_h2(h2_origin)))
    if transport == "h2":
        client = h2()
        seen = json.loads(client.post("/echo?q=1", b"hello" * 1000, headers=[("x-a", "b")]).body)
        big = bytes(client.get(f"/bytes/{2 << 20}").body)
        assert client.get("/bytes/100", method="HEAD").get("content-length") == "100"
        assert client.get("/status/404").status == 404
        trailers = client.get("/trailers")
        assert bytes(trailers.body) == b"body\n" and trailers.trailer("x-trailer") == "yes"
        hints = client.get("/hints")
        assert dict(hints.interim[0])["link"] == "</a.css>" and hints.status == 200
        early = client.ask("/early", method="POST", end=False)
        client.send(early, b"x" * 200_000)
        assert client.wait(early).status == 413
    else:
        with site.wire("https") as wire:
            seen = json.loads(wire.ask("/echo?q=1", HOST, method="POST", headers=[("x-a", "b")], body=b"hello" * 1000).body)
            big = wire.ask(f"/bytes/{2 << 20}", HOST).body
            assert wire.ask("/trailers", HOST).body == b"body\n"
            assert wire.ask("/status/404", HOST).status == 404
            assert wire.ask("/hints", HOST).interim[0][0] == 103
    head = dict(seen["headers"])
    assert (head[":method"], head[":path"], head[":authority"]) == ("POST", "/echo?q=1", HOST) and head["x-a"] == "b"
    assert seen["length"] == 5000 and seen["sha256"] == hashlib.sha256(b"hello" * 1000).hexdigest()
    assert not {"connection", "host", "transfer-encoding"} & set(head)
    assert big == pattern(2 << 20)


LATE = [("GET", 204), ("GET", 304), ("HEAD", 200)]


@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["/end", "/cut"])
def test_an_answer_without_a_body_that_ends_after_its_head(site, h2, h2_origin, how):
    """Over HTTP/2 such an answer may end with an empty DATA: the stream is the client's until then, and whole if no end comes."""
    site.start(site.route(to_h2(h2_origin)), workers=1)
    client = h2()
    for method, status in LATE * 25:
        late = client.ask(f"/late/{status}", method=method)
        client.until(lambda: client.streams[late].status is not None, "its head")
        assert client.streams[late].status == status and not client.streams[late].ended
        assert client.get(how).status == 200, "another stream"
        answer = client.wait(late)
        assert answer.reset is None and bytes(answer.body) == b""
    for status in (204, 304, 200):
        lines = site.edge.wait_access(25, path=f"/late/{status}")
        assert len(lines) == 25 and {(line["status"], line["reason"]) for line in lines} == {(status, "done")}
    assert client.goaway is None


@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["/end", "/cut"])
def test_an_answer_without_a_body_is_whole_over_http1(site, h2_origin, how):
    site.start(site.route(to_h2(h2_origin)), workers=1)
    with site.wire("https") as wire, site.wire("https") as other:
        for method, status in LATE:
            wire.send(request(f"/late/{status}", HOST, method=method))
            assert wire.response(method=method).status == status
            assert other.ask(how, HOST).status == 200
            assert wire.ask("/echo", HOST).status == 200, "the connection goes on"
    assert {line["reason"] for line in site.edge.wait_access(9)} == {"done"}


@pytest.mark.sanitizer
def test_answers_that_break_off_are_no_flood_of_the_clients(site, h2):
    """An upstream that restarts breaks off whatever is on its way; the others of the client's connection go on."""
    site.origin.scripts["/breaks"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
    site.start(site.route({"path": "/", "upstream": site.origin.address}), workers=1)
    client = h2()
    for _ in range(15):
        for answer in client.wait(*[client.ask("/breaks") for _ in range(20)]):
            assert answer.status == 200 and answer.reset is not None
    assert client.get("/echo").status == 200 and client.goaway is None
    assert {line["reason"] for line in site.edge.wait_access(300, path="/breaks")} == {"upstream_closed"}


@pytest.mark.sanitizer
def test_what_is_never_to_be_indexed_stays_so(site, h2, h2_origin):
    """RFC 7541 6.2.3: in requests and answers, heads and trailers."""

    def secrets(fields):
        return sorted(field[0] for field in fields if isinstance(field, NeverIndexedHeaderTuple))

    site.start(site.route(to_h2(h2_origin)), workers=1)
    client, secret = h2(), NeverIndexedHeaderTuple("x-secret", "s")
    stream = client.ask("/secret", "POST", headers=[("te", "trailers"), ("x-open", "o"), secret], end=False)
    client.h2.send_headers(stream, [("x-open", "o"), secret], end_stream=True)
    client.flush()
    answer = client.wait(stream)
    assert answer.status == 200 and secrets(h2_origin.requests[-1]) == ["x-secret"]
    assert [secrets(fields) for fields in h2_origin.trailers] == [["x-secret"]]
    assert secrets(answer.headers) == secrets(answer.trailers) == ["x-secret"]
    client.get(NeverIndexedHeaderTuple(":path", "/echo?secret"))
    assert ":path" in secrets(h2_origin.requests[-1])
    client.get("/refuse", headers=[secret])
    assert [dict(fields)[":path"] for fields in h2_origin.requests[-2:]] == ["/refuse", "/refuse"], "another try"
    assert secrets(h2_origin.requests[-1]) == ["x-secret"]


@pytest.mark.sanitizer
def test_streams_share_the_upstreams_connection(site, h2, h2_origin):
    site.start(site.route(to_h2(h2_origin)), workers=1)
    clients = [h2() for _ in range(4)]
    asked = [(client, [client.ask("/bytes/20000") for _ in range(20)]) for client in clients]
    for client, streams in asked:
        for answer in client.wait(*streams):
            assert bytes(answer.body) == pattern(20_000)
    assert h2_origin.connections == 1
    assert len(h2_origin.requests) == 80


def test_an_answer_that_does_not_come_is_not_hidden_by_others(site, h2, h2_origin):
    site.start(site.route(to_h2(h2_origin)), workers=1, timeouts={"response": "500ms"})
    client = h2()
    silent = client.ask("/hang")
    others = 0
    while not client.streams[silent].ended:
        assert client.get("/bytes/10").status == 200
        others += 1
        assert others < 100_000
    assert client.streams[silent].status == 504
    assert h2_origin.connections == 1 and others > 1


def test_the_upstreams_limit_of_streams_holds(site, h2, closing):
    narrow = closing(H2Origin(free_port(), streams=3))
    site.start(site.route(to_h2(narrow)), workers=1)
    client = h2()
    client.get("/bytes/1")
    streams = [client.ask("/bytes/50000") for _ in range(30)]
    for answer in client.wait(*streams):
        assert bytes(answer.body) == pattern(50_000)
    assert narrow.most <= 3


def test_what_the_upstream_did_not_touch_is_sent_again(site, h2, h2_origin):
    site.start(site.route(to_h2(h2_origin)), workers=1)
    client = h2()
    assert client.get("/bytes/1").status == 200
    refused = client.get("/refuse", method="POST")
    assert refused.status == 200 and h2_origin.refused
    assert [dict(r)[":path"] for r in h2_origin.requests].count("/refuse") == 2
    failed = client.get("/reset")
    assert failed.status == 502
    assert [dict(r)[":path"] for r in h2_origin.requests].count("/reset") == 1
    h2_origin.goaway_after = 1
    for _ in range(5):
        assert client.get("/bytes/10").status == 200
    assert h2_origin.connections > 1


@pytest.mark.parametrize("bound, began", [({"max_requests": 2}, "one by one"), ({"max_requests": 2}, "at once"), ({"max_age": "300ms"}, "one by one")])
def test_long_streams_do_not_keep_a_shared_connection_in_use(site, h2, h2_origin, bound, began):
    """`keepalive` bounds it while streams are under way, too."""
    site.start(site.route(to_h2(h2_origin, keepalive=bound)), workers=1)
    client, start = h2(), time.monotonic()
    for count in range(1, 6):
        client.ask("/hang")
        if began == "one by one":
            until(lambda: len(h2_origin.requests) == count, "it has come")
        if "max_age" in bound and count == 3:
            until(lambda: time.monotonic() > start + 0.4, "the connection is old")
    until(lambda: len(h2_origin.requests) == 5, "all have come")
    assert h2_origin.connections == (2 if "max_age" in bound else 3)


@pytest.mark.sanitizer
@pytest.mark.parametrize("pending", [0, 10])
def test_at_the_limit_a_shared_connection_serves_for_longer_than_it_should(site, h2, h2_origin, pending):
    """There is no place for the next one: else nobody would be served for as long as one of its streams lasts."""
    site.start(site.route(to_h2(h2_origin, keepalive={"max_requests": 2}, limits={"connections": 1, "pending": pending})), workers=1)
    client = h2()
    held = client.ask("/hang")
    until(lambda: h2_origin.requests, "it is under way")
    assert [client.get("/bytes/10").status for _ in range(5)] == [200] * 5
    assert h2_origin.connections == 1
    client.h2.reset_stream(held)
    client.flush()
    until(lambda: h2_origin.resets, "nothing keeps it any more")
    assert client.get("/bytes/10").status == 200
    assert h2_origin.connections == 2


def test_a_reset_travels_to_the_upstream(site, h2, h2_origin):
    site.start(site.route(to_h2(h2_origin)))
    client = h2()
    stream = client.ask("/hang")
    until(lambda: h2_origin.requests, "the request arrived")
    client.h2.reset_stream(stream)
    client.flush()
    until(lambda: h2_origin.resets, "the upstream is told")
    assert h2_origin.resets[0][1] == 8


def test_a_slow_reader_stops_an_http2_upstream(site, h2, h2_origin):
    size = 2 << 20  # twenty of them are far more than may be held
    site.start(site.route(to_h2(h2_origin)))
    client = h2(manual=True)
    before = site.edge.pss()
    streams = [client.ask(f"/bytes/{size}") for _ in range(20)]
    client.until(lambda: client.h2.inbound_flow_control_window < 100, "the connection's window is used up")
    good = h2()
    assert bytes(good.get("/bytes/300000").body) == pattern(300_000)
    assert site.edge.pss() - before < 16 * 1024
    client.manual = False
    for stream in streams:
        client.h2.increment_flow_control_window(16 << 20, stream)
    client.h2.increment_flow_control_window(500 << 20)
    client.flush()
    client.wait(streams[0], streams[-1])
    assert bytes(client.streams[streams[-1]].body) == pattern(size)


@pytest.mark.sanitizer
def test_many_slow_readers_leave_an_http2_upstream_to_the_others(site, h2_origin):
    """Each holds what its own stream lets come; the connection's window is for all of them, and for others."""
    size, many = 5 << 20, 80
    site.start(site.route(to_h2(h2_origin)), workers=1)
    slow = [site.wire(rcvbuf=4096) for _ in range(many)]
    for wire in slow:
        wire.send(request(f"/bytes/{size}", HOST))
    until(lambda: len(h2_origin.requests) == many, "all have asked")
    for _ in range(3):
        assert site.ask(f"/bytes/{3 << 20}").body == pattern(3 << 20)
    assert h2_origin.connections == 1
    for wire in slow:
        wire.close()


# ---- WebSocket over a stream (RFC 8441), and bytes that must not wait


@pytest.mark.sanitizer
def test_websocket_over_http2(site, h2, websocket_echo):
    site.start(site.route({"path": "/", "upstream": f"127.0.0.1:{websocket_echo.port}"}))
    client = h2()
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    stream = client.ask("/chat", method="CONNECT", pseudo=[(":protocol", "websocket")], end=False,
                        headers=[("sec-websocket-version", "13"), ("origin", f"https://{HOST}")])
    answer = client.streams[stream]
    client.until(lambda: answer.headers, "an answer")
    assert answer.status == 200 and answer.get("sec-websocket-accept") is None
    for size in (5, 300, 70_000):
        text = bytes(i % 251 for i in range(size))
        client.send(stream, websocket_frame(text))
        expected = websocket_frame(text, masked=False)
        client.until(lambda: len(answer.body) >= len(expected), f"the echo of {size} bytes")
        assert bytes(answer.body) == expected
        answer.body.clear()
    client.send(stream, websocket_frame(b"\x03\xe8", opcode=8), end=True)
    client.wait(stream)
    assert answer.ended and websocket_echo.paths == ["/chat"]
    site.edge.wait_access(kind="connection", protocol="upgrade", reason="done")
    dropped = client.ask("/chat", method="CONNECT", pseudo=[(":protocol", "websocket")], end=False,
                         headers=[("sec-websocket-version", "13")])
    client.until(lambda: client.streams[dropped].headers, "an answer")
    client.h2.reset_stream(dropped)
    client.flush()
    site.edge.wait_access(kind="connection", protocol="upgrade", reason="client_reset")
    assert site.edge.metrics().total("edgemux_tunnels_active") == 0


@pytest.mark.sanitizer
def test_who_opens_no_websocket_does_not_seem_to(site, h2):
    """Over HTTP/2 any 2xx would say that the tunnel stands."""
    site.start(site.route({"path": "/", "upstream": site.origin.address}, {"path": "/here", "respond": {"status": 200, "body": "page"}}))
    client = h2()
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    for path, status in (("/bytes/5", 502), ("/here", 400), ("/status/403", 403)):
        stream = client.ask(path, method="CONNECT", pseudo=[(":protocol", "websocket")], end=False, headers=[("sec-websocket-version", "13")])
        client.until(lambda: client.streams[stream].headers, "an answer")
        assert client.streams[stream].status == status


@pytest.mark.sanitizer
def test_a_websocket_has_no_deadline_of_a_request_body(site, h2, websocket_echo):
    """The ten seconds that a body gets to come end with the upgrade: nobody waits for one any more."""
    site.start(site.route({"path": "/", "upstream": f"127.0.0.1:{websocket_echo.port}"}), workers=1)
    client = h2()
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    stream = client.ask("/chat", method="CONNECT", pseudo=[(":protocol", "websocket")], end=False,
                        headers=[("sec-websocket-version", "13")])
    client.until(lambda: client.streams[stream].headers, "an answer")
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 11, "they have passed", within=30)
    client.send(stream, websocket_frame(b"still there?"))
    client.until(lambda: client.streams[stream].body.endswith(b"still there?"), "the echo")
    assert site.edge.metrics().total("edgemux_tunnels_active") == 1


@pytest.mark.sanitizer
@pytest.mark.parametrize("way", ["closed", "reset"])
def test_websockets_end_with_their_connection(site, h2, tap, way):
    """None outlives the client: nothing else would end it before timeouts.tunnel_idle."""
    site.start(site.route({"path": "/", "upstream": tap.address}))
    client = h2()
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    backends = []
    for _ in range(3):
        stream = client.ask("/chat", method="CONNECT", pseudo=[(":protocol", "websocket")], end=False,
                            headers=[("sec-websocket-version", "13")])
        backend = tap.accept()
        backend.take_through(b"\r\n\r\n")
        backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        client.until(lambda: client.streams[stream].headers, "an answer")
        backends.append(backend)
    (client.close if way == "closed" else client.wire.reset)()
    for backend in backends:
        assert backend.rest_or_reset() == b""
        backend.close()
    until(lambda: site.edge.metrics().total("edgemux_tunnels_active") == 0, "no tunnel is left")
    until(lambda: site.edge.metrics().total("edgemux_connections_active", listener="https") == 0, "nor the connection")


@pytest.mark.sanitizer
def test_requests_that_are_not_whole_end_with_their_connection(site, h2, tap):
    site.start(site.route({"path": "/", "upstream": tap.address}))
    client = h2()
    client.ask("/upload", method="POST", end=False)
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    client.close()
    assert backend.rest_or_reset() == b""
    until(lambda: site.edge.metrics().total("edgemux_connections_active", listener="https") == 0, "nobody is left")


def websocket_frame(data, opcode=2, masked=True):
    size = len(data)
    head = bytes([0x80 | opcode])
    mask = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask | size])
    elif size < 65536:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + data


def test_server_sent_events_are_not_held_back(site, h2):
    first, second = b"data: 1\n\n", b"data: 2\n\n"

    def events(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        call.send(b"9\r\n" + first + b"\r\n")
        call.gate("next")
        call.send(b"9\r\n" + second + b"\r\n0\r\n\r\n")

    site.origin.scripts["/events"] = events
    site.start()
    client = h2()
    stream = client.ask("/events")
    client.until(lambda: bytes(client.streams[stream].body) == first, "the first event alone")
    site.origin.gate("next").set()
    assert bytes(client.wait(stream).body) == first + second
