"""What clients see when an upstream misbehaves: each row of the table in docs/upstreams.md is a test here."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from support.backends import Haproxy, Nginx
from support.load import Load
from support.netns import Namespace
from support.ports import free_port
from support.site import HOST
from support.waiting import patience, until
from support.wire import Wire, request

pytestmark = pytest.mark.sanitizer
RETRY = {"attempts": 2, "on": ["connect", "reset"], "backoff": "1ms"}


def start(site, backends, rule=None, upstream=None, **over):
    addresses = [b if isinstance(b, str) else b.address for b in backends]
    site.start(site.route({"path": "/", "upstream": "app", **(rule or {})}),
               upstreams={"app": {"endpoints": addresses, **(upstream or {})}}, **over)


def freeze(backend):
    """SIGSTOP, and until every thread has stopped: the signal alone lets one answer for a moment yet."""
    process = backend._process
    process.send_signal(signal.SIGSTOP)
    threads = Path(f"/proc/{process.pid}/task")
    until(lambda: all((t / "stat").read_text().rpartition(")")[2].split()[0] == "T" for t in threads.iterdir()), "it stopped")


@pytest.mark.parametrize("rule", [{"retry": RETRY}, {}], ids=["with a retry", "without"])
def test_killed_twenty_times_under_load(site, nginx, rule):
    """kill -9 of one of three. Their answers here are one write, so none is half there."""

    def revive(old, number):
        folder = site.edge.folder / f"again{number}"
        if isinstance(old, Nginx):
            return Nginx(folder, old.port, old.name)
        return named_haproxy(folder, old.port)

    def named_haproxy(folder, port):
        made = Haproxy(folder, port, None, "three %[req.hdr(host)]")
        made.name = "three"
        return made

    backends = [nginx("one"), nginx("two"), named_haproxy(site.edge.folder / "three", free_port())]
    start(site, backends, rule, {"outlier": {"consecutive_failures": 3, "eject_for": "100ms"}})
    kills = []
    with Load(site) as load:
        load.more(50)
        for number in range(20):
            victim = backends[number % 3]
            before = time.monotonic()
            victim.close()  # SIGKILL
            kills.append((before - patience(1), time.monotonic() + 0.1))
            load.more(60)
            backends[number % 3] = revive(victim, number)
            load.more(20)
        for backend in backends:
            until(lambda b=backend: site.ask("/").body.split()[0].decode() == b.name, f"{backend.name} serves again")
    for backend in backends:
        backend.close()
    assert load.count > 1000
    if rule:
        assert load.bad == []
    # Those that had reached the one that was killed, on a connection made for them; nobody that came 100 ms later.
    assert [bad for bad in load.bad if not any(begin < bad[0] < end for begin, end in kills)] == []
    assert {getattr(answer, "status", answer) for _, answer in load.bad} <= {502}
    assert len(load.bad) <= len(kills) * 6


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_stopped_without_checks(site, nginx, haproxy, kind):
    """SIGSTOP: the kernel still accepts. Silence until timeouts.response, then 504."""
    one = nginx("one") if kind == "nginx" else haproxy(None, "one")
    start(site, [one], timeouts={"response": "500ms"})
    assert site.ask("/").status == 200
    freeze(one)
    try:
        answer = site.ask("/")
        assert answer.status == 504 and b"did not answer in time" in answer.body
        site.edge.wait_access(status=504, reason="response_timeout")
    finally:
        one._process.send_signal(signal.SIGCONT)
    until(lambda: site.ask("/").status == 200, "it goes on")


def test_stopped_and_reached_over_tls(site, nginx, authority):
    """The handshake does not come to an end: as if it were black-holed, timeouts.connect and then the next endpoint."""
    pair = authority.issue("app.internal")
    one, two = nginx("one", pair), nginx("two", pair)
    upstream = {"tls": {"ca": str(authority.path), "server_name": "app.internal"}, "timeouts": {"connect": "300ms"},
                "outlier": {"consecutive_failures": 1, "eject_for": "60s"}}
    freeze(one)
    try:
        start(site, [one, two], upstream=upstream, workers=1)
        with site.wire() as wire:
            for _ in range(6):
                assert wire.ask("/", HOST, method="POST", body=b"pay 10").body == b"two own.example.com\n"
        assert sorted(line["attempts"] for line in site.edge.wait_access(6)) == [1] * 5 + [2], "it is ejected after one"
        site.edge.stop()
        start(site, [one], upstream=upstream)
        assert site.ask("/").status == 504
        site.edge.wait_access(status=504, reason="connect_timeout")
    finally:
        one._process.send_signal(signal.SIGCONT)


def test_stopped_with_a_try_timeout_and_a_retry(site, nginx):
    one, two = nginx("one"), nginx("two")
    start(site, [one, two], {"timeouts": {"try": "300ms"}, "retry": {"attempts": 1, "on": ["timeout"], "backoff": "1ms"}})
    freeze(one)
    try:
        for _ in range(4):
            assert site.ask("/").body == b"two own.example.com\n"
    finally:
        one._process.send_signal(signal.SIGCONT)


def test_stopped_with_checks(site, nginx):
    one, two = nginx("one"), nginx("two")
    check = {"http": "/", "interval": "100ms", "timeout": "300ms", "unhealthy_after": 2, "healthy_after": 1}
    start(site, [one, two], upstream={"health_check": check})
    freeze(one)
    try:
        site.edge.wait_log(f"{one.address} is unhealthy: no answer within 300 ms")
        with Load(site) as load:
            load.more(100)
        assert load.bad == []
    finally:
        one._process.send_signal(signal.SIGCONT)
    site.edge.wait_log(f"{one.address} is healthy again")
    until(lambda: site.ask("/").body.startswith(b"one"), "it serves again")


@pytest.fixture
def black_hole(closing):
    """An address in a network namespace of its own whose answers are dropped."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    namespace = closing(Namespace())
    namespace.drop(namespace.near_v4)
    return f"{namespace.v4}:80"


