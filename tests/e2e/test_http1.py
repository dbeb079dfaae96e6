"""HTTP/1.1 through the proxy, over plain and terminated connections: framing, keep-alive, upgrades, headers."""

import asyncio
import concurrent.futures
import hashlib
import json
import re
import signal
import time

import pytest
import websockets
from support.origin import pattern
from support.site import HOST
from support.waiting import until
from support.wire import request

TRANSPORTS = pytest.mark.parametrize("transport", ["http", "https"])


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


@pytest.mark.sanitizer
@TRANSPORTS
def test_keep_alive_on_both_sides(site, transport):
    site.start(workers=1)
    for _ in range(2):  # the second client finds the first one's upstream connection in the pool
        with site.wire(transport) as wire:
            for number in range(5):
                assert json.loads(wire.ask(f"/echo?{number}", HOST).body)["target"] == f"/echo?{number}"
    assert {seen.connection for seen in site.origin.requests} == {1}
    assert site.origin.connections == 1


@pytest.mark.sanitizer
@TRANSPORTS
def test_pipelined_requests_are_answered_in_order(site, transport):
    site.start()
    with site.wire(transport) as wire:
        parts = []
        for number in range(8):
            if number % 3 == 2:
                parts.append(request(f"/echo?{number}", HOST, "POST", body=b"x" * (number * 1000)))
            elif number % 3 == 1:
                parts.append(request(f"/echo?{number}", HOST, "POST", [("Transfer-Encoding", "chunked")])
                             + chunked(b"y" * 10, b"z" * 5000))
            else:
                parts.append(request(f"/echo?{number}", HOST))
        wire.send(b"".join(parts))
        for number in range(8):
            seen = json.loads(wire.response().body)
            assert seen["target"] == f"/echo?{number}"
            assert seen["length"] == {0: 0, 1: 5010, 2: number * 1000}[number % 3]


@TRANSPORTS
def test_pipelined_after_connection_close_is_not_answered(site, transport):
    site.start()
    with site.wire(transport) as wire:
        wire.send(request("/echo?1", HOST, headers=[("Connection", "close")]) + request("/echo?2", HOST))
        answer = wire.response()
        assert answer.status == 200 and answer.get("connection") == "close"
        assert wire.rest_or_reset() == b""
    assert [seen.target for seen in site.origin.requests] == ["/echo?1"]


@pytest.mark.sanitizer
@TRANSPORTS
@pytest.mark.parametrize("size", [0, 1, 16_384, 5_000_000])
def test_bodies_up(site, transport, size):
    body = pattern(size)
    site.start()
    with site.wire(transport) as wire:
        wire.send(request("/upload", HOST, "POST", [("Content-Length", size)]) + body)
        fixed = json.loads(wire.response().body)
        pieces = [body[i : i + 70_000] for i in range(0, size, 70_000)]
        wire.send(request("/upload", HOST, "POST", [("Transfer-Encoding", "chunked")]) + chunked(*pieces))
        in_chunks = json.loads(wire.response().body)
    expected = {"sha256": hashlib.sha256(body).hexdigest(), "length": size}
    assert fixed == expected and in_chunks == expected


@pytest.mark.sanitizer
@TRANSPORTS
@pytest.mark.parametrize("how", ["bytes", "chunked"])
def test_bodies_down(site, transport, how):
    site.start()
    with site.wire(transport) as wire:
        for size in (0, 1, 16_384, 5_000_000):
            assert wire.ask(f"/{how}/{size}", HOST).body == pattern(size)


@pytest.mark.sanitizer
def test_a_body_that_ends_with_the_connection(site):
    site.origin.scripts["/until-close"] = b"HTTP/1.1 200 OK\r\n\r\n" + pattern(100_000)
    site.start()
    with site.wire() as wire:
        assert wire.ask("/until-close", HOST).body == pattern(100_000)


