"""TLS that ends here, and bytes that go on as they are, to a backend that speaks no HTTP (`terminate`)."""

import concurrent.futures
import hashlib
import json
import random
import signal
import socket
import socketserver
import ssl
import threading
import time

import pytest
from support import pp
from support.curl import s_client
from support.hello import hello
from support.http2 import H2Client
from support.ports import free_port
from support.proxy import edgemux, sanitized
from support.waiting import patience, until
from support.wire import Wire

HOST = "mqtt.example.com"
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


class Lines(socketserver.ThreadingTCPServer):
    """A backend of the kind that speaks first: a greeting, then each line comes back with its name in front."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 256

    def __init__(self, name):
        server = self

        class Talk(socketserver.StreamRequestHandler):
            def handle(self):
                with server.lock:
                    server.accepted += 1
                try:
                    self.wfile.write(f"{name} ready\n".encode())
                    for line in self.rfile:
                        self.wfile.write(f"{name}: ".encode() + line)
                except ConnectionError:
                    pass

        self.lock, self.accepted = threading.Lock(), 0
        super().__init__(("127.0.0.1", free_port()), Talk)
        self.name, self.address = name, f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


@pytest.fixture
def lines(closing):
    """lines(name) starts one."""
    return lambda name="lines": closing(Lines(name))


class Cut(ConnectionError):
    """A FIN without close_notify."""


class Halves:
    """A TLS socket, as Wire needs one, whose halves end one by one. Python's own takes every FIN for a proper end."""

    def __init__(self, sock, context, name):
        self.raw, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._call(self.tls.do_handshake)

    def _flush(self):
        if data := self.outgoing.read():
            self.raw.sendall(data)

    def _call(self, call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.raw.recv(1 << 18)
                if not data:
                    raise Cut("the connection ended without close_notify") from None
                self.incoming.write(data)
            except ssl.SSLZeroReturnError:  # close_notify behind our own
                return b""
            finally:
                self._flush()

    def recv(self, size):
        return self._call(lambda: self.tls.read(size))

    def sendall(self, data):
        self.tls.write(data)
        self._flush()

    def finish(self, fin=True):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()
        if fin:
            self.raw.shutdown(socket.SHUT_WR)

    def __getattr__(self, name):
        return getattr(self.raw if hasattr(self.raw, name) else self.tls, name)


class Secure:
    """A proxy with a certificate for *.example.com."""

    def __init__(self, edge, authority):
        self.edge, self.authority = edge, authority
        self.pair = authority.issue("*.example.com")

    def start(self, *routes, **over):
        self.edge.start(certificates=[{"cert": str(self.pair.cert), "key": str(self.pair.key)}], routes=list(routes), **over)
        return self

    def connect(self, name=HOST, port=None, alpn=(), version=None, pair=None, **kwargs):
        wire = Wire.connect(port or self.edge.https, **kwargs)
        try:
            wire.sock = Halves(wire.sock, self.authority.client_context(alpn, pair=pair, version=version), name)
        except BaseException:
            wire.close()
            raise
        return wire

    def tunnel(self, tap, *args, **kwargs):
        """A client and its backend, with a tunnel between them."""
        client = self.connect(*args, **kwargs)
        return client, tap.accept()


@pytest.fixture
def secure(edge, authority):
    return Secure(edge, authority)


def finish(wire):
    """close_notify and FIN; reading goes on."""
    wire.sock.finish()


def rest(wire):
    """Everything until close_notify. Any other end is an error."""
    return wire.take_rest()


def cut(wire):
    """Everything until an end that is none: a reset, or a FIN without close_notify."""
    with pytest.raises(ConnectionError):
        while wire._more():
            pass
    data, wire.buffer = wire.buffer, b""
    return data


def terminated(to, host=HOST, **more):
    return {"host": host, "terminate": to, **more}


# ---- bytes


@pytest.mark.sanitizer
@VERSIONS
def test_the_bytes_inside_go_to_a_backend_that_speaks_first(secure, lines, version):
    server = lines()
    secure.start(terminated("app"), upstreams={"app": {"endpoints": [server.address]}})
    with secure.connect(version=version) as client:
        assert client.take_through(b"\n") == b"lines ready\n"
        for text in (b"one\n", b"GET / HTTP/1.1\n", b"\x00\xff\n"):
            client.send(text)
            assert client.take_through(b"\n") == b"lines: " + text
        finish(client)
        assert rest(client) == b""
    line, = secure.edge.wait_access(sni=HOST)
    assert (line["kind"], line["reason"], line["upstream"]) == ("connection", "done", "app")
    assert (line["endpoint"], line["host"], line["route"]) == (server.address, HOST, HOST)
    assert line["tls"] == f"TLSv1.{version.name[-1]}" and not line.get("alpn") and not line.get("detail")
    assert (line["bytes_in"], line["bytes_out"]) == (22, 12 + 22 + 3 * 7)
    metrics = secure.edge.metrics()
    assert metrics.total("edgemux_tunnels_total", listener="https") == 1
    assert metrics.total("edgemux_tunnels_active", listener="https") == 0
    assert metrics.total("edgemux_tls_handshakes_total", listener="https", result="full") == 1
    assert metrics.total("edgemux_bytes_total", listener="https", direction="client_received") == 22


@pytest.mark.sanitizer
def test_openssl_as_the_client(secure, tap):
    secure.start(terminated(tap.address))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        client = pool.submit(s_client, secure.edge.https, "-quiet", name=HOST, text=b"hello\n")
        backend = tap.accept()
        assert backend.take(6) == b"hello\n"
        backend.send(b"bye\n")
        backend.close()
        assert client.result().stdout == b"bye\n"
    assert secure.edge.wait_access(sni=HOST)[0]["reason"] == "done"


@pytest.mark.sanitizer
def test_a_hundred_connections_at_once_each_get_their_own(secure, lines):
    servers = [lines("a"), lines("b")]
    secure.start(terminated({"endpoints": [server.address for server in servers]}, host="*.example.com"))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = list(pool.map(lambda number: secure.connect(f"t{number}.example.com", within=60), range(100)))

        def talk(numbered):
            number, client = numbered
            if client.sent == 0:
                client.who = client.take_through(b" ready\n").split()[0].decode()
            text = f"{number} {'x' * (number * 50)}\n".encode()
            client.send(text)
            return client.take_through(b"\n") == f"{client.who}: ".encode() + text

        for _ in range(3):
            assert all(pool.map(talk, enumerate(clients)))
    assert sorted(client.who for client in clients) == ["a"] * 50 + ["b"] * 50
    assert secure.edge.metrics().total("edgemux_tunnels_active", listener="https") == 100
    for client in clients:
        client.close()
    assert len(secure.edge.wait_access(100, kind="connection")) == 100


@pytest.mark.sanitizer
@VERSIONS
def test_50_mib_each_way_at_once_with_slow_readers(secure, tap, version):
    size = 50 << 20
    data = random.Random(50).randbytes(1 << 20) * (size >> 20)
    digest = hashlib.sha256(data).hexdigest()
    secure.start(terminated(tap.address))
    context = secure.authority.client_context(version=version)
    client = Wire.connect(secure.edge.https, tls=context, name=HOST, within=120)
    backend = tap.accept()
    backend.sock.settimeout(patience(120))
    before = secure.edge.pss()

    def read(sock):
        got, count = hashlib.sha256(), 0
        while count < size:
            piece = sock.recv(1 << 18)
            if count >> 23 != (count + len(piece)) >> 23:
                time.sleep(0.05)  # it is a slow reader
            assert piece, f"it ended after {count}"
            got.update(piece)
            count += len(piece)
        return got.hexdigest()

    # One socket of TLS is not for two threads: the client writes and reads in turns.
    def both(sock):
        sent, got, count = 0, hashlib.sha256(), 0
        sock.setblocking(False)
        limit = time.monotonic() + patience(120)
        while sent < size or count < size:
            assert time.monotonic() < limit, f"{sent} sent, {count} come"
            moved = False
            if sent < size:
                try:
                    sent += sock.send(data[sent : sent + (1 << 16)])
                    moved = True
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    pass
            try:
                piece = sock.recv(1 << 16)
                assert piece
                got.update(piece)
                count += len(piece)
                moved = True
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            if not moved:
                time.sleep(0.001)
        return got.hexdigest()

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        up = pool.submit(read, backend.sock)
        pool.submit(backend.sock.sendall, data)
        assert both(client.sock) == digest
        assert up.result() == digest
    if not sanitized():
        assert secure.edge.pss() - before < 16 * 1024
    client.sock.settimeout(patience(15))
    backend.finish()
    assert client.take_rest() == b""
    client.sock.unwrap()
    client.close()
    assert backend.take_rest() == b""
    line, = secure.edge.wait_access(sni=HOST)
    assert (line["reason"], line["bytes_in"], line["bytes_out"]) == ("done", size, size)


@pytest.mark.sanitizer
@VERSIONS
def test_half_close_travels_from_the_client(secure, tap, version):
    secure.start(terminated(tap.address))
    client, backend = secure.tunnel(tap, version=version)
    client.send(b"q" * 200_000)
    finish(client)
    assert backend.take_rest() == b"q" * 200_000
    backend.send(b"r" * 300_000)
    backend.finish()
    assert rest(client) == b"r" * 300_000
    line, = secure.edge.wait_access(reason="done")
    assert (line["bytes_in"], line["bytes_out"]) == (200_000, 300_000)


@pytest.mark.sanitizer
@VERSIONS
def test_half_close_travels_from_the_backend(secure, tap, version):
    secure.start(terminated(tap.address))
    client, backend = secure.tunnel(tap, version=version)
    backend.send(b"bye" * 50_000)
    backend.finish()
    assert client.take(150_000) == b"bye" * 50_000
    assert client.sock.recv(1) == b""  # close_notify
    client.send(b"late" * 50_000)
    finish(client)
    assert backend.take_rest() == b"late" * 50_000
    assert secure.edge.wait_access(sni=HOST)[0]["reason"] == "done"


def test_a_client_that_never_says_close_notify_ends_all_the_same_and_it_is_told(secure, tap):
    secure.start(terminated(tap.address))
    client, backend = secure.tunnel(tap)
    client.send(b"x")
    assert backend.take(1) == b"x"
    client.sock.raw.shutdown(socket.SHUT_WR)
    assert backend.take_rest() == b""
    backend.close()
    line, = secure.edge.wait_access(reason="done")
    assert line["detail"] == "the client ended without close_notify"


@pytest.mark.sanitizer
def test_a_reset_on_one_side_ends_the_other_and_never_looks_whole(secure, tap):
    secure.start(terminated(tap.address))
    client, backend = secure.tunnel(tap)
    client.reset()
    with pytest.raises(ConnectionResetError):
        backend.take_rest()
    client, backend = secure.tunnel(tap)
    backend.send(b"some")
    assert client.take(4) == b"some"
    backend.reset()
    assert cut(client) == b""
    reasons = {line["reason"] for line in secure.edge.wait_access(2, sni=HOST)}
    assert reasons == {"client_reset", "upstream_reset"}


def test_bytes_that_are_no_tls_end_the_tunnel(secure, tap):
    secure.start(terminated(tap.address))
    client, backend = secure.tunnel(tap)
    client.sock.raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ConnectionResetError):
        backend.take_rest()
    line, = secure.edge.wait_access(sni=HOST)
    assert line["reason"] == "client_reset" and "record" in line["detail"]


