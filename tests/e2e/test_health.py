"""Endpoints that die, stop, come back: active checks, ejection, panic, and what clients see meanwhile."""

import threading
import time
from collections import Counter

import pytest
from support.hello import hello
from support.http2 import H2Origin
from support.ports import free_port
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request

pytestmark = pytest.mark.sanitizer
FAST = {"interval": "100ms", "timeout": "1s", "unhealthy_after": 2, "healthy_after": 2}


def app(backends, **more):
    return {"app": {"endpoints": [b.address for b in backends], **more}}


def start(site, upstreams, **over):
    return site.start(site.route({"path": "/", "upstream": "app"}), upstreams=upstreams, **over)


def states(site):
    """How many endpoints of `app` are in which state."""
    sample = site.edge.metrics()
    every = ("healthy", "unchecked", "unhealthy", "ejected", "drained")
    counts = {s: int(sample.total("edgemux_upstream_endpoints", upstream="app", state=s)) for s in every}
    return {s: n for s, n in counts.items() if n}


def wait_states(site, **expected):
    until(lambda: states(site) == expected, lambda: f"{expected}; it is {states(site)}; the log:\n{site.edge.log()[-2000:]}")


def who(site, count=12):
    with site.wire() as wire:
        return Counter(wire.ask("/who", HOST).body.split()[0].decode() for _ in range(count))


@pytest.fixture
def three(origins):
    return [origins(name) for name in ("one", "two", "three")]


# ---- active checks ----


def test_an_http_check_takes_out_who_fails_and_back_who_recovers(site, three):
    sick = threading.Event()
    three[1].scripts["/healthz"] = lambda call: call.answer(503 if sick.is_set() else 200, b"all fine")
    start(site, app(three, health_check={"http": "/healthz", **FAST}), workers=2)
    # The origins without a script answer 200 to anything.
    wait_states(site, healthy=3)
    assert set(who(site)) == {"one", "two", "three"}
    sick.set()
    wait_states(site, healthy=2, unhealthy=1)
    assert set(who(site)) == {"one", "three"}
    sick.clear()
    wait_states(site, healthy=3)
    assert set(who(site)) == {"one", "two", "three"}
    # Each change is told once, however many workers there are.
    log = site.edge.log()
    assert log.count(f"{three[1].address} is unhealthy: it answers 503") == 1, log
    assert log.count(f"{three[1].address} is healthy again") == 1, log
    seen = [s for s in three[0].requests if s.target == "/healthz"][0]
    assert seen.get("host") == three[0].address and seen.get("user-agent") == "edgemux-health-check"


def test_checks_are_made_once_per_process_and_not_per_worker(site, origin):
    start(site, app([origin], health_check={"http": "/healthz", "interval": "500ms"}), workers=4)
    wait_states(site, healthy=1)
    began, before = time.monotonic(), len(origin.requests)
    until(lambda: len(origin.requests) >= before + 4, "four more checks")
    took = time.monotonic() - began
    # Four intervals, each a tenth shorter at most; with four askers it would be a quarter of that.
    assert took >= 3 * 0.45, took


@pytest.mark.parametrize("what", ["status", "body", "garbage", "silence", "close"])
def test_what_an_http_check_refuses(site, origin, what):
    bad = {
        "status": lambda call: call.answer(204, b""),
        "body": lambda call: call.answer(200, b"starting"),
        "garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "silence": lambda call: call.gate("never"),
        "close": lambda call: False,
    }[what]
    reason = {"status": "it answers 204", "body": 'does not contain "ready"', "garbage": "not valid HTTP",
              "silence": "no answer within 300 ms", "close": "without an answer"}[what]
    origin.scripts["/ready"] = bad
    check = {"http": "/ready", "host": "app.example.com", "expect": [200, 299], "expect_body": "ready", **FAST,
             "timeout": "300ms"}
    start(site, app([origin], health_check=check))
    site.edge.wait_log(f"{origin.address} is unhealthy: .*{reason}")
    assert origin.requests[0].get("host") == "app.example.com"
    # The only endpoint is used all the same: below half of them healthy, all are.
    assert site.ask("/who").status == 200
    origin.scripts["/ready"] = b"HTTP/1.1 299 Fine\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nrea\r\n2\r\ndy\r\n0\r\n\r\n"
    origin.gate("never").set()
    wait_states(site, healthy=1)


