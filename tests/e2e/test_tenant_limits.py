"""Limits of tenants, and their shares of what all of them use: none takes what is another's."""

import multiprocessing
import select
import ssl
import statistics
import threading
import time

import pytest
from support.hello import hello
from support.house import ACME, says
from support.waiting import patience, until
from support.wire import Wire, request


def forwards(host, origin):
    return {"host": host, "on_http": "serve", "rules": [{"path": "/", "upstream": origin.address}]}


@pytest.mark.sanitizer
def test_connections_over_the_limit_are_closed_before_tls(house, taps):
    edge = house.edge
    a, b = taps(), taps()
    house.tenants["a"]["limits"] = {"connections": 2}
    house.write("a", [{"host": "a.example.test", "passthrough": a.address}])
    house.write("b", [{"host": "b.example.test", "passthrough": b.address}])
    house.start()

    def tunnel(name, tap, closing):
        closing.append(Wire.connect(edge.https))
        closing[-1].send(hello(name))
        return tap.accept()

    opened = []
    try:
        backend = tunnel("a.example.test", a, opened)
        tunnel("a.example.test", a, opened)
        with Wire.connect(edge.https) as client:
            client.send(hello("a.example.test"))
            assert client.rest_or_reset() == b""
        line = edge.wait_access(reason="tenant_limit")[0]
        assert line["tenant"] == "a" and not line.get("endpoint")
        assert a.nobody_comes()
        for _ in range(4):
            tunnel("b.example.test", b, opened)
        until(lambda: edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 2, "two are counted")
        assert edge.metrics().total("edgemux_tenant_refused_total", tenant="a", what="connection") == 1
        # The limit outlives a reload, and so does the count.
        edge.reload(**house.config(timeouts={"drain": "2s"}))
        with Wire.connect(edge.https) as client:
            client.send(hello("a.example.test"))
            assert client.rest_or_reset() == b""
        opened.pop(0).close()
        backend.close()
        until(lambda: edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 1, "one has gone")
        tunnel("a.example.test", a, opened)
    finally:
        for wire in opened:
            wire.close()


def test_challenges_for_a_solver_count_as_any_request(house, tap):
    """Else one that leads back to port 80 would go round until the whole process is full."""
    edge = house.edge
    house.tenants["a"]["limits"] = {"connections": 2}
    house.write("a", [says("a.example.test", "a", acme_solver=tap.address)])
    house.start()
    held = [Wire.connect(edge.http) for _ in range(2)]
    for client in held:
        client.send(request(ACME + "token", "a.example.test"))
    backends = [tap.accept() for _ in held]
    assert house.plain(ACME + "token", "a.example.test").status == 429
    assert tap.nobody_comes()
    for backend, client in zip(backends, held):
        backend.take_through(b"\r\n\r\n")
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert client.response().body == b"ok"
        client.close()
    until(lambda: edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 0, "they are given back")


@pytest.mark.sanitizer
def test_a_connection_to_port_80_counts_for_the_tenant_of_its_latest_request(house, origin):
    edge = house.edge
    house.tenants["a"]["limits"] = {"connections": 1}
    house.write("a", [says("a.example.test", "a"), forwards("up.a.example.test", origin)])
    house.write("b", [says("b.example.test", "b")])
    house.start()

    def open_of(tenant):
        return edge.metrics().total("edgemux_tenant_connections_active", tenant=tenant)

    with Wire.connect(edge.http) as first, Wire.connect(edge.http) as second:
        assert first.ask("/", "a.example.test").status == 200
        assert first.ask("/", "a.example.test").status == 200, "it is counted once"
        assert second.ask("/", "b.example.test").status == 200
        until(lambda: (open_of("a"), open_of("b")) == (1, 1), "each counts for its tenant")
        refused = second.ask("/echo", "up.a.example.test")
        assert (refused.status, refused.get("connection")) == (429, "close")
        assert second.rest_or_reset() == b""
        assert not origin.requests
        assert edge.wait_access(status=429)[0]["reason"] == "tenant_limit"
        # Challenges are answered whatever a tenant has open.
        (house.folder("a") / "tokens" / "tok").write_text("tok.key")
        assert house.plain(ACME + "tok", "a.example.test").status == 200
        # The first one asks for another tenant's host now: a place is free.
        assert first.ask("/", "b.example.test").status == 200
        until(lambda: (open_of("a"), open_of("b")) == (0, 1), "it has moved")
        assert house.plain("/", "a.example.test").status == 200
    until(lambda: (open_of("a"), open_of("b")) == (0, 0), "all are gone")