@pytest.mark.sanitizer
def test_back_pressure_reaches_the_sender(secure, tap):
    """Also before the upstream's connection stands, where nothing is read at all."""
    secure.start(terminated(tap.address))
    client, backend = secure.tunnel(tap)
    before = secure.edge.pss()
    client.sock.settimeout(1.5)
    sent = 0
    with pytest.raises((TimeoutError, OSError)):
        while sent < 512 << 20:
            client.sock.sendall(bytes(1 << 20))
            sent += 1 << 20
    assert sent < 256 << 20
    if not sanitized():
        assert secure.edge.pss() - before < 16 * 1024
    backend.close()


def test_what_comes_before_the_upstream_stands_is_not_read_and_not_lost(secure, tap, blackhole):
    endpoints = [blackhole.address, tap.address]
    secure.start(terminated({"endpoints": endpoints, "timeouts": {"connect": "1500ms"}}), workers=1)
    data = random.Random(1).randbytes(32 << 20)
    for _ in range(2):  # wherever round robin begins
        client = secure.connect(within=60)
        before = secure.edge.pss()
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        backend = tap.accept()
        if not sanitized():
            assert secure.edge.pss() - before < 4 * 1024
        assert hashlib.sha256(backend.take(len(data))).digest() == hashlib.sha256(data).digest()
        sender.join()
        client.close()
        backend.close()


