"""Passthrough: the tenant's own TLS, untouched, by server name; and what becomes of the connection over its life."""

import concurrent.futures
import hashlib
import json
import threading
import time

import pytest
from support.curl import curl, curl_ok, s_client
from support.hello import hello
from support.proxy import sanitized
from support.waiting import until
from support.wire import Wire


def talk(edge, tap, name, port=None):
    """A client and a backend with a tunnel between them; the hello is taken off already."""
    client = Wire.connect(port or edge.https)
    first = hello(name)
    client.send(first)
    backend = tap.accept()
    assert backend.take(len(first)) == first
    return client, backend


@pytest.mark.sanitizer
def test_the_client_sees_the_backends_certificate_byte_for_byte(edge, nginx, authority):
    pair = authority.issue("shop.example.com", kind="rsa")
    server = nginx("shop", pair)
    edge.start(routes=[{"host": "shop.example.com", "passthrough": server.address}])
    body = curl_ok("https://shop.example.com:{port}/", port=edge.https, ca=authority.path)
    assert body == b"shop shop.example.com\n"
    for version in ("-tls1_2", "-tls1_3"):
        shown = s_client(edge.https, "-showcerts", version, name="shop.example.com")
        assert pair.cert_pem.strip() in shown.stdout, shown.stdout
    line = edge.wait_access(kind="connection", sni="shop.example.com")[0]
    assert line["endpoint"] == server.address and line["bytes_in"] > 200 and line["bytes_out"] > 500


@pytest.mark.sanitizer
def test_exact_beats_wildcard_and_longer_beats_shorter(edge, taps):
    exact, wide, long = taps(), taps(), taps()
    edge.start(routes=[
        {"host": "*.example.com", "passthrough": wide.address},
        {"host": "a.example.com", "passthrough": exact.address},
        {"hosts": ["*.deep.example.com"], "passthrough": long.address},
    ])
    for name, tap in (
        ("a.example.com", exact), ("A.Example.COM", exact), ("b.example.com", wide), ("x.y.example.com", wide),
        ("x.deep.example.com", long), ("deep.example.com", wide), ("x.a.example.com", wide),
    ):
        client, backend = talk(edge, tap, name)
        backend.send(b"for " + name.encode())
        assert client.take(4 + len(name)) == b"for " + name.encode()
        client.close()
        backend.close()
    # A wildcard never covers its apex.
    with Wire.connect(edge.https) as client:
        client.send(hello("example.com"))
        assert client.rest_or_reset() == b""
    assert all(tap.nobody_comes(0.05) for tap in (exact, wide, long))


def test_a_name_belongs_to_its_listeners_only(edge, taps):
    api, wide = taps(), taps()
    edge.start(routes=[
        {"host": "demo.k8s.example.com", "listeners": ["kube-api"], "passthrough": api.address},
        {"host": "*.k8s.example.com", "passthrough": wide.address},
    ])
    client, backend = talk(edge, api, "demo.k8s.example.com", edge.kube)
    backend.send(b"x")
    assert client.take(1) == b"x"
    # It is owned, though not here: it is unknown on this listener and does not fall to the wildcard.
    with Wire.connect(edge.https) as other:
        other.send(hello("demo.k8s.example.com"))
        assert other.rest_or_reset() == b""
    assert wide.nobody_comes(0.1) and api.nobody_comes(0.1)
    edge.wait_access(sni="demo.k8s.example.com", listener="https", reason="unknown_host")


@pytest.mark.sanitizer
def test_443_and_6443_at_once_beside_terminated_hosts(edge, nginx, authority):
    shop = nginx("shop", authority.issue("shop.example.com"))
    api = nginx("api", authority.issue("api.example.com"))
    own = authority.issue("own.example.com")
    edge.start(
        certificates=[{"cert": str(own.cert), "key": str(own.key)}],
        routes=[
            {"host": "shop.example.com", "passthrough": shop.address},
            {"host": "api.example.com", "listeners": ["kube-api"], "passthrough": {"endpoints": [api.address]}},
            {"host": "own.example.com", "rules": [{"path": "/", "respond": {"status": 200, "body": "own\n"}}]},
        ],
    )

    def ask(host, port):
        return curl_ok(f"https://{host}:{{port}}/", port=port, ca=authority.path)

    jobs = [("shop.example.com", edge.https, b"shop shop.example.com\n"),
            ("shop.example.com", edge.kube, b"shop shop.example.com\n"),
            ("api.example.com", edge.kube, b"api api.example.com\n"),
            ("own.example.com", edge.https, b"own\n"), ("own.example.com", edge.kube, b"own\n")] * 4
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for (_, _, expected), got in zip(jobs, pool.map(lambda job: ask(job[0], job[1]), jobs)):
            assert got == expected