@pytest.mark.parametrize("over", ["plain", "tls"])
def test_an_http_check_speaks_the_version_of_the_upstream(site, closing, authority, over):
    """HTTP/2 where requests go over HTTP/2: agreed on by ALPN, or known before."""
    context = None
    if over == "tls":
        context = authority.server_context(authority.issue("app.internal"))
        context.set_alpn_protocols(["h2"])
    good, bad = (closing(H2Origin(free_port(), context)) for _ in range(2))
    bad.close()
    more = {"protocol": "h2"}
    if over == "tls":
        more = {"protocol": "auto", "tls": {"ca": str(authority.path), "server_name": "app.internal"}}
    upstreams = {name: {"endpoints": [good.address, bad.address], "health_check": {"http": path, **FAST, **check}, **more}
                 for name, path, check in (("app", "/bytes/5", {"expect_body": "\x01\x02\x03\x04"}),
                                           ("status", "/status/503", {}), ("body", "/bytes/5", {"expect_body": "ready"}),
                                           ("reset", "/reset", {}), ("hang", "/hang", {"timeout": "300ms"}))}
    site.start(site.route(*({"path": f"/{name}" if name != "app" else "/", "upstream": name} for name in upstreams)),
               upstreams=upstreams)
    wait_states(site, healthy=1, unhealthy=1)
    for name, reason in {"status": "it answers 503", "body": 'its answer does not contain "ready"',
                         "reset": "it resets the request", "hang": "no answer within 300 ms"}.items():
        site.edge.wait_log(f"upstream {name}: {good.address} is unhealthy: {reason}")
    assert site.ask("/bytes/3").status == 200
    seen = next(head for head in map(dict, good.requests) if head[":path"] == "/bytes/5")
    assert seen[":authority"] == good.address and seen["user-agent"] == "edgemux-health-check"


def test_who_comes_back_gets_a_tenth_at_first(site, three):
    """slow_start: a tenth of its weight until a tenth of the time is over."""
    sick = threading.Event()
    three[1].scripts["/healthz"] = lambda call: call.answer(503 if sick.is_set() else 200)
    start(site, app(three, slow_start="1h", health_check={"http": "/healthz", **FAST}), workers=1)
    wait_states(site, healthy=3)
    assert who(site, 30) == {"one": 10, "two": 10, "three": 10}
    sick.set()
    wait_states(site, healthy=2, unhealthy=1)
    sick.clear()
    wait_states(site, healthy=3)
    seen = who(site, 210)
    assert seen["one"] >= 95 and seen["three"] >= 95 and 8 <= seen["two"] <= 12, seen


def test_a_tcp_check_sees_who_stops_listening(site, three):
    start(site, app(three, health_check={"tcp": True, **FAST}))
    wait_states(site, healthy=3)
    three[0].close()
    wait_states(site, healthy=2, unhealthy=1)
    assert set(who(site)) == {"two", "three"}
    site.edge.wait_log(f"{three[0].address} is unhealthy: Connection refused")


def test_a_tls_check_wants_a_handshake(edge, nginx, origin, authority):
    pair = authority.issue("a.example.com")
    secure = nginx("secure", pair)
    endpoints = [secure.address, origin.address]
    edge.start(upstreams={"app": {"endpoints": endpoints, "health_check": {"tls": True, "host": "a.example.com", **FAST}}},
               routes=[{"host": "a.example.com", "passthrough": "app"}])
    edge.wait_log(f"{origin.address} is unhealthy")
    until(lambda: edge.metrics().total("edgemux_upstream_endpoints", upstream="app", state="healthy") == 1, "nginx is fine")
    for _ in range(6):
        with Wire.connect(edge.https, tls=authority.client_context(["http/1.1"]), name="a.example.com") as wire:
            assert wire.ask("/", "a.example.com").body == b"secure a.example.com\n"


def test_below_half_healthy_all_are_used(site, three):
    start(site, app(three, health_check={"http": "/healthz", **FAST}))
    wait_states(site, healthy=3)
    for origin in three[:2]:
        origin.scripts["/healthz"] = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    wait_states(site, healthy=1, unhealthy=2)
    assert set(who(site)) == {"one", "two", "three"}
    del three[0].scripts["/healthz"]
    wait_states(site, healthy=2, unhealthy=1)
    assert set(who(site)) == {"one", "three"}


def test_health_survives_a_reload_and_a_change_of_the_check(site, three):
    three[0].scripts["/healthz"] = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    check = {"http": "/healthz", **FAST}
    start(site, app(three, health_check=check))
    wait_states(site, healthy=2, unhealthy=1)
    site.edge.wait_log("is unhealthy")
    mark = len(site.edge.log())
    for check in ({**check, "interval": "200ms"}, {**check, "unhealthy_after": 5}, check):
        site.edge.reload(certificates=site.certificates, routes=[site.route({"path": "/", "upstream": "app"})],
                         upstreams=app(three, health_check=check))
        assert set(who(site)) == {"two", "three"}
    assert "healthy" not in site.edge.log()[mark:]
    # Without a check nobody is unhealthy.
    site.edge.reload(certificates=site.certificates, routes=[site.route({"path": "/", "upstream": "app"})],
                     upstreams=app(three))
    until(lambda: set(who(site)) == {"one", "two", "three"}, "all are used")


# ---- ejection ----


