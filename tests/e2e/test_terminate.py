"""TLS that ends here, and bytes that go on as they are, to a backend that speaks no HTTP (`terminate`): the bytes and the handshake."""

import concurrent.futures
import hashlib
import random
import socket
import ssl
import threading
import time

import pytest
from support import pp
from support.curl import s_client
from support.hello import hello
from support.proxy import sanitized
from support.terminated import HOST, VERSIONS, cut, finish, rest, terminated
from support.waiting import patience
from support.wire import Wire

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
    client.send(b"some")
    assert backend.take(4) == b"some", "the tunnel stands: before it does, a backend that was told nothing gets a FIN"
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
    data = random.Random(1).randbytes(16 << 20)
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


def test_names_that_strangers_choose_make_no_lines(secure, tap):
    """One line for the route: each name's own would be lines without end, and leave no room for anybody else's."""
    secure.start(terminated(tap.address, host="*.other.test"))
    for number in range(5):
        with pytest.raises(ssl.SSLError):
            secure.connect(f"h{number}.other.test")
    secure.edge.wait_access(5, reason="no_certificate")
    assert secure.edge.log().count("no certificate covers h") == 1, secure.edge.log()


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