# ---- the handshake


@pytest.mark.sanitizer
def test_no_alpn_unless_the_route_names_protocols(secure, tap):
    secure.start(
        terminated(tap.address),
        terminated({"endpoints": [tap.address], "proxy_protocol": "v2"}, host="own.example.com",
                   tls={"alpn": ["mqtt", "x-amzn-mqtt-ca"]}),
        tls={"alpn": ["h2", "http/1.1"]},
    )
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        client, backend = secure.tunnel(tap, alpn=["h2", "http/1.1", "mqtt"], version=version)
        assert client.sock.selected_alpn_protocol() is None
        for offer, agreed in ((["x-amzn-mqtt-ca", "mqtt"], "mqtt"), (["h2", "x-amzn-mqtt-ca"], "x-amzn-mqtt-ca"), ((), None)):
            client, backend = secure.tunnel(tap, "own.example.com", alpn=offer, version=version)
            assert client.sock.selected_alpn_protocol() == agreed
            header = pp.Header(backend)
            assert header.authority == b"own.example.com" and header.alpn == (agreed.encode() if agreed else None)
            client.close()
            backend.close()
            secure.edge.wait_access(sni="own.example.com", alpn=agreed, tls=f"TLSv1.{version.name[-1]}")
        with pytest.raises(ssl.SSLError, match="no application protocol"):
            secure.connect("own.example.com", alpn=["h2", "http/1.1"], version=version)
    assert tap.nobody_comes()
    secure.edge.wait_access(2, reason="handshake_failed", detail="no application protocol in common")