def test_black_holed(site, origin, black_hole):
    """Nothing comes back: timeouts.connect, then the next endpoint; 504 when there is none. Ejected, nobody waits."""
    start(site, [black_hole, origin], upstream={"timeouts": {"connect": "300ms"},
                                               "outlier": {"consecutive_failures": 1, "eject_for": "60s"}}, workers=1)
    began = time.monotonic()
    with site.wire() as wire:
        for _ in range(8):
            assert wire.ask("/who", HOST).status == 200
    line = site.edge.wait_access(1, attempts=2)[0]
    assert line["duration_ms"] >= 290
    assert len([li for li in site.edge.access() if li["attempts"] == 2]) == 1, "it is ejected after one"
    assert time.monotonic() - began < patience(5)
    site.edge.stop()
    start(site, [black_hole], upstream={"timeouts": {"connect": "300ms"}})
    answer = site.ask("/")
    assert answer.status == 504 and b"does not accept the connection in time" in answer.body
    site.edge.wait_access(status=504, reason="connect_timeout")


def test_refused(site, origin, dead_address):
    """The next endpoint, always and for every method; 502 when there is none."""
    start(site, [dead_address, origin])
    for _ in range(4):
        assert site.ask("/upload", method="POST", body=b"pay 10").status == 200
    assert len(origin.requests) == 4
    site.edge.stop()
    start(site, [dead_address])
    answer = site.ask("/")
    assert answer.status == 502 and b"refuses connections" in answer.body


def test_slow_but_alive(site, origin):
    """A late answer is an answer, as long as no silence is longer than timeouts.response."""

    def drip(call):
        call.read_body()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for byte in b"drops":
            call.origin.gate("tick").wait(0.15)
            call.send(bytes([byte]))
        return False

    origin.scripts["/drip"] = drip
    start(site, [origin], timeouts={"response": "500ms"})
    answer = site.ask("/drip")
    assert (answer.status, answer.body) == (200, b"drops")