def test_a_chunked_body_byte_by_byte_is_the_same_body(site):
    site.start()
    with site.wire() as wire:
        for byte in request("/upload", HOST, "POST", [("Transfer-Encoding", "chunked")]) + chunked(b"abc", b"de" * 20):
            wire.send(bytes([byte]))
        assert json.loads(wire.response().body)["length"] == 43


@pytest.mark.sanitizer
def test_head_has_no_body_and_the_connection_goes_on(site):
    site.start()
    with site.wire() as wire:
        for target in ("/bytes/1000", "/chunked/1000", "/echo", "/status/404"):
            answer = wire.ask(target, HOST, method="HEAD")
            assert answer.status in (200, 404)
            if target == "/bytes/1000":
                assert answer.get("content-length") == "1000"
        assert wire.ask("/status/204", HOST).status == 204
        assert wire.ask("/status/304", HOST).get("etag") == '"e"'
        assert wire.ask("/bytes/5", HOST).body == pattern(5)


def test_a_304_with_content_length_has_no_body(site):
    def unchanged(call):
        call.read_body()
        call.send(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n")
        return True

    site.origin.scripts["/unchanged"] = unchanged
    site.start()
    with site.wire() as wire:
        assert wire.ask("/unchanged", HOST).status == 304
        assert wire.ask("/bytes/5", HOST).body == pattern(5)


@pytest.mark.sanitizer
@TRANSPORTS
def test_interim_answers_are_passed_on(site, transport):
    site.start()
    with site.wire(transport) as wire:
        answer = wire.ask("/hints", HOST)
        assert [status for status, _ in answer.interim] == [103]
        assert dict(answer.interim[0][1])["link"] == "</a.css>; rel=preload"
        assert answer.body == b"after hints\n"
        assert wire.ask("/bytes/5", HOST).body == pattern(5)


def test_http_1_0_clients_get_no_interim_answer(site):
    site.start()
    with site.wire() as wire:
        answer = wire.ask("/hints", HOST, version="HTTP/1.0")
        assert answer.status == 200 and answer.interim == []


@pytest.mark.sanitizer
@TRANSPORTS
def test_expect_100_continue(site, transport):
    site.start()
    with site.wire(transport) as wire:
        for body in (b"x" * 10, b"y" * 300_000):
            wire.send(request("/upload", HOST, "POST", [("Expect", "100-continue"), ("Content-Length", len(body))]))
            assert wire.take_through(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            wire.send(body)
            assert json.loads(wire.response().body)["sha256"] == hashlib.sha256(body).hexdigest()


def test_expect_100_continue_that_is_answered_with_no(site):
    site.start()
    with site.wire() as wire:
        wire.send(request("/early", HOST, "POST", [("Expect", "100-continue"), ("Content-Length", 50)]))
        answer = wire.response()
        assert answer.status == 403 and answer.body == b"no need to send that\n"


@pytest.mark.sanitizer
def test_http_1_0_clients(site):
    site.start()
    for target in ("/bytes/50000", "/chunked/50000"):
        with site.wire() as wire:
            wire.send(request(target, HOST, version="HTTP/1.0"))
            answer = wire.response()
            assert answer.get("transfer-encoding") is None
            assert answer.body == pattern(50_000)
            assert wire.take_rest() == b""  # not asked to stay open
    with site.wire() as wire:
        answer = wire.ask("/bytes/10", HOST, version="HTTP/1.0", headers=[("Connection", "keep-alive")])
        assert answer.body == pattern(10)
    assert all(seen.version == "HTTP/1.1" for seen in site.origin.requests)


@pytest.mark.sanitizer
@TRANSPORTS
def test_websocket_echo(site, websocket_echo, transport):
    site.start(site.route({"path": "/", "upstream": site.origin.address},
                          {"path": "/chat", "upstream": websocket_echo.address}))
    port, scheme = (site.edge.http, "ws") if transport == "http" else (site.edge.https, "wss")

    async def talk():
        extra = {"ssl": site.authority.client_context(), "server_hostname": HOST} if scheme == "wss" else {}
        async with websockets.connect(f"{scheme}://{HOST}/chat?room=1", host="127.0.0.1", port=port, max_size=None,
                                      compression=None, **extra) as socket:
            for size in (0, 5, 70_000, 3_000_000):
                await socket.send(pattern(size))
                assert await socket.recv() == pattern(size)
            await socket.send("done")
            assert await socket.recv() == "done"

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert websocket_echo.paths == ["/chat?room=1"]
    site.edge.wait_access(status=101, path="/chat?room=1")


def test_an_upgrade_that_is_declined_leaves_http(site):
    """What follows the request is the next request, never the stream of a protocol that nobody agreed on."""
    site.start()
    with site.wire() as wire:
        wire.send(request("/echo?1", HOST, headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")])
                  + request("/echo?2", HOST))
        assert json.loads(wire.response().body)["target"] == "/echo?1"
        assert json.loads(wire.response().body)["target"] == "/echo?2"


@pytest.mark.sanitizer
def test_bytes_behind_an_upgrade_wait_for_the_101(site, tap):
    site.start(site.route({"path": "/", "upstream": tap.address}))
    with site.wire() as wire:
        wire.send(request("/ws", HOST, headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")]) + b"early bytes")
        backend = tap.accept()
        head = backend.take_through(b"\r\n\r\n").lower()
        assert b"upgrade: websocket" in head
        assert backend.is_quiet(0.2) and backend.buffer == b""
        backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfrom behind")
        assert backend.take(11) == b"early bytes"
        assert wire.response().status == 101
        assert wire.take(11) == b"from behind"
        wire.finish()  # half-close travels here as well
        assert backend.take_rest() == b""
        backend.send(b"last words")
        backend.close()
        assert wire.take_rest() == b"last words"


def test_the_answer_to_an_upgrade_has_the_fields_of_the_rule(site, tap):
    site.start(site.route({"path": "/", "upstream": tap.address, "response_headers": {"set": {"x-a": "1"}, "remove": ["server"]}}))
    with site.wire() as wire:
        wire.send(request("/ws", HOST, headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")]))
        backend = tap.accept()
        backend.take_through(b"\r\n\r\n")
        backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nServer: secret/1\r\n\r\nhello")
        answer = wire.response()
        assert (answer.status, answer.get("x-a"), answer.get("server"), answer.get("upgrade")) == (101, "1", None, "websocket")
        assert wire.take(5) == b"hello"


def test_h2c_is_not_offered_to_the_origin(site):
    site.start()
    seen = site.echo(headers=[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"),
                              ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")])
    assert seen.get("upgrade") is None and seen.get("http2-settings") is None


@pytest.mark.sanitizer
@TRANSPORTS
def test_an_early_answer_reaches_a_client_that_is_still_sending(site, transport):
    site.start()
    with site.wire(transport) as wire:
        wire.send(request("/early", HOST, "POST", [("Content-Length", 50_000_000)]) + bytes(10_000))
        answer = wire.response()
        assert answer.status == 403 and answer.body == b"no need to send that\n"
        wire.rest_or_reset()  # it is closed: the rest of that body must never be taken for a request
    assert site.ask("/bytes/3").status == 200


@pytest.fixture
def own(site):
    """Every kind of answer of edgemux's own."""
    return site.start(
        site.route({"path": "/beacon", "respond": {"status": 204}}, {"path": "/moved", "redirect": {"path": "/x"}},
                   {"path": "/to", "upstream": site.origin.address}),
        site.route(host="small.example.com", max_request_body=40),
        {"host": "none.example.com", "deny": ["0.0.0.0/0"], "on_http": "serve", "rules": [{"path": "/", "respond": {}}]})


OWN_ANSWERS = (("/beacon", HOST, 204), ("/moved", HOST, 302), ("/none", HOST, 404), ("/x", "none.example.com", 403),
               ("/x", "unknown.example.org", 404), ("/x", "small.example.com", 413), ("/%00", HOST, 400))


@pytest.mark.sanitizer
@TRANSPORTS
def test_an_answer_of_our_own_to_a_request_with_a_body_keeps_the_connection(own, transport):
    """The body is dropped by its length, whatever it looks like, and what is behind it is the next request."""
    body = b"GET /moved HTTP/1.1\r\nHost: own.example.com\r\n\r\n"
    with own.wire(transport) as wire:
        for target, host, status in OWN_ANSWERS:
            if transport == "https" and host not in (HOST, "unknown.example.org"):
                continue  # misdirected
            post = request(target, host, "POST", [("Content-Length", len(body))])
            for pieces in ([post + body], [post, body], [post + body[:9], body[9:]]):
                for number, piece in enumerate(pieces):
                    wire.send(piece)
                    if number == 0:
                        answer = wire.response()
                        assert answer.status == status and answer.get("connection") is None, (target, answer)
        # Pipelined behind it.
        wire.send((request("/beacon", HOST, "POST", [("Content-Length", len(body))]) + body + request("/moved", HOST)) * 3)
        assert [wire.response().status for _ in range(6)] == [204, 302] * 3
        assert wire.is_quiet(0.05)
    # One that comes at last, in pieces, up to what is waited for.
    with own.wire(transport) as wire:
        wire.send(request("/moved", HOST, "POST", [("Content-Length", 65536)]))
        assert wire.response().get("connection") is None
        for _ in range(8):
            wire.send(b"G" * 8192)
        assert wire.ask("/moved", HOST).status == 302
    assert own.origin.requests == []


@pytest.mark.sanitizer
def test_a_rest_that_is_much_or_may_not_come_ends_the_connection(own):
    for more in ([("Content-Length", 65537)], [("Content-Length", 5), ("Expect", "100-continue")],
                 [("Transfer-Encoding", "chunked")], [("Content-Length", 5), ("Connection", "close")]):
        with own.wire() as wire:
            wire.send(request("/beacon", HOST, "POST", more))
            assert wire.response().get("connection") == "close", more
            assert wire.rest_or_reset() == b"", more


def test_a_rest_that_does_not_come_is_not_waited_for(own):
    with own.wire() as wire, own.wire() as slow:
        wire.send(request("/beacon", HOST, "POST", [("Content-Length", 20_000)]))
        slow.send(request("/beacon", HOST, "POST", [("Content-Length", 20_000)]) + b"x")
        assert wire.response().status == slow.response().status == 204
        began = time.monotonic()
        wire.send(b"x")
        while time.monotonic() - began < 30 and slow.is_quiet(0.4):
            slow.send(b"x")  # every bit of it gives no more time
        assert 4 < time.monotonic() - began < 15
        assert wire.rest_or_reset() == b""
    assert own.ask("/moved").status == 302


def test_a_process_that_goes_waits_for_a_rest_and_no_longer(own):
    with own.wire() as wire:
        wire.send(request("/moved", HOST, "POST", [("Content-Length", 5)]) + b"ab")
        assert wire.response().status == 302
        own.edge.signal(signal.SIGTERM)
        wire.send(b"cde")
        assert wire.take_rest() == b""  # no reset
    assert own.edge.wait_exit(20) == 0


@pytest.mark.sanitizer
@TRANSPORTS
def test_forwarding_headers_are_the_proxys_own(site, transport):
    site.start()
    seen = site.echo(transport=transport, headers=[
        ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "evil.test"),
        ("Forwarded", "for=6.6.6.6"), ("X-Real-IP", "6.6.6.6"), ("X_Forwarded_For", "6.6.6.6"),
        ("x-forwarded_for", "6.6.6.6"), ("X-Request-Id", "forged"),
    ])
    assert seen.get("x-forwarded-for") == "127.0.0.1" and seen.count("x-forwarded-for") == 1
    assert seen.get("x-forwarded-proto") == transport
    assert seen.get("x-forwarded-host") == HOST
    assert "6.6.6.6" not in json.dumps([h for h in seen.headers if h[0].lower() != "x-real-ip"])
    assert "evil.test" not in json.dumps(seen.headers)
    assert seen.get("host") == HOST
    assert seen.count("x-request-id") == 1 and re.fullmatch(r"[0-9A-Za-z-]{16,64}", seen.get("x-request-id"))
    assert seen.get("x-request-id") != "forged"
    assert site.echo().get("x-request-id") != seen.get("x-request-id")


@pytest.mark.sanitizer
def test_hop_by_hop_fields_end_here(site):
    def answer(call):
        call.read_body()
        call.answer(body=b"x", headers=[("Connection", "X-Back"), ("X-Back", "secret"), ("Keep-Alive", "timeout=5"),
                                        ("Proxy-Authenticate", "Basic"), ("X-Stays", "1")])
        return True

    site.origin.scripts["/back"] = answer
    site.start()
    seen = site.echo(headers=[
        ("Connection", "keep-alive, X-Secret, x-forwarded-for, host"), ("X-Secret", "1"), ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"), ("TE", "trailers, gzip"), ("X-Stays", "1"),
    ])
    for name in ("x-secret", "keep-alive", "proxy-connection", "te"):
        assert seen.get(name) is None, name
    # A client's Connection list cannot take the proxy's own fields out.
    assert seen.get("x-forwarded-for") == "127.0.0.1" and seen.get("host") == HOST and seen.get("x-stays") == "1"
    back = site.ask("/back")
    assert back.get("x-stays") == "1" and back.get("x-back") is None and back.get("keep-alive") is None


def test_headers_of_both_sides_pass_in_order_and_repeated(site):
    def cookies(call):
        call.read_body()
        call.answer(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Empty", "")])
        return True

    site.origin.scripts["/cookies"] = cookies
    site.start()
    seen = site.echo(headers=[("X-A", "1"), ("X-A", "2"), ("Cookie", "a=b; c=d"), ("X-Long", "v" * 6000)])
    assert [v for n, v in seen.headers if n.lower() == "x-a"] == ["1", "2"]
    assert seen.get("cookie") == "a=b; c=d" and len(seen.get("x-long")) == 6000
    answer = site.ask("/cookies")
    assert [v for n, v in answer.headers if n == "set-cookie"] == ["a=1", "b=2"] and answer.get("x-empty") == ""


def test_trailers_end_here(site):
    site.start()
    with site.wire() as wire:
        wire.send(request("/upload", HOST, "POST", [("Transfer-Encoding", "chunked"), ("Trailer", "X-T")])
                  + b"3\r\nabc\r\n0\r\nX-T: 1\r\nContent-Length: 5\r\n\r\n")
        assert json.loads(wire.response().body)["length"] == 3
        assert wire.ask("/bytes/2", HOST).status == 200
    assert site.origin.requests[0].trailers == []


@pytest.mark.parametrize("target, arrives", [
    ("/echo?a=/../b&c=%00", "/echo?a=/../b&c=%00"), ("http://own.example.com/echo?x", "/echo?x"),
    ("/echo?q=%2e%2e", "/echo?q=%2e%2e"), ("/echo/%20x%2Fy", "/echo/%20x%2Fy"),
])
def test_targets_arrive_as_they_should(site, target, arrives):
    site.start()
    assert site.echo(target).target == arrives


@pytest.mark.sanitizer
def test_many_clients_ask_at_once(site):
    site.start()

    def one(number):
        transport = "https" if number % 2 else "http"
        with site.wire(transport, within=60) as wire:
            for turn in range(5):
                body = bytes([number % 256]) * (number * 97)
                answer = json.loads(wire.ask(f"/echo?{number}.{turn}", HOST, "POST", body=body).body)
                assert answer["target"] == f"/echo?{number}.{turn}"
                assert answer["sha256"] == hashlib.sha256(body).hexdigest()
        return True

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(one, range(100)))
    until(lambda: len(site.edge.access()) >= 500, lambda: f"500 access lines, {len(site.edge.access())}")