def test_the_limit_of_connections_is_of_all_workers_together(house, origin):
    """On either port, of whatever worker: never more than two at a time, and nothing of the others reaches the backend."""
    edge = house.edge
    house.tenants["a"]["limits"] = {"connections": 2}
    house.write("a", [forwards("a.example.test", origin)])
    house.write("b", [])
    house.start(workers=4)
    context = house.authority.client_context(["http/1.1"])
    held = []
    try:
        for _ in range(24):
            try:
                held.append(Wire.connect(edge.https, tls=context, name="a.example.test"))
            except (OSError, ssl.SSLError):
                pass  # closed before TLS
        assert len(held) == 2
        assert [house.plain("/echo", "a.example.test").status for _ in range(12)] == [429] * 12
        assert not origin.requests
        assert [wire.ask("/echo", "a.example.test").status for wire in held] == [200, 200]
        assert edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 2
    finally:
        for wire in held:
            wire.close()
    until(lambda: house.plain("/echo", "a.example.test").status == 200, "the places are free again")


def test_new_connections_over_the_rate_are_closed(house):
    house.tenants["a"]["limits"] = {"new_connections_per_second": 1}
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    assert house.ask("a.example.test") == (200, "a")
    answers = [house.ask("a.example.test") for _ in range(10)]
    assert None in answers
    assert [house.ask("b.example.test") for _ in range(10)] == [(200, "b")] * 10
    until(lambda: house.ask("a.example.test") == (200, "a"), "another one comes in", every=0.3)


def test_a_connection_that_goes_to_and_fro_is_new_to_each_tenant_once(house):
    """One connection of a load balancer before port 80 carries everybody's requests."""
    for name in ("a", "b"):
        house.tenants[name]["limits"] = {"new_connections_per_second": 2}
        house.write(name, [says(f"{name}.example.test", name)])
    house.start(routes=[says("own.example.org", "platform")])
    with Wire.connect(house.edge.http) as wire:
        for _ in range(20):
            for host, body in (("a.example.test", b"a"), ("b.example.test", b"b"), ("own.example.org", b"platform")):
                answer = wire.ask("/", host)
                assert (answer.status, answer.body) == (200, body)
    for name in ("a", "b"):
        assert house.edge.metrics().total("edgemux_tenant_connections_total", tenant=name) == 1
    assert 429 in [house.plain("/", "a.example.test").status for _ in range(20)], "others are new"


def test_rates_are_of_all_workers_together(house):
    """Every request has a connection, and so perhaps a worker, of its own."""
    house.tenants["a"]["limits"] = {"requests_per_second": 3}
    house.tenants["b"]["limits"] = {"new_connections_per_second": 3}
    for name in ("a", "b"):
        house.write(name, [says(f"{name}.example.test", name)])
    house.start(workers=4)
    for name in ("a", "b"):
        began = time.monotonic()
        statuses = [house.plain("/", f"{name}.example.test").status for _ in range(100)]
        took = time.monotonic() - began
        assert set(statuses) == {200, 429}
        assert 3 <= statuses.count(200) <= 3 + 3 * took + 1


@pytest.mark.sanitizer
def test_requests_over_the_rate_get_429(house, origin):
    edge = house.edge
    house.tenants["a"]["limits"] = {"requests_per_second": 2}
    house.write("a", [forwards("a.example.test", origin)])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    answers = []
    with Wire.connect(edge.https, tls=house.authority.client_context(["http/1.1"]), name="a.example.test") as wire:
        for _ in range(200):
            answers.append(wire.ask("/echo", "a.example.test"))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses[:2] == [200, 200]
    assert len(origin.requests) == statuses.count(200), "a refused request goes nowhere"
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.get("retry-after") == "1"
    until(lambda: house.plain("/echo", "a.example.test").status == 429, "the rate is the tenant's on every listener")
    assert [house.ask("b.example.test") for _ in range(10)] == [(200, "b")] * 10
    line = edge.wait_access(status=429)[0]
    assert (line["tenant"], line["reason"]) == ("a", "tenant_limit")
    metrics = edge.metrics()
    assert metrics.total("edgemux_tenant_refused_total", tenant="a", what="request") >= 1
    assert metrics.total("edgemux_tenant_requests_total", tenant="a", **{"class": "4xx"}) >= 1
    assert metrics.total("edgemux_tenant_requests_total", tenant="b", **{"class": "2xx"}) == 10