def test_a_bind_without_address_takes_ipv4_and_ipv6(edge, tap):
    config = edge.base(routes=[{"host": "a.example.com", "passthrough": tap.address}])
    config["listeners"][1]["bind"] = [f":{edge.https}"]
    edge.start(**config)
    for address, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
        first = hello("a.example.com")
        with Wire.connect(edge.https, host=address) as client:
            client.send(first)
            backend = tap.accept()
            assert backend.take(len(first)) == first
            backend.close()
            assert client.take_rest() == b""
        # An IPv4 client on an IPv6 socket is still an IPv4 client.
        edge.wait_access(kind="connection", client=lambda c: c and shown in c and "ffff" not in c)


@pytest.mark.sanitizer
def test_half_close_travels_from_the_client(edge, tap):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}])
    client, backend = talk(edge, tap, "a.example.com")
    client.send(b"q" * 200_000)
    client.finish()
    assert backend.take_rest() == b"q" * 200_000
    backend.send(b"r" * 300_000)
    backend.finish()
    assert client.take_rest() == b"r" * 300_000
    line = edge.wait_access(kind="connection", reason="done")[0]
    assert line["bytes_out"] == 300_000 and line["bytes_in"] >= 200_000


@pytest.mark.sanitizer
def test_half_close_travels_from_the_backend(edge, tap):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}])
    client, backend = talk(edge, tap, "a.example.com")
    backend.send(b"bye" * 50_000)
    backend.finish()
    assert client.take_rest() == b"bye" * 50_000
    client.send(b"late" * 50_000)
    client.finish()
    assert backend.take_rest() == b"late" * 50_000
    edge.wait_access(kind="connection", reason="done")


def test_a_hello_with_the_fin_behind_it_still_arrives(edge, tap):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}])
    first = hello("a.example.com")
    with Wire.connect(edge.https) as client:
        client.send(first + b"and more")
        client.finish()
        backend = tap.accept()
        assert backend.take_rest() == first + b"and more"
        backend.send(b"seen")
        backend.close()
        assert client.take_rest() == b"seen"


def test_a_reset_on_one_side_ends_the_other(edge, tap):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}])
    client, backend = talk(edge, tap, "a.example.com")
    client.reset()
    assert backend.rest_or_reset() == b""
    client, backend = talk(edge, tap, "a.example.com")
    backend.reset()
    assert client.rest_or_reset() == b""
    edge.wait_access(2, kind="connection")


@pytest.mark.sanitizer
def test_the_next_endpoint_takes_over_when_one_refuses(edge, tap, dead_address):
    edge.start(routes=[{"host": "a.example.com", "passthrough": {"endpoints": [dead_address, tap.address]}}])
    for _ in range(4):  # wherever round robin begins
        client, backend = talk(edge, tap, "a.example.com")
        backend.send(b"here")
        assert client.take(4) == b"here"
        client.close()
        backend.close()
    edge.wait_access(4, kind="connection", endpoint=tap.address)


def test_the_connect_deadline_leads_to_the_next_endpoint_or_the_end(edge, tap, blackhole):
    edge.start(
        timeouts={"connect": "300ms"},
        routes=[
            {"host": "a.example.com", "passthrough": {"endpoints": [blackhole.address, tap.address]}},
            {"host": "b.example.com", "passthrough": blackhole.address},
        ],
    )
    for _ in range(2):
        client, backend = talk(edge, tap, "a.example.com")
        client.close()
        backend.close()
    began = time.monotonic()
    with Wire.connect(edge.https) as client:
        client.send(hello("b.example.com"))
        assert client.rest_or_reset() == b""
    assert time.monotonic() - began >= 0.25
    line = edge.wait_access(sni="b.example.com")[0]
    assert line["reason"] == "connect_timeout"


def test_nobody_behind_it_closes_the_client_and_says_why(edge, dead_address):
    edge.start(routes=[{"host": "a.example.com", "passthrough": dead_address}])
    with Wire.connect(edge.https) as client:
        client.send(hello("a.example.com"))
        assert client.rest_or_reset() == b""
    line = edge.wait_access(sni="a.example.com")[0]
    assert line["reason"] == "connect_failed"
    assert dead_address in json.dumps(line)


def test_an_idle_tunnel_ends_and_a_busy_one_stays(edge, tap):
    edge.start(timeouts={"tunnel_idle": "1s"}, routes=[{"host": "a.example.com", "passthrough": tap.address}])
    busy, busy_backend = talk(edge, tap, "a.example.com")
    idle, idle_backend = talk(edge, tap, "a.example.com")
    began = time.monotonic()
    while time.monotonic() - began < 2.5:  # traffic in one direction is enough
        busy.send(b".")
        assert busy_backend.take(1) == b"."
        assert busy.is_quiet(0.2)
    assert idle.rest_or_reset() == b"" and idle_backend.rest_or_reset() == b""
    busy_backend.send(b"still here")
    assert busy.take(10) == b"still here"
    edge.wait_access(reason="tunnel_idle")


def test_a_half_closed_tunnel_has_its_own_deadline(edge, tap):
    edge.start(timeouts={"half_closed": "700ms"}, routes=[{"host": "a.example.com", "passthrough": tap.address}])
    client, backend = talk(edge, tap, "a.example.com")
    began = time.monotonic()
    client.finish()
    assert backend.take_rest() == b""
    assert client.rest_or_reset() == b""
    assert time.monotonic() - began >= 0.4
    edge.wait_access(reason="half_closed_timeout")


