"""Limits per client address: a source that asks or takes too much is held to its share, over all workers, and nobody else."""

import select
import threading
import time

import pytest
from support import pp
from support.hello import hello
from support.http2 import H2Client
from support.ports import free_port
from support.site import HOST
from support.waiting import patience, until
from support.wire import Wire, request
from support.written import as_yaml

GREEDY, MODEST = "203.0.113.9", "203.0.113.10"


def settings(site, limits, *routes):
    """The clients' addresses are said: over http by a trusted proxy, over TLS in a PROXY header."""
    edge = site.edge
    return {
        "certificates": site.certificates,
        "routes": [site.route(), *routes],
        "limits": limits,
        "workers": 2,
        "listeners": [
            {"name": "http", "bind": [f"127.0.0.1:{edge.http}"], "protocol": "http", "trusted_proxies": ["127.0.0.1"]},
            {"name": "https", "bind": [f"127.0.0.1:{edge.https}"], "protocol": "tls", "accept_proxy_protocol": ["127.0.0.1"]},
        ],
    }


def ask(site, target, source):
    """A request on a connection, and so perhaps at a worker, of its own."""
    with site.wire() as wire:
        return wire.ask(target, HOST, headers=[("X-Forwarded-For", source)])


@pytest.mark.sanitizer
def test_a_source_that_asks_too_often_gets_429(site, origin):
    site.edge.start(**settings(site, {"requests_per_second_per_source": 3}))
    began = time.monotonic()
    answers = [ask(site, "/echo", GREEDY) for _ in range(60)]
    took = time.monotonic() - began
    let_in = [answer.status for answer in answers].count(200)
    assert [answer.status for answer in answers[:3]] == [200, 200, 200]
    assert {answer.status for answer in answers} == {200, 429}
    assert let_in <= 3 + 3 * took + 1
    assert len(origin.requests) == let_in, "a refused request goes nowhere"
    assert next(answer for answer in answers if answer.status == 429).get("retry-after") == "1"
    line = site.edge.wait_access(status=429)[0]
    assert (line["reason"], line["client"]) == ("source_limit", GREEDY)
    assert [ask(site, "/echo", f"203.0.113.{n}").status for n in range(20, 40)] == [200] * 20
    # An IPv6 client is its /64.
    network = [ask(site, "/echo", f"2001:db8:0:1::{n:x}").status for n in range(1, 30)]
    assert 429 in network
    assert ask(site, "/echo", "2001:db8:0:2::1").status == 200


@pytest.mark.sanitizer
@pytest.mark.parametrize("limit", ["connections_per_source", "new_connections_per_second_per_source"])
def test_connections_of_a_source_over_its_limit_reach_no_backend(site, tap, limit):
    """Counted over all workers; one more is closed before anything is connected to."""
    site.edge.start(**settings(site, {limit: 2}, {"host": "t.example.com", "passthrough": tap.address}) | {"workers": 4})
    reached = []

    def greet():
        try:
            while True:
                reached.append(tap.accept(60))
                reached[-1].send(b"x")
        except (OSError, ValueError):
            pass  # the test is over

    def tunnel(source):
        """An open connection that the backend greeted, or None where it was closed."""
        wire = Wire.connect(site.edge.https)
        wire.send(pp.v1(source, "198.51.100.1") + hello("t.example.com"))
        try:
            assert wire.take(1) == b"x"
        except (ConnectionError, AssertionError):
            wire.close()
            return None
        return wire

    threading.Thread(target=greet, daemon=True).start()
    began = time.monotonic()
    greedy = [tunnel(GREEDY) for _ in range(40)]
    took = time.monotonic() - began
    let_in = [wire for wire in greedy if wire is not None]
    assert greedy[0] is not None and greedy[1] is not None and None in greedy
    assert len(let_in) <= (2 if limit == "connections_per_source" else 2 + 2 * took + 1)
    assert len(reached) == len(let_in), "one that is refused goes nowhere"
    site.edge.wait_access(reason="too_many_connections", detail=lambda d: GREEDY in d)
    modest = tunnel(MODEST)
    assert modest is not None
    for wire in [*let_in, modest]:
        wire.close()