@pytest.mark.parametrize("way", ["download", "upload", "tunnel"])
def test_bandwidth_is_shared_out_by_pausing(house, origin, tap, way):
    edge = house.edge
    size, rate = 1 << 20, 512 * 1024
    house.tenants["a"]["limits"] = {"bandwidth": "512KiB"}
    for name in ("a", "b"):
        house.write(name, [forwards(f"{name}.example.test", origin),
                           {"host": f"t.{name}.example.test", "passthrough": tap.address}])
    house.start()

    def took(name):
        began = time.monotonic()
        if way == "tunnel":
            with Wire.connect(edge.https) as client:
                first = hello(f"t.{name}.example.test")
                client.send(first)
                backend = tap.accept()
                backend.take(len(first))
                sender = threading.Thread(target=backend.send, args=(b"x" * size,))
                sender.start()
                client.take(size)
                sender.join()
                backend.close()
            return time.monotonic() - began
        with Wire.connect(edge.http) as wire:
            if way == "download":
                answer = wire.ask(f"/bytes/{size}", f"{name}.example.test")
                assert answer.status == 200 and len(answer.body) == size
            else:
                answer = wire.ask("/upload", f"{name}.example.test", method="POST", body=b"x" * size)
                assert answer.status == 200 and origin.requests[-1].body_length == size
        return time.monotonic() - began

    # The last of it may still be on its way through the kernel's buffers, and a little may come at once.
    slow = took("a")
    assert slow > 0.5 * size / rate, f"{slow:.2f} s for {size / rate:.1f} s worth of bytes"
    assert slow < patience(10) + size / rate
    assert took("b") < slow
    moved = {"download": ("client_sent",), "upload": ("client_received",), "tunnel": ("client_sent",)}[way]
    until(lambda: all(edge.metrics().total("edgemux_tenant_bytes_total", tenant="a", direction=d) >= size for d in moved),
          "the bytes are counted")


@pytest.mark.sanitizer
def test_answers_of_our_own_are_held_to_the_bandwidth_of_a_tenant(house):
    """What a rule says costs a tenant as much as what its upstreams say."""
    rate, size = 64 << 10, 40_000
    house.tenants["a"]["limits"] = {"bandwidth": rate}
    for name in ("a", "b"):
        house.write(name, [{"host": f"{name}.example.test", "on_http": "serve",
                            "rules": [{"path": "/", "respond": {"body": "x" * size}}]}])
    house.start()

    def took(name):
        began = time.monotonic()
        for _ in range(6):
            assert house.plain("/", f"{name}.example.test").body == b"x" * size
        return time.monotonic() - began

    slow = took("a")
    assert slow > (6 * size - 2 * rate) / rate, slow
    assert took("b") < slow


def flood(ports, turn, context, host, answered):
    """Some thousand requests a second on a kept connection and a hundred new ones, to ports[turn], until that is none."""
    at, wire = None, None
    while (now := turn.value) < len(ports):
        if now != at:
            at, wire = now, None
        try:
            wire = wire or Wire.connect(ports[now], tls=context, name=host)
            wire.send(request("/", host) * 10)
            for _ in range(10):
                wire.response()
            answered[now] += 10
            Wire.connect(ports[now]).close()
        except (OSError, ssl.SSLError, AssertionError):
            wire = None
        select.select([], [], [], 0.01)


BANDWIDTH, DOWNLOADS, PIECE = 2 * 1024 * 1024, 8, 128 * 1024  # bytes a second; at a time; bytes


