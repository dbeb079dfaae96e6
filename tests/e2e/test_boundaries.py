"""What one party says reaches nobody else: bytes for a tunnel that was refused, a hello beyond its bound, the ends of tunnels."""

import fcntl
import signal
import struct
import termios

import pytest
from h2.settings import SettingCodes
from support.curl import curl
from support.hello import handshake_message
from support.pp import v1
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request

pytestmark = pytest.mark.sanitizer
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: internal\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n"
GOAWAY = 7


def asks_for_a_tunnel(client, path="/ws"):
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    return client.ask(path, method="CONNECT", pseudo=[(":protocol", "websocket")], end=False, headers=[("sec-websocket-version", "13")])


# ---- HTTP


def test_bytes_for_a_tunnel_that_was_refused_reach_nobody(site, tap, h2):
    """Behind a request that is whole, the upstream would read them as the next one: past every rule, with the client's own header fields."""
    site.start(site.route({"path": "/", "upstream": tap.address}), workers=1)
    client = h2()
    stream = asks_for_a_tunnel(client)
    backend = tap.accept()
    assert b"upgrade: websocket" in backend.take_through(b"\r\n\r\n").lower()
    backend.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nab")
    client.until(lambda: client.streams[stream].body == b"ab", "the answer begins")
    for _ in range(4):
        client.send(stream, SMUGGLED * 200)  # its window is given back
    assert backend.is_quiet(0.5)
    backend.send(b"cd")
    assert bytes(client.wait(stream).body) == b"abcd"
    next_one = client.ask("/next")
    assert backend.take_through(b"\r\n\r\n").startswith(b"GET /next "), "over the connection that was kept"
    backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert bytes(client.wait(next_one).body) == b"ok"


def test_a_tunnel_that_is_broken_gets_no_answer_into_it(site, tap, h2):
    site.start(site.route({"path": "/", "upstream": tap.address}))
    client = h2()
    stream = asks_for_a_tunnel(client)
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
    client.until(lambda: client.streams[stream].body == b"hi", "the tunnel stands")
    client.h2.send_headers(stream, [("x-late", "1")], end_stream=True)
    client.flush()
    answer = client.wait(stream)
    assert answer.reset is not None and bytes(answer.body) == b"hi"
    assert backend.rest_or_reset() == b""
    assert len(site.edge.wait_access(path="/ws", kind="request")) == 1
    assert client.ask("/next") and tap.accept().take_through(b"\r\n\r\n").startswith(b"GET /next ")


def test_a_body_that_is_only_trailers_is_whole(site, tap, h2):
    """Whoever waited for the word on it has said all: the upstream is who is waited for."""
    site.start(site.route({"path": "/", "upstream": tap.address}), timeouts={"response": "500ms"})
    client = h2()
    stream = client.ask("/up", method="POST", headers=[("expect", "100-continue")], end=False)
    client.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
    client.flush()
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    backend.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.wait(stream).status == 504
    assert site.edge.wait_access(path="/up")[0]["reason"] == "response_timeout"


def test_an_empty_line_behind_a_request_begins_none(site):
    """Some clients end a body with one. The connection is at rest behind it."""
    site.start(timeouts={"request_head": "300ms", "idle": "900ms"})
    for ends in (b"\r\n", b"\r\n\r\n"):
        with site.wire() as wire:
            wire.send(request("/bytes/1", HOST, "POST", body=b"x") + ends)
            assert wire.response().status == 200
            assert wire.is_quiet(0.6), "longer than a head may take"
            wire.send(request("/bytes/2", HOST))
            assert wire.response().status == 200
            assert wire.rest_or_reset() == b""
    assert {line["reason"] for line in site.edge.access()} == {"done"}


@pytest.mark.parametrize("size, limit, status", [(5, "1KiB", 200), (60_000, "64MiB", 200), (3_000_000, "1KiB", 413)])
def test_curl_sees_an_answer_that_comes_before_its_body_is_through(site, tmp_path, size, limit, status):
    """Debian's curl (7.88) throws it away where the stream is reset in the same moment."""
    body = tmp_path / "body"
    body.write_bytes(b"x" * size)
    site.start(site.route({"path": "/", "respond": {"status": 200, "body": "early\n"}}, max_request_body=limit))
    for _ in range(5):
        done = curl("https://" + HOST + ":{port}/", "--http2", "--data-binary", f"@{body}", "-w", "%{http_code}", port=site.edge.https,
                    ca=site.authority.path)
        assert done.stdout.decode().endswith(str(status)), done
        assert (b"early" in done.stdout) == (status == 200)