@pytest.mark.sanitizer
def test_a_client_certificate_is_required_before_anybody_is_connected_to(secure, tap, authority, stranger):
    ca = secure.edge.folder / "clients.pem"
    ca.write_bytes(authority.pem)
    secure.start(
        terminated(tap.address, tls={"client_ca": str(ca), "min_version": "1.3"}),
        terminated(tap.address, host="broken.example.com", tls={"client_ca": str(ca) + ".none"}),
    )
    for pair in (None, stranger.issue("someone", client=True)):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            with secure.connect(pair=pair) as client:  # TLS 1.3: the client learns of it when it reads
                client.take(1)
    with Wire.connect(secure.edge.https) as client:
        client.send(hello("broken.example.com"))
        assert client.rest_or_reset() == b""
    assert tap.nobody_comes()
    client, backend = secure.tunnel(tap, pair=authority.issue("customer", client=True))
    backend.send(b"welcome")
    assert client.take(7) == b"welcome"
    secure.edge.wait_access(2, sni=HOST, reason="handshake_failed")
    secure.edge.wait_access(sni="broken.example.com", reason="refused")


@pytest.mark.sanitizer
def test_a_handshake_that_is_never_finished_costs_no_upstream_connection(secure, tap):
    secure.start(terminated(tap.address), timeouts={"tls_handshake": "600ms"})
    with Wire.connect(secure.edge.https) as silent, Wire.connect(secure.edge.https) as gone:
        for client in (silent, gone):
            client.send(hello(HOST))
            client.take(5)  # the server's answer begins
        gone.close()
        silent.rest_or_reset()
    assert tap.nobody_comes()
    edge = secure.edge
    assert edge.wait_access(sni=HOST, reason="handshake_timeout")[0]["bytes_in"] == 0
    edge.wait_access(sni=HOST, reason="handshake_failed", detail="client closed during the handshake")
    assert edge.metrics().total("edgemux_tls_handshakes_total", listener="https", result="failed") == 2
    assert edge.metrics().total("edgemux_tunnels_total") == 0
    with pytest.raises(ssl.SSLError):
        Wire.connect(edge.https, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name=HOST)  # which trusts nobody
    assert tap.nobody_comes()