def test_the_limits_come_and_go_with_a_reload(site):
    site.edge.start(**settings(site, {}))
    assert {ask(site, "/echo", GREEDY).status for _ in range(20)} == {200}
    site.edge.reload(**settings(site, {"requests_per_second_per_source": 1}))
    assert 429 in {ask(site, "/echo", GREEDY).status for _ in range(20)}
    site.edge.reload(**settings(site, {}))
    assert {ask(site, "/echo", GREEDY).status for _ in range(20)} == {200}


def test_connections_from_before_a_limit_give_no_places_to_others(site):
    def held():
        """A kept connection that has been served, over TLS like those that change hands, or None."""
        wire = Wire.connect(site.edge.https)
        wire.send(pp.v1(GREEDY, "198.51.100.1"))
        try:
            wire.sock = site.authority.client_context(["http/1.1"]).wrap_socket(wire.sock, server_hostname=HOST)
            assert wire.ask("/echo", HOST).status == 200
        except (OSError, AssertionError):
            wire.close()
            return None
        return wire

    site.edge.start(**settings(site, {}))
    before = [held() for _ in range(5)]
    site.edge.reload(**settings(site, {"connections_per_source": 2}))
    within = [held() for _ in range(3)]
    assert [wire is not None for wire in within] == [True, True, False]
    for wire in before:
        wire.close()
    until(lambda: site.edge.metrics().total("edgemux_connections_active") == 2, "the five are gone")
    assert [held() for _ in range(3)] == [None] * 3
    within[0].close()
    until(held, "there is room again")


@pytest.mark.parametrize("way", ["download", "upload", "tunnel"])
def test_the_bandwidth_of_a_source_is_held_by_pausing(site, origin, tap, way):
    size, rate = 1 << 20, 512 * 1024
    tunnel = {"host": "t.example.com", "passthrough": tap.address}
    site.edge.start(**settings(site, {"bandwidth_per_source": rate}, tunnel))

    def took(source):
        began = time.monotonic()
        if way == "tunnel":
            first = hello("t.example.com")
            with Wire.connect(site.edge.https) as client:
                client.send(pp.v1(source, "198.51.100.1") + first)
                with tap.accept() as backend:
                    backend.take(len(first))
                    client.send(b"x" * size)
                    backend.take(size)
        else:
            sent = {"method": "POST", "body": b"x" * size} if way == "upload" else {}
            with site.wire() as wire:
                target = "/upload" if way == "upload" else f"/bytes/{size}"
                assert wire.ask(target, HOST, headers=[("X-Forwarded-For", source)], **sent).status == 200
        return time.monotonic() - began

    slow = took(GREEDY)
    # The last of it may still be on its way through the kernel's buffers, and a little may come at once.
    assert slow > 0.5 * size / rate, f"{slow:.2f} s for {size / rate:.1f} s worth of bytes"
    assert slow < patience(10) + size / rate
    # What one source owes the next does not pay: it begins with a full allowance.
    began = time.monotonic()
    assert ask(site, "/bytes/1024", MODEST).status == 200
    assert time.monotonic() - began < slow


def test_bandwidth_of_a_source_is_of_all_its_connections(site, origin):
    size, rate = 256 * 1024, 512 * 1024
    site.edge.start(**settings(site, {"bandwidth_per_source": rate}))
    wires = [site.wire() for _ in range(4)]
    began = time.monotonic()
    for wire in wires:
        wire.send(f"GET /bytes/{size} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {GREEDY}\r\n\r\n".encode())
    for wire in wires:
        assert len(wire.response().body) == size
        wire.close()
    took = time.monotonic() - began
    assert took > 0.5 * 4 * size / rate, f"{took:.2f} s"
    until(lambda: site.edge.metrics().total("edgemux_connections_active") == 0, "all are closed")


