"""How requests and tunnels are spread over endpoints, and what an upstream's limits do."""

import re
import socket
from collections import Counter

import pytest
from support.hello import hello
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request

pytestmark = pytest.mark.sanitizer


@pytest.fixture
def three(origins):
    return [origins(name) for name in ("one", "two", "three")]


def app(backends, weights=None, **more):
    endpoints = [{"address": b.address, "weight": w} for b, w in zip(backends, weights or [1] * len(backends))]
    return {"app": {"endpoints": endpoints, **more}}


def start(site, upstreams, **over):
    return site.start(site.route({"path": "/", "upstream": "app"}), upstreams=upstreams, workers=1, **over)


def names(site, count, wire=None):
    """Who answered `count` requests, one after the other on one connection."""
    with wire or site.wire() as open_wire:
        return Counter(open_wire.ask("/who", HOST).body.split()[0].decode() for _ in range(count))


def from_source(site, address):
    sock = socket.create_connection(("127.0.0.1", site.edge.http), source_address=(address, 0))
    return Wire(sock)


def test_round_robin_follows_the_weights_and_zero_takes_nothing(site, three):
    start(site, app(three, [3, 1, 0]))
    assert names(site, 40) == {"one": 30, "two": 10}


def test_least_connections_goes_where_least_is_under_way(site, three):
    start(site, app(three, balance="least_connections"))
    waiting = []
    for _ in range(6):
        wire = site.wire()
        wire.send(request("/gate/hold", HOST))
        waiting.append(wire)
        until(lambda: sum(len(b.requests) for b in three) == len(waiting), "each reaches a backend")
    assert [len(b.requests) for b in three] == [2, 2, 2]
    # Those of one end; the next two go there.
    three[1].gate("hold").set()
    until(lambda: three[1].open_connections() >= 0 and len(site.edge.access()) >= 2, "two are answered")
    for _ in range(2):
        wire = site.wire()
        wire.send(request("/gate/later", HOST))
        waiting.append(wire)
        until(lambda: sum(len(b.requests) for b in three) == len(waiting), "each reaches a backend")
    assert [len(b.requests) for b in three] == [2, 4, 2]
    for backend in three:
        for gate in ("hold", "later"):
            backend.gate(gate).set()
    for wire in waiting:
        assert wire.response().status == 200
        wire.close()


def test_random_two_uses_all_and_avoids_the_busiest(site, three):
    start(site, app(three, balance="random_two"))
    seen = names(site, 60)
    assert set(seen) == {"one", "two", "three"} and min(seen.values()) >= 5


def test_source_hash_keeps_a_client_at_its_endpoint(site, three):
    start(site, app(three, balance="source_hash"))
    owners = {}
    for number in range(1, 31):
        address = f"127.0.1.{number}"
        seen = names(site, 3, from_source(site, address))
        assert len(seen) == 1, f"{address} went to {seen}"
        owners[address] = next(iter(seen))
    assert len(set(owners.values())) == 3
    # The same for tunnels, for other workers, and after a restart.
    site.edge.stop()
    site.start(site.route({"path": "/", "upstream": "app"}), upstreams=app(three, balance="source_hash"), workers=2)
    for address, owner in owners.items():
        assert names(site, 1, from_source(site, address)) == {owner: 1}
    # One endpoint is taken out: clients of the others stay where they are, nearly all of them.
    gone = [b for b in three if b.name != "two"]
    site.edge.reload(certificates=site.certificates, routes=[site.route({"path": "/", "upstream": "app"})],
                     upstreams=app(gone, balance="source_hash"))
    moved = [a for a, owner in owners.items() if owner != "two" and names(site, 1, from_source(site, a)) != {owner: 1}]
    assert len(moved) <= 3, moved


def test_weights_hold_for_tunnels_too(edge, taps):
    one, two = taps(), taps()
    upstreams = {"app": {"endpoints": [{"address": one.address, "weight": 2}, two.address]}}
    edge.start(upstreams=upstreams, routes=[{"host": "a.example.com", "passthrough": "app"}], workers=1)
    clients = []
    for _ in range(6):
        clients.append(Wire.connect(edge.https))
        clients[-1].send(hello("a.example.com"))
    for tap, count in ((one, 4), (two, 2)):
        for _ in range(count):
            assert tap.accept().take(1) == b"\x16"
    for client in clients:
        client.close()


def test_requests_in_flight_are_limited_over_all_workers(site):
    site.start(site.route({"path": "/", "upstream": "app"}), workers=2,
               upstreams={"app": {"endpoints": [site.origin.address], "limits": {"requests": 3}}})
    waiting = [site.wire() for _ in range(3)]
    for wire in waiting:
        wire.send(request("/gate/open", HOST))
    site.origin.wait_for_requests(3)
    for _ in range(4):
        answer = site.ask("/echo")
        assert answer.status == 503 and b"app" in answer.body
    site.edge.wait_access(4, status=503, reason="upstream_limit", detail="limits.requests is reached")
    assert len(site.origin.requests) == 3
    # A client that leaves gives its place back, and so does an answer.
    waiting.pop().reset()
    until(lambda: site.ask("/echo").status == 200, "there is room again")
    site.origin.gate("open").set()
    for wire in waiting:
        assert wire.response().status == 200
        wire.close()
    assert [site.ask("/echo").status for _ in range(5)] == [200] * 5


# ---- limits.connections, and who waits for a place ----