def test_a_host_without_a_certificate_is_refused(secure, tap):
    secure.start(terminated(tap.address, host="other.test"))
    with pytest.raises(ssl.SSLError):
        secure.connect("other.test")
    line, = secure.edge.wait_access(sni="other.test")
    assert (line["reason"], line["detail"]) == ("no_certificate", "no certificate covers other.test")
    assert tap.nobody_comes()
    assert "no certificate serves 'other.test'" in secure.edge.log()


@VERSIONS
def test_tickets_resume(secure, lines, version):
    secure.start(terminated(lines().address))
    context = secure.authority.client_context(version=version)
    with Wire.connect(secure.edge.https, tls=context, name=HOST) as client:
        client.take_through(b"\n")
        session = client.sock.session
    with Wire.connect(secure.edge.https, tls=context, name=HOST, session=session) as client:
        client.take_through(b"\n")
        assert client.sock.session_reused
    assert secure.edge.metrics().total("edgemux_tls_handshakes_total", listener="https", result="resumed") == 1


# ---- the upstream


def test_nobody_behind_it_cuts_the_client_off_and_says_why(secure, dead_address):
    secure.start(terminated(dead_address))
    with secure.connect() as client:
        assert cut(client) == b""
    line, = secure.edge.wait_access(sni=HOST)
    assert (line["reason"], line["endpoint"], line["tls"]) == ("connect_failed", dead_address, "TLSv1.3")
    assert dead_address in line["detail"]
    assert f"route {HOST}: upstream {dead_address}: cannot connect" in secure.edge.log()


@pytest.mark.sanitizer
def test_the_next_endpoint_takes_over_when_one_refuses(secure, lines, dead_address):
    server = lines()
    secure.start(terminated({"endpoints": [dead_address, server.address]}))
    for _ in range(4):  # wherever round robin begins
        with secure.connect() as client:
            assert client.take_through(b"\n") == b"lines ready\n"
    secure.edge.wait_access(4, endpoint=server.address)


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_upstream_is_told_whose_connection_it_is(secure, tap, version):
    secure.start(terminated({"endpoints": [tap.address], "proxy_protocol": version}))
    client, backend = secure.tunnel(tap)
    header = pp.Header(backend)
    assert (header.version, header.family) == (int(version[1]), "TCP4")
    assert (header.source, header.source_port) == client.sock.getsockname()
    assert (header.destination, header.destination_port) == ("127.0.0.1", secure.edge.https)
    assert header.authority == (HOST.encode() if version == "v2" else None) and header.alpn is None
    client.send(b"after it")
    assert backend.take(8) == b"after it"
    finish(client)
    assert backend.take_rest() == b""
    backend.close()
    assert rest(client) == b""
    assert secure.edge.wait_access(sni=HOST)[0]["bytes_in"] == 8


def test_a_connection_waits_for_a_place_and_its_bytes_with_it(secure, tap):
    app = {"endpoints": [tap.address], "limits": {"connections": 1, "pending": 1}, "timeouts": {"pending": "30s"}}
    secure.start(terminated("app"), upstreams={"app": app})
    first, backend = secure.tunnel(tap)
    second = secure.connect()
    second.send(b"early")
    until(lambda: secure.edge.metrics().total("edgemux_upstream_pending", upstream="app") == 1, "one waits")
    with secure.connect() as third:
        assert cut(third) == b""
    assert "limits.pending is reached" in secure.edge.wait_access(reason="upstream_limit")[0]["detail"]
    assert tap.nobody_comes(0.05)
    first.close()
    backend.close()
    backend = tap.accept()
    assert backend.take(5) == b"early"
    second.close()