def downloads(ports, turn, context, host, answered):
    """As many bytes as there are to be had, over several connections; past the proxy as many as the limit would let through."""

    def go_on():
        at, wire = None, None
        while (now := turn.value) < len(ports):
            if now != at:
                at, wire = now, Wire.connect(ports[now], tls=context, name=host)
            began = time.monotonic()
            assert len(wire.ask("/piece", host).body) == PIECE
            with answered.get_lock():
                answered[now] += PIECE
            if now == 0:
                select.select([], [], [], max(0, DOWNLOADS * PIECE / BANDWIDTH - (time.monotonic() - began)))

    threads = [threading.Thread(target=go_on) for _ in range(DOWNLOADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


SATURATED = {"requests": (flood, {"requests_per_second": 100, "connections": 20, "new_connections_per_second": 10}),
             "bandwidth": (downloads, {"bandwidth": "2MiB"})}


@pytest.mark.full
@pytest.mark.parametrize("what", SATURATED)
def test_one_tenant_saturated_leaves_the_others_alone(house, nginx, authority, record_property, what):
    """b asks steadily, while somebody sends a ten times what it may, and in turns, as the baseline, while the same client
    sends the same past the proxy: what the client itself takes from b is the same."""
    edge = house.edge
    too_much, house.tenants["a"]["limits"] = SATURATED[what]
    beside_it, backend = nginx("beside", authority.issue("a.example.test")), nginx("backend")
    for server in (beside_it, backend):
        (server.root / "piece").write_bytes(b"x" * PIECE)
    house.write("a", [forwards("a.example.test", backend)])
    house.write("b", [forwards("b.example.test", backend)])
    house.start(log={"level": "warn", "access": {"format": "off"}})
    client = house.authority.client_context(["http/1.1"])
    # A process of its own: a thread of this one would hold up the one that measures.
    processes = multiprocessing.get_context("fork")
    turn, answered = processes.Value("i", 0), processes.Array("L", 2)
    flooding = processes.Process(target=too_much, args=((beside_it.port, edge.https), turn, client, "a.example.test", answered))
    flooding.start()
    p99s = ([], [])
    try:
        with Wire.connect(edge.https, tls=client, name="b.example.test") as wire:

            def p99(count=300):
                took = []
                for _ in range(count):
                    began = time.perf_counter()
                    assert wire.ask("/", "b.example.test").status == 200
                    took.append(time.perf_counter() - began)
                return sorted(took)[int(count * 0.99)] * 1e3

            p99()
            lasted = 0
            for number in range(160):
                turn.value = number % 2
                began = time.monotonic()
                p99s[turn.value].append(p99())
                lasted += (time.monotonic() - began) * turn.value
    finally:
        turn.value = 2
        flooding.join()
    alone, beside = map(statistics.median, p99s)
    # Of neighbours in time: the machine drifts by more than what is looked for.
    ratio = statistics.median(there / here for here, there in zip(*p99s))
    record_property("p99_ms_alone_beside_ratio", [alone, beside, ratio])
    print(f"b's p99: {alone:.2f} ms alone, {beside:.2f} ms beside a flood, ratio {ratio:.2f}")
    metrics = edge.metrics()
    if what == "requests":
        refused = metrics.total("edgemux_tenant_refused_total", tenant="a", what="request")
        assert refused > 100 and answered[1] > refused, "a was not saturated"
    else:
        assert 0.7 * BANDWIDTH < answered[1] / lasted < 2 * BANDWIDTH, (answered[1] / lasted, "a was not held to its limit")
    assert metrics.total("edgemux_tenant_refused_total", tenant="b") == 0
    assert ratio <= 1.2


def test_kept_connections_go_with_a_host_that_changes_hands(house):
    """Over TLS, too: they count for whom they ask now, and its limits hold."""
    house.write("a", [says("a.example.test", "a")])
    house.start()
    context = house.authority.client_context()
    wires = [Wire.connect(house.edge.https, tls=context, name="a.example.test") for _ in range(3)]
    assert [wire.ask("/", "a.example.test").body for wire in wires] == [b"a"] * 3
    house.tenants["a"]["hosts"], house.tenants["b"]["hosts"] = ["*.a.example.test"], ["b.example.test", "a.example.test"]
    house.tenants["b"]["limits"] = {"connections": 2}
    house.certify("b", "a.example.test", stem="more")
    house.write("a", [])
    house.write("b", [says("a.example.test", "b")])
    house.edge.reload(**house.config())
    until(lambda: house.plain("/", "a.example.test").body == b"b", "b has it")
    until(lambda: house.edge.metrics().total("edgemux_tenant_connections_active", tenant="b") == 0, "nobody else is there")
    assert [wire.ask("/", "a.example.test").status for wire in wires] == [200, 200, 429]
    assert house.edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 0
    assert house.edge.metrics().total("edgemux_tenant_connections_active", tenant="b") == 2
    for wire in wires:
        wire.close()


def test_a_tenants_silent_mirror_leaves_room_for_others(house, origins):
    hung, fine, backend = origins("hung"), origins("fine"), origins("backend")
    hung.scripts["/"] = lambda call: call.gate("never")
    for tenant, mirror in (("a", hung), ("b", fine)):
        house.write(tenant, [{"host": f"{tenant}.example.test", "on_http": "serve", "rules": [
            {"path": "/", "upstream": backend.address, "mirror": {"upstream": mirror.address}}]}])
    house.start(workers=1)
    with Wire.connect(house.edge.http) as wire:
        for _ in range(600):  # more than may be under way
            assert wire.ask("/", "a.example.test").status == 200
        for _ in range(20):
            assert wire.ask("/", "b.example.test").status == 200
    fine.wait_for_requests(20)
    assert len(hung.requests) <= 256
    assert house.edge.metrics().total("edgemux_mirrored_requests_total", result="dropped") >= 600 - 256