def limited(site, limits, **more):
    return {"app": {"endpoints": [site.origin.address], "limits": limits, **more}}


def test_requests_wait_for_a_connection_in_order_and_no_more_than_may(site):
    start(site, limited(site, {"connections": 1, "pending": 2}, timeouts={"pending": "60s"}))
    wires = []
    for number in range(3):
        wires.append(site.wire())
        wires[-1].send(request(f"/gate/open?{number}", HOST))
        until(lambda n=number: site.edge.metrics().total("edgemux_upstream_pending", upstream="app") == n,
              f"{number} wait")
    answer = site.ask("/echo")
    assert answer.status == 503 and b"app" in answer.body
    site.edge.wait_access(status=503, reason="upstream_limit", detail="limits.pending is reached")
    # One that gives up leaves the queue to the others.
    wires.pop(1).reset()
    until(lambda: site.edge.metrics().total("edgemux_upstream_pending", upstream="app") == 1, "one waits")
    site.origin.gate("open").set()
    assert [wire.response().status for wire in wires] == [200, 200]
    assert [seen.target for seen in site.origin.requests] == ["/gate/open?0", "/gate/open?2"]
    assert site.origin.connections == 1, "the connection is handed on"
    for wire in wires:
        wire.close()


def test_who_waits_too_long_is_told_why(site):
    start(site, limited(site, {"connections": 1, "pending": 5}, timeouts={"pending": "300ms"}))
    with site.wire() as first, site.wire() as second:
        first.send(request("/gate/open", HOST))
        site.origin.wait_for_requests(1)
        second.send(request("/echo", HOST))
        assert second.response().status == 503
        line, = site.edge.wait_access(status=503, reason="upstream_limit")
        assert "no connection became free within 300 ms" in line["detail"]
        assert line["duration_ms"] >= 290, line
        site.origin.gate("open").set()
        assert first.response().status == 200
        # The queue is empty again.
        second.send(request("/echo", HOST))
        assert second.response().status == 200


def test_an_idle_connection_of_another_worker_makes_room(site):
    """Each request comes over a connection of its own, so to any worker; the only place is taken by whoever was last."""
    site.start(site.route({"path": "/", "upstream": "app"}), workers=4,
               upstreams=limited(site, {"connections": 1, "pending": 1}, timeouts={"pending": "30s"}))
    assert [site.ask("/who").status for _ in range(40)] == [200] * 40
    assert site.origin.connections > 1
    assert site.edge.metrics().total("edgemux_upstream_overflows_total", upstream="app") == 0


def test_waiting_works_across_workers(site):
    site.start(site.route({"path": "/", "upstream": "app"}), workers=4,
               upstreams=limited(site, {"connections": 2, "pending": 100}, timeouts={"pending": "60s"}))
    wires = [site.wire() for _ in range(24)]
    for number, wire in enumerate(wires):
        wire.send(request(f"/bytes/{number}", HOST))
    for number, wire in enumerate(wires):
        answer = wire.response()
        assert (answer.status, len(answer.body)) == (200, number)
        wire.close()
    until(lambda: site.edge.metrics().total("edgemux_upstream_pending", upstream="app") == 0, "nobody waits")


def test_tunnels_wait_for_a_place_as_requests_do(edge, tap):
    """One has the place, one waits for it over all workers, the next is closed at once; and who waits too long is told."""
    app = {"endpoints": [tap.address], "limits": {"connections": 1, "pending": 1}}
    route = {"host": "t.example.com", "passthrough": "app"}
    first = hello("t.example.com")
    edge.start(routes=[route], upstreams={"app": {**app, "timeouts": {"pending": "30s"}}}, workers=4)

    def tunnel():
        wire = Wire.connect(edge.https)
        wire.send(first)
        return wire

    with tunnel() as one, tap.accept() as backend:
        assert backend.take(len(first)) == first
        with tunnel() as two:
            until(lambda: edge.metrics().total("edgemux_upstream_pending", upstream="app") == 1, "one waits")
            with tunnel() as three:
                assert three.rest_or_reset() == b""
            assert "limits.pending is reached" in edge.wait_access(reason="upstream_limit")[0]["detail"]
            assert re.search("route t.example.com: upstream app: connections are closed: limits.*is reached", edge.log())
            assert tap.nobody_comes()
            one.close()
            backend.take_rest()
            backend.close()
            with tap.accept() as next_backend:
                assert next_backend.take(len(first)) == first
                next_backend.send(b"your turn")
                assert two.take(9) == b"your turn"
                edge.reload(routes=[route], upstreams={"app": {**app, "timeouts": {"pending": "200ms"}}}, workers=4)
                with tunnel() as late:
                    assert late.rest_or_reset() == b""
                edge.wait_access(reason="upstream_limit", detail="upstream app: limits.connections is reached, and no "
                                 "connection became free within 200 ms")


def test_retries_are_at_most_a_fifth_of_the_requests(site):
    """A hundred are saved up; after that, one for every five requests."""
    site.origin.scripts["/"] = lambda call: call.answer(503)
    rule = {"path": "/", "upstream": site.origin.address, "retry": {"attempts": 2, "on": ["503"], "backoff": "1ms"}}
    site.start(site.route(rule), workers=1)
    with site.wire() as wire:
        for _ in range(200):
            assert wire.ask("/", HOST).status == 503
    assert 335 <= len(site.origin.requests) <= 200 + 100 + 200 // 5