def test_a_failing_endpoint_is_ejected(secure, lines, dead_address):
    app = {"endpoints": [dead_address, lines().address], "outlier": {"consecutive_failures": 1, "eject_for": "60s"}}
    secure.start(terminated("app"), upstreams={"app": app}, workers=1)
    for _ in range(4):
        with secure.connect() as client:
            client.take_through(b"\n")
    lines = secure.edge.wait_access(4, sni=HOST)
    assert sorted(line.get("attempts", 1) for line in lines)[-2:] == [1, 2], "it was tried once"


# ---- whose it is


@pytest.mark.sanitizer
def test_allow_and_deny_hold_before_the_handshake(secure, tap):
    secure.start(terminated(tap.address, allow=["127.0.0.0/8"], deny=["127.0.0.1"]))
    with Wire.connect(secure.edge.https) as client:
        client.send(hello(HOST))
        assert client.rest_or_reset() == b""
    assert tap.nobody_comes()
    secure.edge.wait_access(sni=HOST, reason="access_denied")


@pytest.mark.sanitizer
def test_the_limits_and_networks_of_a_tenant_hold(house, lines):
    server, edge = lines(), house.edge
    house.tenants["a"]["limits"] = {"connections": 2}
    house.tenants["b"]["networks"] = ["192.0.2.0/24"]
    house.write("a", [terminated(server.address, host="a.example.test")])
    house.write("b", [terminated(server.address, host="b.example.test")])
    house.start()
    context = house.authority.client_context()
    assert f"endpoint '{server.address}' " in edge.log() and "so tenant 'b' may not use it" in edge.log()
    wires = [Wire.connect(edge.https, tls=context, name="a.example.test") for _ in range(2)]
    for wire in wires:
        assert wire.take_through(b"\n") == b"lines ready\n"
    with Wire.connect(edge.https) as client:
        client.send(hello("a.example.test"))
        assert client.rest_or_reset() == b"", "it is closed before TLS"
    line, = edge.wait_access(reason="tenant_limit")
    assert line["tenant"] == "a"
    assert edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 2
    for wire in wires:
        wire.close()
    assert edge.wait_access(2, sni="a.example.test", upstream=server.address)[0]["tenant"] == "a"
    until(lambda: edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 0, "the places are free")
    assert server.accepted == 2


def test_the_bandwidth_of_a_tenant_holds(house, tap):
    size, rate = 1 << 20, 512 * 1024
    house.tenants["a"]["limits"] = {"bandwidth": "512KiB"}
    for name in ("a", "b"):
        house.write(name, [terminated(tap.address, host=f"{name}.example.test")])
    house.start()

    def took(name):
        began = time.monotonic()
        with Wire.connect(house.edge.https, tls=house.authority.client_context(), name=f"{name}.example.test") as client:
            backend = tap.accept()
            sender = threading.Thread(target=backend.send, args=(bytes(size),))
            sender.start()
            client.take(size)
            sender.join()
        return time.monotonic() - began

    assert took("b") < 0.5 * size / rate
    assert took("a") > 0.5 * size / rate


# ---- its life


@pytest.mark.sanitizer
def test_a_tunnel_outlives_a_reload_without_its_route(secure, lines):
    secure.start(terminated(lines().address))
    client = secure.connect()
    assert client.take_through(b"\n") == b"lines ready\n"
    secure.edge.reload(routes=[])
    with Wire.connect(secure.edge.https) as late:
        late.send(hello(HOST))
        assert late.rest_or_reset() == b""
    client.send(b"still\n")
    assert client.take_through(b"\n") == b"lines: still\n"
    finish(client)
    assert rest(client) == b""
    secure.edge.wait_access(sni=HOST, reason="done")


@pytest.mark.sanitizer
def test_a_drain_lets_tunnels_finish_until_its_end(secure, lines):
    secure.start(terminated(lines().address), timeouts={"drain": "4s"})
    ends, stays = secure.connect(), secure.connect()
    for client in (ends, stays):
        client.take_through(b"\n")
    secure.edge.signal(signal.SIGTERM)
    secure.edge.wait_log("drain")
    ends.send(b"on\n")
    assert ends.take_through(b"\n") == b"lines: on\n"
    finish(ends)
    assert rest(ends) == b""
    secure.edge.wait_access(sni=HOST, reason="done")
    assert cut(stays) == b"", "what is cut does not look whole"
    secure.edge.wait_access(sni=HOST, reason="draining")
    assert secure.edge.wait_exit() == 3


