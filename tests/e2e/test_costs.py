"""What things cost that must stay cheap: memory at rest, allocations, start with many certificates.

Bounds are those that the comparison (docs/performance.md) holds against other proxies, with room for nothing else: what
is measured here does not depend on how busy the machine is.
"""

import concurrent.futures
import os
import ssl
import time
from pathlib import Path

import pytest
from support.hello import hello
from support.proxy import sanitized
from support.site import HOST
from support.wire import Wire, request

# The log's queue takes memory as it fills for the first time.
QUIET = {"workers": 1, "log": {"level": "info", "access": {"format": "off"}}}

no_sanitizer = pytest.mark.skipif(sanitized(), reason="figures of memory mean nothing in a sanitizer build")


def at_rest(edge, connect, closing, count=1000, before=150):
    """KiB of Pss per idle connection, beyond the first ones, which bring what all share."""
    for _ in range(before):
        closing(connect())
    rest = edge.pss("Pss_Anon")
    for _ in range(count):
        closing(connect())
    return (edge.pss("Pss_Anon") - rest) / count


@no_sanitizer
def test_an_idle_tls_connection_costs_5_kib(site, closing):
    site.start(site.route({"path": "/", "respond": {"status": 200, "body": "x"}}), **QUIET)
    context = site.authority.client_context(["http/1.1"], version=ssl.TLSVersion.TLSv1_3)

    def connect():
        wire = Wire.connect(site.edge.https, tls=context, name=HOST)
        assert wire.ask("/", HOST).status == 200
        return wire

    assert at_rest(site.edge, connect, closing) <= 5.0


@no_sanitizer
def test_an_idle_passthrough_connection_costs_1_kib(edge, tap, closing):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}], **QUIET)
    bytes_of_hello = hello("a.example.com")

    def connect():
        wire = Wire.connect(edge.https)
        wire.send(bytes_of_hello)
        backend = closing(tap.accept())
        assert backend.take(len(bytes_of_hello)) == bytes_of_hello
        return wire

    assert at_rest(edge, connect, closing) <= 1.0


# Threads that look after the configuration and the process, each in its own time.
ASIDE = {"edgemux", "edgemux-compile", "discovery"}


def taken(edge, allocations, work, rest):
    """What the threads on the path took from the heap during `work`, after `rest` of it has brought everything into use."""
    work(rest)
    before = allocations.marks()
    work(10_000)
    found = {name_of(edge, thread): sizes for thread, sizes in allocations.since(before).items()}
    return {name: sizes for name, sizes in found.items() if name not in ASIDE}


def name_of(edge, thread):
    return Path(f"/proc/{edge.process.pid}/task/{thread}/comm").read_text().strip()


@no_sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_requests_on_kept_connections_allocate_nothing(site, nginx, allocations, closing, transport):
    backend = nginx("steady")
    ample = {"requests_per_second_per_source": 1_000_000, "bandwidth_per_source": "1GiB"}
    site.start(site.route({"path": "/", "upstream": backend.address}), env=allocations.env, workers=1, limits=ample)
    wires = [closing(site.wire(transport)) for _ in range(4)]
    question = request("/", HOST)
    length = []

    def ask(count):
        for i in range(count):
            wire = wires[i % len(wires)]
            wire.send(question)
            if not length:
                head = wire.take_through(b"\r\n\r\n")
                length.append(len(head) + len(wire.take(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))))
            else:
                wire.take(length[0])

    assert taken(site.edge, allocations, ask, 1000) == {}
    assert "worker-0" in taken(site.edge, allocations, lambda _: closing(site.wire(transport)).ask("/", HOST), 0), "it counts"


@no_sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_a_request_on_kept_connections_takes_four_data_calls(site, nginx, data_calls, transport):
    """Received, sent on, answered, answered: one call each."""
    backend = nginx("steady")
    site.start(site.route({"path": "/", "upstream": backend.address}), env=data_calls.env, **QUIET)
    with site.wire(transport) as wire:
        for _ in range(20):
            wire.ask("/", HOST)
        before = data_calls.marks()
        [worker] = [thread for thread in before if name_of(site.edge, thread) == "worker-0"]
        for _ in range(500):
            assert wire.ask("/", HOST).status == 200
        assert data_calls.marks()[worker] - before[worker] == 2000


@no_sanitizer
def test_a_relayed_gb_allocates_nothing(edge, tap, allocations, closing):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}], env=allocations.env, workers=1)
    bytes_of_hello = hello("a.example.com")
    client = closing(Wire.connect(edge.https))
    client.send(bytes_of_hello)
    backend = closing(tap.accept())
    backend.take(len(bytes_of_hello))
    chunk, buffer = bytes(1 << 20), bytearray(1 << 20)

    def relay(chunks):
        """From the backend to the client."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            sending = pool.submit(lambda: [backend.send(chunk) for _ in range(chunks)])
            left = chunks << 20
            while left:
                left -= client.sock.recv_into(buffer, min(left, len(buffer)))
            sending.result()

    assert taken(edge, allocations, lambda work: relay(work // 10), 100) == {}


@no_sanitizer
@pytest.mark.full
def test_5000_certificates_start_quickly_and_cost_10_kib_each(site, closing):
    """Start: processor time, which another program on the machine does not lengthen."""
    count = 5000
    folder = site.edge.folder / "certs"
    for i in range(count):
        pair = site.authority.issue(f"h{i}.example.com")
        pair.install(folder / f"h{i}.pem", folder / f"h{i}.key")
    routes = [{"host": f"h{i}.example.com", "rules": [{"path": "/", "respond": {"status": 200}}]} for i in range(count)]

    def cost(certificates):
        site.edge.start(certificates=certificates, routes=routes, **QUIET)
        fields = Path(f"/proc/{site.edge.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK"), site.edge.pss("Pss_Anon")

    seconds_without, memory_without = cost([{"cert": str(site.pair.cert), "key": str(site.pair.key)}])
    site.edge.stop()
    seconds, memory = cost([{"directory": str(folder)}])
    assert seconds - seconds_without < 2
    assert (memory - memory_without) / count <= 10
    with Wire.connect(site.edge.https, tls=site.authority.client_context(), name="h4321.example.com") as wire:
        assert wire.ask("/", "h4321.example.com").status == 200


def test_a_server_that_speaks_first_is_not_kept_waiting(edge, tap, closing):
    """The kernel may hold the packet that ends a handshake back for 200 ms, for bytes of ours to go with it: not here."""
    listener = {"name": "mail", "bind": [f"127.0.0.1:{edge.kube}"], "protocol": "tcp", "upstream": "mail"}
    edge.start(listeners=[listener], upstreams={"mail": {"endpoints": [tap.address]}})
    took = []
    for _ in range(10):
        begun = time.monotonic()
        client = closing(Wire.connect(edge.kube))
        tap.accept().send(b"220 hello\r\n")
        assert client.take(11) == b"220 hello\r\n"
        took.append(time.monotonic() - begun)
    assert min(took) < 0.15