def test_allow_and_deny_hold_for_passthrough(edge, tap):
    edge.start(routes=[
        {"host": "open.example.com", "passthrough": tap.address, "allow": ["127.0.0.0/8"]},
        {"host": "shut.example.com", "passthrough": tap.address, "allow": ["127.0.0.0/8"], "deny": ["127.0.0.1"]},
    ])
    client, backend = talk(edge, tap, "open.example.com")
    backend.send(b"x")
    assert client.take(1) == b"x"
    with Wire.connect(edge.https) as refused:
        refused.send(hello("shut.example.com"))
        assert refused.rest_or_reset() == b""
    assert tap.nobody_comes()
    edge.wait_access(sni="shut.example.com", reason="access_denied")


def test_back_pressure_reaches_the_sender(edge, tap):
    """A reader that does not read stops the writer, not the proxy's memory."""
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}])
    client, backend = talk(edge, tap, "a.example.com")
    rest = edge.pss()
    client.sock.settimeout(1.5)
    sent = 0
    with pytest.raises((TimeoutError, OSError)):
        while sent < 512 << 20:
            client.send(bytes(1 << 20))
            sent += 1 << 20
    assert sent < 256 << 20
    if not sanitized():
        assert edge.pss() - rest < 16 * 1024
    backend.close()


class PeakOf:
    """The highest Pss of a proxy while the block runs, over what it was before, in KiB."""

    def __init__(self, edge):
        self._edge, self._done = edge, threading.Event()
        self.rest = self.peak = edge.pss()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._edge.pss())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    @property
    def above(self):
        return self.peak - self.rest


def up_and_down(edge, nginx, origin, authority, path, digest):
    server = nginx("big", authority.issue("big.example.com"), origin=origin)
    (server.root / "file").symlink_to(path)
    edge.start(routes=[{"host": "big.example.com", "passthrough": server.address}])
    curl_ok("https://big.example.com:{port}/", port=edge.https, ca=authority.path)
    with PeakOf(edge) as memory:
        answer = json.loads(curl_ok("https://big.example.com:{port}/upload", "-T", path, port=edge.https,
                                    ca=authority.path, within=300))
        got = path.parent / "came-down"
        curl_ok("https://big.example.com:{port}/files/file", "-o", got, port=edge.https, ca=authority.path, within=300)
    assert answer == {"sha256": digest, "length": path.stat().st_size}
    assert digest_of(got) == digest
    got.unlink()
    if not sanitized():
        assert memory.above <= 16 * 1024, f"{memory.above} KiB above rest"


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@pytest.mark.sanitizer
def test_64_mib_each_way_with_equal_hashes_and_little_memory(edge, nginx, origin, authority, big_file):
    up_and_down(edge, nginx, origin, authority, big_file, digest_of(big_file))


@pytest.mark.full
def test_1_gib_each_way_with_equal_hashes_and_little_memory(edge, nginx, origin, authority, tmp_path, big_file):
    path = tmp_path / "1g"
    with open(path, "wb") as file:
        for number in range(16):
            file.write(number.to_bytes(8, "big") + big_file.read_bytes()[8:])
    up_and_down(edge, nginx, origin, authority, path, digest_of(path))
    path.unlink()


@pytest.mark.sanitizer
def test_200_clients_at_once(edge, nginx, authority):
    """All 200 connections stand at the same time, each gets its own answer, then all ask again."""
    server = nginx("many", authority.issue("*.example.com"))
    edge.start(routes=[{"host": "*.example.com", "passthrough": server.address}])
    context = authority.client_context()

    def connect(number):
        name = f"t{number}.example.com"
        return name, Wire.connect(edge.https, tls=context, name=name, within=60)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        clients = list(pool.map(connect, range(200)))

        def ask(pair):
            name, wire = pair
            return wire.ask("/", name).body == f"many {name}\n".encode()

        for _ in range(2):
            assert all(pool.map(ask, clients))
    assert edge.metrics().total("edgemux_connections_total", listener="https") >= 200
    for _, wire in clients:
        wire.close()
    until(lambda: len(edge.access()) == 200, lambda: f"200 access lines, there are {len(edge.access())}")


def test_descriptors_come_back(edge, nginx, authority):
    server = nginx("many", authority.issue("a.example.com"))
    edge.start(routes=[{"host": "a.example.com", "passthrough": server.address}])

    def once():
        assert curl("https://a.example.com:{port}/", port=edge.https, ca=authority.path).returncode == 0

    once()
    until(lambda: len(edge.access()) == 1, "the first connection is over")
    before = edge.descriptors()
    for _ in range(10):
        once()
    until(lambda: len(edge.access()) == 11, "all are over")
    until(lambda: edge.descriptors() <= before, lambda: f"{before} descriptors, there are {edge.descriptors()}")