def test_too_slow(site, origin):
    start(site, [origin], timeouts={"response": "300ms"})
    assert site.ask("/gate/never").status == 504
    origin.gate("never").set()


@pytest.mark.parametrize("verb", ["reset", "nothing"])
def test_reset_before_an_answer(site, origins, verb):
    """GET: another endpoint with a retry on reset, else 502. POST: 502, never twice."""
    bad, good = origins("bad"), origins("good")
    bad.scripts["/who"] = lambda call: getattr(call.origin, f"_do_{verb}")(call, "")
    start(site, [bad, good], {"retry": RETRY}, workers=1)
    answers = Counter(site.ask("/who").body.split()[0] for _ in range(6))
    assert answers == {b"good": 6}
    before = len(good.requests)
    statuses = Counter(site.ask("/who", method="POST", body=b"pay 10").status for _ in range(6))
    assert statuses == {200: 3, 502: 3}
    assert len(good.requests) == before + 3
    site.edge.stop()
    start(site, [bad])
    assert site.ask("/who").status == 502


@pytest.mark.parametrize("target", ["/short/100000", "/cut"])
@pytest.mark.parametrize("transport", ["http", "https"])
def test_reset_in_the_middle_of_an_answer(site, origin, target, transport):
    """What the client has must not look whole: the connection ends early, and nothing is sent twice."""
    start(site, [origin], {"retry": RETRY})
    with site.wire(transport) as wire:
        wire.send(request(target, HOST))
        got = wire.rest_or_reset()
    assert got.startswith(b"HTTP/1.1 200") and len(got) < 100000 and not got.endswith(b"0\r\n\r\n")
    site.edge.wait_access(reason="upstream_closed", status=200)
    assert len(origin.requests) == 1


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46" + b"\0" * 64,
                                     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"])
def test_garbage(site, origin, garbage):
    origin.scripts["/"] = garbage
    start(site, [origin], {"retry": RETRY})
    answer = site.ask("/")
    assert answer.status == 502 and b"not valid HTTP" in answer.body
    site.edge.wait_access(status=502, reason="bad_response")
    assert len(origin.requests) == 1


def test_a_name_that_does_not_resolve(site):
    start(site, [f"nobody.invalid:{free_port()}"])
    answer = site.ask("/")
    assert answer.status == 503 and b"no endpoint" in answer.body


def test_tunnels(edge, taps, dead_address, blackhole):
    """The next endpoint, before the client has sent or seen a byte; without one the connection is closed."""
    from support.hello import hello

    tap = taps()
    edge.start(routes=[{"host": "a.example.com", "passthrough": {"endpoints": [dead_address, blackhole.address, tap.address],
                                                                  "timeouts": {"connect": "300ms"}}},
                       {"host": "b.example.com", "passthrough": dead_address}])
    with Wire.connect(edge.https) as client:
        client.send(hello("a.example.com"))
        backend = tap.accept()
        backend.send(b"hi")
        assert client.take(2) == b"hi"
    with Wire.connect(edge.https) as client:
        client.send(hello("b.example.com"))
        assert client.rest_or_reset() == b""
    edge.wait_access(reason="connect_failed", host="b.example.com")


def test_each_kind_of_failure_is_told(site, tap):
    """One does not hide the others of its upstream."""
    site.start(site.route({"path": "/", "upstream": tap.address}))
    for answer in (b"", b"no HTTP at all\r\n\r\n"):
        with site.wire() as wire:
            wire.send(request("/", HOST))
            with tap.accept() as backend:
                backend.take_through(b"\r\n\r\n")
                backend.send(answer)
            assert wire.response().status == 502
    site.edge.wait_log("closed the connection without a whole answer")
    site.edge.wait_log("gave an answer that is not valid HTTP")