def test_failures_in_a_row_eject_and_time_brings_back_on_trial(site, three):
    three[1].scripts["/who"] = lambda call: False  # closes without an answer
    start(site, app(three, outlier={"consecutive_failures": 3, "eject_for": "1s"}), workers=1)
    with site.wire() as wire:
        answers = []
        while states(site).get("ejected", 0) == 0:
            wire.send(b"POST /who HTTP/1.1\r\nHost: own.example.com\r\nContent-Length: 0\r\n\r\n")
            answers.append(wire.response().status)
            assert len(answers) < 40, answers
    assert answers.count(502) == 3 and set(answers) == {200, 502}
    ejected = time.monotonic()
    assert set(who(site)) == {"one", "three"}
    site.edge.wait_log(rf"upstream app: {three[1].address} is ejected for 1000 ms: 3 failures in a row")
    # Still broken: one failure is enough now, and it lasts twice as long.
    site.edge.wait_log(f"{three[1].address} is back, on trial")
    assert time.monotonic() - ejected >= 0.5
    until(lambda: site.ask("/who", method="POST", body=b"").status == 502 or states(site).get("ejected"), "tried again")
    site.edge.wait_log(f"{three[1].address} is ejected for 2000 ms")
    # Mended: it comes back for good.
    del three[1].scripts["/who"]
    until(lambda: set(who(site)) == {"one", "two", "three"}, "all are used again")
    assert states(site) == {"unchecked": 3}


@pytest.mark.sanitizer
@pytest.mark.parametrize("timeouts", [{"try": "300ms"}, {"request": "300ms"}, {"response": "300ms"}], ids=lambda t: next(iter(t)))
def test_who_lets_requests_wait_in_vain_is_ejected(site, three, timeouts):
    three[1].scripts["/who"] = lambda call: call.gate("never")
    site.start(site.route({"path": "/", "upstream": "app", "timeouts": timeouts}),
               upstreams=app(three[:2], outlier={"consecutive_failures": 2, "eject_for": "60s"}), workers=1)
    statuses = [site.ask("/who").status for _ in range(12)]
    assert statuses.count(504) == 2 and statuses[-6:] == [200] * 6
    assert states(site) == {"unchecked": 1, "ejected": 1}


def test_a_client_that_is_late_itself_ejects_nobody(site, origin):
    """What is left of the request's time when its last byte comes is no fair time for an answer."""
    def slow(call):
        call.read_body()
        call.origin.gate("pause").wait(0.4)
        call.answer(body=b"here")
        return call.keep

    origin.scripts["/slow"] = slow
    site.start(site.route({"path": "/", "upstream": "app", "timeouts": {"request": "1200ms"}}),
               upstreams=app([origin], outlier={"consecutive_failures": 1, "max_ejected": "100%"}), workers=1)
    for _ in range(2):
        with site.wire() as wire:
            wire.send(b"POST /slow HTTP/1.1\r\nHost: own.example.com\r\nContent-Length: 2\r\n\r\na")
            wire.is_quiet(1.0)
            wire.send(b"b")
            assert wire.response().status == 504
    assert states(site) == {"unchecked": 1}
    assert site.ask("/slow", method="POST", body=b"ab").status == 200


def test_who_fails_after_it_has_left_takes_nobodys_place(site, taps, origins):
    """Requests to what a reload has taken away may still time out; the place among the ejected is another's by then."""
    silent, good, fresh = taps(), origins("good"), origins("fresh")
    upstream = {"outlier": {"consecutive_failures": 1, "eject_for": "300ms", "max_ejected": "50%"}}

    def config(*endpoints):
        return {"routes": [site.route({"path": "/", "upstream": "app"})], "certificates": site.certificates,
                "upstreams": {"app": {"endpoints": [e.address for e in endpoints], **upstream}}, "timeouts": {"response": "1s"}}

    site.edge.start(**config(silent, good))
    waiting = [site.wire() for _ in range(2)]
    for wire in waiting:
        wire.send(request("/who", HOST))
    silent.accept()
    site.edge.reload(**config(fresh, good))
    assert sorted(wire.response().status for wire in waiting) == [200, 504]
    site.edge.wait_log(f"{silent.address} is ejected")
    good.close()

    def ejects():
        assert site.ask("/who").status in (200, 502)
        return f"{good.address} is ejected" in site.edge.log()

    until(ejects, "there is a place for who fails now")


def test_no_more_than_the_cap_are_ejected(site, three):
    for origin in three[:2]:
        origin.close()
    start(site, app(three, outlier={"consecutive_failures": 1, "eject_for": "60s", "max_ejected": "34%"}), workers=2)
    for _ in range(10):
        assert site.ask("/who").status == 200  # a failed connect goes on to the next endpoint
    assert states(site) == {"unchecked": 2, "ejected": 1}
    assert site.edge.log().count("is ejected for") == 1


def test_tunnels_eject_as_well(edge, taps):
    one, two = taps(), taps()
    edge.start(upstreams={"app": {"endpoints": [one.address, two.address], "outlier": {"consecutive_failures": 2}}},
               routes=[{"host": "a.example.com", "passthrough": "app"}], workers=1)
    one.close()
    for _ in range(8):
        with Wire.connect(edge.https) as client:
            client.send(hello("a.example.com"))
            backend = two.accept()
            assert backend.take(1) == b"\x16"
            backend.close()
    lines = edge.wait_access(8)
    assert sorted(line["attempts"] for line in lines) == [1] * 6 + [2] * 2, lines
    edge.wait_log(f"{one.address} is ejected for 30000 ms: 2 failures in a row")