# ---- TLS


def test_a_bound_that_is_lowered_holds_for_hellos_that_have_begun(edge, tap):
    route = {"host": HOST, "passthrough": tap.address}
    edge.start(workers=1, routes=[route], limits={"client_hello": "64KiB"})
    message = handshake_message(HOST, total=60_000)
    records = b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part
                       for part in (message[at:at + 16_000] for at in range(0, len(message), 16_000)))
    with Wire.connect(edge.https) as client:
        client.send(records[:50_000])
        until(lambda: fcntl.ioctl(client.sock, termios.TIOCOUTQ, b"\0\0\0\0") == b"\0\0\0\0", "it has arrived")
        with Wire.connect(edge.https) as other:  # behind which it has been read, too
            other.send(b"no hello")
            assert other.rest_or_reset() == b""
        edge.reload(workers=1, routes=[route], limits={"client_hello": "2KiB"})
        client.send(records[50_000:])
        assert client.rest_or_reset() == b""
    assert edge.wait_access(reason="hello_too_large")[0]["bytes_in"] == 50_000


# ---- drains


def shakes_hands(site, raw, alpn):
    context = site.authority.client_context([alpn])
    return context.wrap_socket(raw.sock, server_hostname=HOST)


def test_who_says_his_name_during_a_drain_is_told_of_it(site):
    site.start(site.route(), timeouts={"drain": "20s"})
    one, two = Wire.connect(site.edge.https), Wire.connect(site.edge.https)
    until(lambda: site.edge.metrics().total("edgemux_connections_active") == 2, "they have come in")
    held = site.wire()
    held.send(request("/gate/hold", HOST))
    site.origin.wait_for_requests(1)
    site.edge.signal(signal.SIGTERM)
    site.edge.wait_log("drain")
    with Wire(shakes_hands(site, one, "http/1.1")) as wire:
        assert wire.ask("/bytes/1", HOST).get("connection") == "close"
        assert wire.rest_or_reset() == b""
    with Wire(shakes_hands(site, two, "h2")) as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        kinds = []
        while kinds.count(GOAWAY) < 2:
            head = wire.take(9)
            wire.take(int.from_bytes(head[:3], "big"))
            kinds.append(head[3])
        assert wire.rest_or_reset() == b"", "nobody asks for anything"
    site.origin.gate("hold").set()
    assert held.response().get("connection") == "close"
    assert site.edge.wait_exit(10) == 0


@pytest.mark.parametrize("transport", ["http", "https"])
def test_who_is_announced_during_a_drain_is_told_of_it(site, transport):
    """By a balancer's PROXY header. Who says nothing is let go in good order, after a moment."""
    port, protocol = (site.edge.http, "http") if transport == "http" else (site.edge.https, "tls")
    site.start(site.route(), timeouts={"drain": "20s"}, listeners=[
        {"name": "in", "bind": [f"127.0.0.1:{port}"], "protocol": protocol, "accept_proxy_protocol": ["127.0.0.0/8"]}])
    announced, silent = Wire.connect(port), Wire.connect(port)
    until(lambda: site.edge.metrics().total("edgemux_connections_active") == 2, "they have come in")
    site.edge.signal(signal.SIGTERM)
    site.edge.wait_log("drain")
    announced.send(v1("192.0.2.7", "192.0.2.1"))
    wire = announced if transport == "http" else Wire(shakes_hands(site, announced, "http/1.1"))
    assert wire.ask("/bytes/1", HOST).get("connection") == "close"
    assert wire.rest_or_reset() == b""
    assert silent.rest_or_reset() == b""
    assert site.edge.wait_exit(10) == 0
    assert {line["reason"] for line in site.edge.access()} == {"done", "draining"}


def test_silent_clients_of_a_listener_that_goes_are_no_failure(site):
    listeners = [{"name": name, "bind": [f"127.0.0.1:{port}"], "protocol": "tls"}
                 for name, port in (("one", site.edge.https), ("two", site.edge.kube))]
    site.start(site.route(), listeners=listeners)
    with Wire.connect(site.edge.kube) as client:
        until(lambda: site.edge.metrics().total("edgemux_connections_active") == 1, "it has come in")
        site.edge.reload(certificates=site.certificates, routes=[site.route()], listeners=listeners[:1])
        assert client.rest_or_reset() == b""
    assert site.edge.wait_access(listener="two")[0]["reason"] == "draining"