def shared(site, raw, limits):
    """One source: over http, and through tunnels of a tcp listener."""
    edge = site.edge
    return edge.base(routes=[site.route()], certificates=site.certificates, workers=1, limits=limits, listeners=[
        {"name": "http", "bind": [f"127.0.0.1:{edge.http}"], "protocol": "http"},
        {"name": "raw", "bind": [f"127.0.0.1:{raw}"], "protocol": "tcp", "upstream": {"endpoints": [site.origin.address]}}])


def test_requests_and_tunnels_of_a_source_take_turns(site):
    raw, rate, seconds = free_port(), 1 << 20, 4
    site.edge.start(as_yaml(shared(site, raw, {"bandwidth_per_source": rate})))
    wires = [Wire.connect(port) for port in [site.edge.http, raw] * 4]
    for wire in wires:
        wire.send(request(f"/bytes/{50 << 20}", HOST))
        wire.sock.setblocking(False)
    moved = dict.fromkeys((wire.sock for wire in wires), 0)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for sock in select.select(list(moved), [], [], left)[0]:
            moved[sock] += len(sock.recv(1 << 20))
    for wire in wires:
        wire.close()
    assert sum(moved.values()) <= 1.5 * rate * seconds
    assert min(moved.values()) >= max(moved.values()) / 2, moved.values()


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_answers_of_our_own_are_held_to_the_bandwidth_of_a_source(site, transport):
    """As those of an upstream are. Of HEAD there is nothing to hold up."""
    rate, size = 64 << 10, 40_000
    site.start(site.route({"path": "/r", "respond": {"body": "x" * size}}), limits={"bandwidth_per_source": rate})
    began = time.monotonic()
    for _ in range(6):
        answer = site.ask("/r", transport)
        assert answer.status == 200 and answer.body == b"x" * size
    took = time.monotonic() - began
    assert took > (6 * size - 2 * rate) / rate, took
    assert site.ask("/r", transport, method="HEAD").get("content-length") == str(size)


@pytest.mark.sanitizer
def test_malformed_requests_of_a_source_count_for_its_rate(site, closing):
    """Over HTTP/2 they cost the client little, and leave the connection open."""
    site.start(limits={"requests_per_second_per_source": 3})
    client = closing(H2Client(site.edge.https, site.authority))
    statuses = [client.get("no-slash").status for _ in range(30)]
    assert statuses[0] == 400 and statuses.count(429) > 10, statuses
    assert set(statuses) == {400, 429}


@pytest.mark.sanitizer
def test_malformed_requests_behind_a_trusted_proxy_are_nobodys(site):
    """Nobody knows whose they are, and the proxy's own would suffer."""
    site.start(limits={"requests_per_second_per_source": 3}, listeners=[
        {"name": "http", "bind": [f"127.0.0.1:{site.edge.http}"], "protocol": "http", "trusted_proxies": ["127.0.0.1"]}])
    for _ in range(10):
        with site.wire() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
            assert wire.response().status == 400
    assert site.ask("/bytes/10").status == 200


@pytest.mark.parametrize("before", [None, 1024])
def test_a_bandwidth_counts_from_when_it_was_written(site, before):
    """What was moved without one is not owed, and what was owed under a slip of the pen is forgotten with it."""
    raw = free_port()
    limits = {"bandwidth_per_source": before} if before else {}
    site.edge.start(as_yaml(shared(site, raw, limits)))
    tunnels = [Wire.connect(raw) for _ in range(4)]
    for tunnel in tunnels:
        tunnel.send(request(f"/bytes/{20 << 20}", HOST))
        tunnel.take(4000 if before else 20 << 20)
    generation = site.edge.generation()
    site.edge.write(shared(site, raw, {"bandwidth_per_source": 1 << 20}))
    site.edge.wait_generation(generation + 1)
    began = time.monotonic()
    for tunnel in tunnels[1:] if before else ():
        tunnel.close()  # one is left that waits since before
    tunnels[0].send(request("/bytes/10", HOST))
    assert site.ask("/bytes/100000").status == 200
    tunnels[0].take(100_000 if before else 10)
    assert time.monotonic() - began < patience(5)
