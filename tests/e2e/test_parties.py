"""The parties by themselves, without the proxy: what the other tests conclude from them must hold."""

import asyncio
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import websockets
from support.acme import Pebble
from support.curl import curl_ok, s_client
from support.hello import SlowHandshake, messages_of, records
from support.origin import pattern
from support.ports import free_port
from support.wire import Wire


def test_the_origin_tells_what_it_saw(origin):
    body = curl_ok("http://a.test:{port}/echo?x=1", "-H", "X-A: b", "-d", "hello", port=origin.port)
    seen = json.loads(body)
    assert (seen["method"], seen["target"], seen["length"]) == ("POST", "/echo?x=1", 5)
    assert seen["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert ["X-A", "b"] in seen["headers"]
    assert curl_ok("http://a.test:{port}/chunked/300000", port=origin.port) == pattern(300_000)
    assert curl_ok("http://a.test:{port}/bytes/300000", port=origin.port) == pattern(300_000)


def test_the_origin_keeps_a_connection_and_reads_chunks(origin):
    with Wire.connect(origin.port) as wire:
        wire.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n")
        assert json.loads(wire.response().body)["sha256"] == hashlib.sha256(b"abc").hexdigest()
        assert wire.ask("/hints", "a").interim[0][0] == 103
        assert wire.ask("/bytes/10", "a", method="HEAD").body == b""
        assert json.loads(wire.ask("/echo", "a").body)["connection"] == 1
    assert origin.requests[0].trailers == ["X-T: 1"]


def test_the_origin_fails_as_told(origin):
    with Wire.connect(origin.port) as wire, pytest.raises(AssertionError, match="ended after"):
        wire.ask("/short/100", "a")
    with Wire.connect(origin.port) as wire, pytest.raises(ConnectionError):
        wire.ask("/reset", "a")
    with Wire.connect(origin.port) as wire:
        assert wire.ask("/once", "a").status == 200
        wire.send("GET /once HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.take_rest() == b""


def test_nginx_shows_its_own_certificate(nginx, origin, authority, big_file):
    pair = authority.issue("own.test")
    server = nginx("one", pair, origin=origin)
    assert curl_ok("https://own.test:{port}/", port=server.port, ca=authority.path) == b"one own.test\n"
    shown = s_client(server.port, "-showcerts", name="own.test").stdout
    assert pair.cert_pem.strip() in shown
    answer = json.loads(curl_ok("https://own.test:{port}/upload", "-T", big_file, port=server.port, ca=authority.path))
    assert answer["sha256"] == hashlib.sha256(big_file.read_bytes()).hexdigest()


def test_a_real_hello_survives_being_cut_into_records(nginx, authority):
    server = nginx("one", authority.issue("own.test"))
    client = SlowHandshake(authority.client_context(), "own.test")
    flight = client.first_flight()
    with Wire.connect(server.port) as wire:
        for byte in records(messages_of(flight), 50):
            wire.send(bytes([byte]))
        client.finish_over(wire)
        client.send(wire, b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n")
        assert b"200 OK" in client.receive_through(wire, b"one own.test")


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_wrk_counts_no_error_against_nginx_alone(nginx, wrk, authority, connection):
    server = nginx("one", authority.issue("own.test"))
    load = wrk("https://own.test:{port}/", server.port, 1, headers=[f"Connection: {connection}"]).result()
    assert load.requests > 100 and (load.errors, load.non_2xx) == (0, 0), load.text


def test_wrk_counts_what_fails(origin, wrk):
    load = wrk("http://own.test:{port}/status/500", origin.port, 1, connections=2).result()
    assert load.non_2xx > 0
    origin.close()
    assert wrk("http://own.test:{port}/", origin.port, 1, connections=2).result().errors > 0


def test_websocket_echo_answers(websocket_echo):
    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{websocket_echo.port}/chat") as socket:
            await socket.send("hello")
            return await socket.recv()

    assert asyncio.run(talk()) == "hello"
    assert websocket_echo.paths == ["/chat"]


def test_a_blackhole_never_answers(blackhole):
    port = int(blackhole.address.rsplit(":", 1)[1])
    with pytest.raises(TimeoutError):
        Wire.connect(port, within=0.5)


@pytest.mark.parametrize("client", ["certbot", "lego"])
def test_pebble_issues_over_http_01(client, closing, authority, tmp_path):
    webroot, port = tmp_path / "webroot", free_port()
    webroot.mkdir()
    asked = []

    class Files(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.headers["Host"], self.path))
            self.send_response(200)
            self.end_headers()
            self.wfile.write((webroot / self.path.lstrip("/")).read_bytes())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        pebble = closing(Pebble(tmp_path / "pebble", authority, port))
        if client == "certbot":
            pebble.certbot_webroot("shop.example.test", webroot, tmp_path / "letsencrypt")
            assert (tmp_path / "letsencrypt/live/shop.example.test/fullchain.pem").exists()
        else:
            pebble.lego("shop.example.test", tmp_path / "lego", "--http.webroot", str(webroot))
            assert (tmp_path / "lego/certificates/shop.example.test.crt").exists()
        assert asked and asked[0][1].startswith("/.well-known/acme-challenge/")
    finally:
        server.shutdown()
        server.server_close()