@pytest.mark.sanitizer
def test_what_the_end_of_a_drain_cuts_does_not_look_whole(secure, tap):
    """Without close_notify behind the bytes that came: of a terminate route, and of an upgraded connection."""
    secure.start(terminated(tap.address), {"host": "ws.example.com", "rules": [{"path": "/", "upstream": tap.address}]},
                 timeouts={"drain": "500ms"})
    plain, plain_backend = secure.tunnel(tap)
    upgraded = secure.connect("ws.example.com")
    upgraded.send(b"GET / HTTP/1.1\r\nHost: ws.example.com\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    upgraded.take_through(b"\r\n\r\n")
    for client, far in ((plain, plain_backend), (upgraded, backend)):
        far.send(b"half")
        assert client.take(4) == b"half"
    secure.edge.signal(signal.SIGTERM)
    assert cut(plain) == b"" and cut(upgraded) == b""
    assert secure.edge.wait_exit() == 3


def test_silence_ends_it(secure, tap):
    secure.start(terminated(tap.address), timeouts={"tunnel_idle": "1s", "half_closed": "500ms"})
    idle, idle_backend = secure.tunnel(tap)
    half, half_backend = secure.tunnel(tap)
    finish(half)
    assert half_backend.take_rest() == b""
    half.rest_or_reset()
    assert rest(idle) == b"" and idle_backend.rest_or_reset() == b""
    secure.edge.wait_access(reason="half_closed_timeout")
    secure.edge.wait_access(reason="tunnel_idle")


# ---- beside others


@pytest.mark.sanitizer
def test_passthrough_terminate_and_rules_on_one_port(secure, nginx, lines):
    """TLSRouteMixedTermination: by server name alone, each gets what is its own."""
    through = nginx("through", secure.authority.issue("through.example.com"))
    server = lines()
    secure.start(
        {"host": "through.example.com", "passthrough": through.address},
        terminated(server.address),
        terminated(server.address, host="*.wide.example.com", listeners=["kube-api"]),
        {"host": "rules.example.com", "rules": [{"path": "/", "respond": {"status": 200, "body": "rules\n"}}]},
    )

    def ask(name):
        with secure.connect(name, alpn=["h2", "http/1.1"] if name == HOST else ["http/1.1"]) as wire:
            if name == HOST:
                assert wire.sock.selected_alpn_protocol() is None
                wire.take_through(b"\n")
                wire.send(b"x\n")
                return wire.take_through(b"\n")
            return wire.ask("/", name).body

    jobs = [("through.example.com", b"through through.example.com\n"), (HOST, b"lines: x\n"), ("rules.example.com", b"rules\n")] * 5
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for (name, expected), got in zip(jobs, pool.map(ask, [name for name, _ in jobs])):
            assert got == expected, name


@pytest.mark.sanitizer
def test_a_request_that_came_for_another_host_gets_421_and_never_the_backend(secure, tap):
    secure.start(
        terminated(tap.address),
        {"host": "rules.example.com", "rules": [{"path": "/", "respond": {"status": 200, "body": "rules\n"}}]},
    )
    with H2Client(secure.edge.https, secure.authority, name="rules.example.com") as client:
        assert client.get("/", authority="rules.example.com").status == 200
        assert client.get("/", authority=HOST).status == 421
        assert client.get("/", authority="rules.example.com").status == 200
    with secure.connect("rules.example.com", alpn=["http/1.1"]) as wire:
        assert wire.ask("/", HOST).status == 421
    secure.edge.wait_access(2, status=421, reason="misdirected")
    # A connection that was made for rules before they became bytes is one for another host, too.
    with H2Client(secure.edge.https, secure.authority, name="rules.example.com") as client:
        assert client.get("/", authority="rules.example.com").status == 200
        certificates = [{"cert": str(secure.pair.cert), "key": str(secure.pair.key)}]
        secure.edge.reload(certificates=certificates, routes=[terminated(tap.address, host="rules.example.com")])
        assert client.get("/", authority="rules.example.com").status == 421
    assert tap.nobody_comes()


def test_port_80_redirects_or_is_off_and_answers_challenges(secure, tap, origin, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "own").write_text("own.key")
    path = "/.well-known/acme-challenge/"
    secure.start(
        terminated(tap.address, acme_solver=origin.address),
        terminated(tap.address, host="off.example.com", on_http="off"),
        acme={"tokens_dir": str(tokens)},
    )
    with Wire.connect(secure.edge.http) as wire:
        answer = wire.ask("/x?y", HOST)
        assert (answer.status, answer.get("location")) == (301, f"https://{HOST}:{secure.edge.https}/x?y")
        assert wire.ask("/x", "off.example.com").status == 404
        assert wire.ask(path + "own", "off.example.com").body == b"own.key"
        assert wire.ask(path + "own", HOST).body == b"own.key"
        wire.ask(path + "other", HOST)
    assert [request.target for request in origin.requests] == [path + "other"]
    assert tap.nobody_comes()


# ---- what is said of it

CONFIG = """\
listeners: [{{ name: https, bind: [":443"], protocol: tls }}, {{ name: http, bind: [":80"], protocol: http }}]
certificates: [{{ cert: {cert}, key: {key} }}]
routes:
  - host: mqtt.example.com
    allow: [10.0.0.0/8]
    tls: {{ client_ca: {ca}, alpn: [mqtt] }}
    terminate: 10.0.0.7:1883
"""


def test_explain_says_where_the_bytes_go(secure, tmp_path):
    (tmp_path / "edgemux.yaml").write_text(CONFIG.format(cert=secure.pair.cert, key=secure.pair.key, ca=secure.authority.path))

    def explain(*arguments):
        done = edgemux("explain", "-c", "edgemux.yaml", "--sni", HOST, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    told = explain("--from", "10.1.2.3")
    assert "\n  tls          TLS 1.2 or later, a client certificate is required, ALPN mqtt  (edgemux.yaml:4:5)\n" in told
    assert "\n  upstream     10.0.0.7:1883  (edgemux.yaml:7:16)\n" in told
    assert told.endswith("\n=> TLS ends here, the bytes inside go as they are to upstream 10.0.0.7:1883\n")
    result = json.loads(explain("--format", "json"))["result"]
    assert (result["action"], result["upstream"], result["host"]) == ("terminate", "10.0.0.7:1883", HOST)
    assert result["certificate"] == str(secure.pair.cert)
    assert explain("--from", "192.0.2.1").endswith("=> the client's network is not admitted: the connection is closed\n")
    assert "no protocol in common: the client offers h2, the host takes mqtt" in explain("--alpn", "h2")


def test_check_says_what_terminate_excludes(tmp_path):
    (tmp_path / "edgemux.yaml").write_text("""\
listeners: [{ name: https, bind: [":443"], protocol: tls }]
routes:
  - host: mqtt.example.com
    terminate: 10.0.0.7:1883
    rules: [{ path: /, respond: {} }]
""")
    checked = edgemux("check", "--config", "edgemux.yaml", cwd=tmp_path)
    assert checked.returncode == 1
    assert "edgemux.yaml:5:12: error: 'terminate' passes bytes on as they are; 'rules' is for HTTP requests\n" in checked.stdout


def test_diff_tells_terminate_from_rules_and_passthrough(tmp_path):
    begin = 'listeners: [{ name: https, bind: [":443"], protocol: tls }]\nroutes:\n  - host: a.example.com\n    '
    kinds = {"passthrough": "passthrough: 10.0.0.1:80", "terminate": "terminate: 10.0.0.1:80",
             "rules": "rules: [{ path: /, upstream: '10.0.0.1:80' }]"}
    for kind, text in kinds.items():
        (tmp_path / f"{kind}.yaml").write_text(begin + text + "\n")
    for old in kinds:
        for new in kinds:
            done = edgemux("diff", f"{old}.yaml", f"{new}.yaml", cwd=tmp_path)
            assert done.returncode == (0 if old == new else 1)
            assert (f"~ a.example.com: kind {old} -> {new}  (" in done.stdout) == (old != new)
