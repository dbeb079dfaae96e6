"""Gateway API: timeouts of a rule, and retries, where it has them. Each block names the conformance features that it stands for."""

import json
import threading
import time

import pytest
from support.ports import free_port
from support.proxy import edgemux
from support.rules import failing
from support.site import HOST
from support.waiting import until
from support.wire import request


# HTTPRouteTimeoutRequest, HTTPRouteTimeoutBackendRequest

@pytest.mark.sanitizer
def test_timeout_request(site):
    site.start(site.route({"path": "/", "upstream": site.origin.address, "timeouts": {"request": "300ms"}}))
    with site.wire() as wire:
        answer = wire.ask("/gate/late", HOST)
        assert answer.status == 504 and b"timeouts.request" in answer.body
        assert wire.ask("/echo", HOST).status == 200
    line = site.edge.wait_access(status=504)[0]
    assert line["reason"] == "request_timeout" and line["duration_ms"] >= 299


def test_timeout_request_ends_an_answer_that_goes_on(site):
    def drip(call):
        call.read_body()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        call.gate("rest")

    site.origin.scripts["/drip"] = drip
    site.start(site.route({"path": "/", "upstream": site.origin.address, "timeouts": {"request": "300ms"}}))
    with site.wire() as wire:
        wire.send(request("/drip", HOST))
        assert wire.take_through(b"hello").startswith(b"HTTP/1.1 200")
        wire.rest_or_reset()  # an end that comes before the tenth byte
    site.edge.wait_access(reason="request_timeout")


def test_timeout_of_a_try(site):
    site.start(site.route({"path": "/", "upstream": site.origin.address, "timeouts": {"try": "200ms"}}))
    assert site.ask("/gate/late").status == 504
    site.edge.wait_access(status=504, reason="response_timeout", detail=lambda d: "timeouts.try" in d)


@pytest.mark.parametrize("timeouts", [
    pytest.param({"request": "0s", "try": "0s"}, id="none"),
    pytest.param({"request": "30s"}, id="of the request"),
    pytest.param({"try": "30s"}, id="of a try"),
    pytest.param({"response": "30s"}, id="of silence"),
    pytest.param({"try": "0s"}, id="no try's"),
])
def test_a_rule_gives_more_time_than_others_have(site, timeouts):
    """`timeouts.response` is for rules that say nothing themselves."""
    patient = site.route({"path": "/", "upstream": site.origin.address},
                         {"path": "/gate/patient", "upstream": site.origin.address, "timeouts": timeouts})
    site.start(patient, timeouts={"response": "300ms"})
    threading.Timer(1.2, site.origin.gate("patient").set).start()
    assert site.ask("/gate/patient").status == 200
    # On the same connection to the origin, perhaps; and with its own limit again.
    assert site.ask("/gate/never").status == 504


def test_who_expects_100_waits_as_long_as_the_rule_says(site):
    def late(call):
        call.gate("word")
        call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        call.read_body()
        call.answer(body=str(call.seen.body_length).encode())
        return call.keep

    site.origin.scripts["/late"] = late
    site.origin.scripts["/silent"] = lambda call: call.gate("silent") and False
    to = {"upstream": site.origin.address}
    site.start(site.route({"path": "/", **to}, {"path": "/late", **to, "timeouts": {"request": "30s"}}), timeouts={"response": "300ms"})
    expect = [("Expect", "100-continue"), ("Content-Length", 4)]
    threading.Timer(1.2, site.origin.gate("word").set).start()
    with site.wire() as wire:
        wire.send(request("/late", HOST, "POST", expect))
        assert wire.take_through(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        wire.send(b"body")
        answer = wire.response()
        assert (answer.status, answer.body) == (200, b"4")
    with site.wire() as wire:
        wire.send(request("/silent", HOST, "POST", expect))
        assert wire.response().status == 504, "it is the upstream that says nothing"
    site.edge.wait_access(status=504, reason="response_timeout", detail=lambda d: "whether the body is wanted" in d)


def test_an_answer_that_needs_no_body_goes_on_as_long_as_it_likes(site):
    def stream(call):
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for n in range(6):
            call.send(b"%d" % n)
            call.origin.gate("pause").wait(0.2)
        return False

    site.origin.scripts["/stream"] = stream
    site.start(timeouts={"response": "500ms"})
    with site.wire() as wire:
        wire.send(request("/stream", HOST, "POST", [("Expect", "100-continue"), ("Content-Length", 4)]))
        answer = wire.response()
        assert (answer.status, answer.body) == (200, b"012345")


@pytest.mark.full
def test_who_sends_without_being_told_has_the_pace_of_a_body(site):
    """Also where the upstream may be silent for ever."""
    site.origin.scripts["/mute"] = lambda call: call.gate("mute") and False
    site.start(site.route({"path": "/", "upstream": site.origin.address, "timeouts": {"request": "0s"}}))
    with site.wire(within=30) as wire:
        wire.send(request("/mute", HOST, "POST", [("Expect", "100-continue"), ("Content-Length", 1000)]) + b"x")
        assert wire.response().status == 408


def test_a_rule_bounds_silence(site):
    """Also in the middle of an answer, which `try` does not."""
    def halt(call):
        call.read_body()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        call.gate("rest")

    site.origin.scripts["/halt"] = halt
    site.start(site.route({"path": "/", "upstream": site.origin.address, "timeouts": {"request": "30s", "response": "300ms"}}))
    assert site.ask("/gate/never").status == 504
    site.edge.wait_access(status=504, reason="response_timeout", detail=lambda d: "300 ms" in d)
    with site.wire() as wire:
        wire.send(request("/halt", HOST))
        assert wire.take_through(b"hello").startswith(b"HTTP/1.1 200")
        wire.rest_or_reset()
    explained = edgemux("explain", "--config", site.edge.path, f"http://{HOST}:{site.edge.http}/").stdout
    assert "request 30000ms, silence 300ms" in explained, explained


def test_no_timeout_is_zero(site):
    site.start(site.route({"path": "/", "upstream": site.origin.address, "timeouts": {"request": "0s", "try": "0s"}}))
    threading.Timer(0.4, site.origin.gate("later").set).start()
    assert site.ask("/gate/later").status == 200


@pytest.mark.full
def test_a_try_after_a_long_pause(site):
    """Every half minute pools go that nobody has used since the time before; a request between two tries holds none. The pause,
    of 30 to 60 seconds, begins shortly before one sweep so that it ends behind the next."""
    port = free_port()
    began = time.monotonic()
    site.start(site.route({"path": "/", "upstream": f"127.0.0.1:{port}",
                           "retry": {"attempts": 1, "on": ["connect"], "backoff": "60s"}}), workers=1)
    until(lambda: time.monotonic() - began > 27, "nearly half a minute is over", within=30)
    with site.wire(within=120) as wire:
        assert wire.ask("/", HOST).status == 502
    assert site.edge.wait_access(status=502)[0]["attempts"] == 2


# HTTPRouteRetry (attempts, codes, backoff), HTTPRouteRetryConnectionError, HTTPRouteRetryBackendTimeout

def retrying(site, *on, attempts=2, backoff="10ms", **rule):
    return site.route({"path": "/", "upstream": site.origin.address,
                       "retry": {"attempts": attempts, "on": list(on), "backoff": backoff}, **rule})


@pytest.mark.sanitizer
def test_retry_on_status(site):
    site.start(retrying(site, 503, 500))
    site.origin.scripts["/ok"] = failing(2)
    site.origin.scripts["/bad"] = failing(3)
    site.origin.scripts["/other"] = failing(1, how=lambda call: call.answer(502))
    with site.wire() as wire:
        assert wire.ask("/ok", HOST).body == b"try 3"
        assert wire.ask("/bad", HOST).status == 503
        assert wire.ask("/other", HOST).status == 502
        assert wire.ask("/ok", HOST).body == b"try 4"
    assert site.edge.wait_access(path="/ok")[0]["attempts"] == 3


@pytest.mark.sanitizer
@pytest.mark.parametrize("size, chunked", [(0, False), (40_000, False), (40_000, True), (300_000, False)])
def test_retry_repeats_the_body_up_to_its_bound(site, size, chunked):
    site.start(retrying(site, 503))
    bodies = []

    def script(call):
        call.read_body()
        bodies.append((call.seen.body_length, call.seen.body_sha256))
        call.answer(503 if len(bodies) == 1 else 200)
        return call.keep

    site.origin.scripts["/"] = script
    body = bytes(i * 7 % 256 for i in range(size))
    with site.wire() as wire:
        if chunked:
            wire.send(request("/", HOST, "POST", [("Transfer-Encoding", "chunked")]) + b"%x\r\n" % size + body + b"\r\n0\r\n\r\n")
            answer = wire.response()
        else:
            answer = wire.ask("/", HOST, method="POST", body=body)
    if size > 65536:
        assert answer.status == 503 and len(bodies) == 1
    else:
        assert answer.status == 200 and len(bodies) == 2 and bodies[0] == bodies[1] and bodies[0][0] == size


def test_retry_on_connect_reset_and_timeout(site, dead_address, origins):
    slow = origins("slow")
    slow.scripts["/"] = failing(1, how=lambda call: call.gate("never"))
    flaky = origins("flaky")
    flaky.scripts["/"] = failing(1, how=lambda call: call.send(b""))
    rule = {"retry": {"attempts": 1, "on": ["connect", "reset", "timeout"], "backoff": "10ms"}, "timeouts": {"try": "300ms"}}
    site.start(
        site.route({"path": "/", "upstream": flaky.address, **rule}, host="flaky.example.com"),
        site.route({"path": "/", "upstream": slow.address, **rule}, host="slow.example.com"),
        site.route({"path": "/", "upstream": dead_address, **rule}, host="dead.example.com"),
    )
    assert site.ask("/", host="flaky.example.com").body == b"try 2"
    assert site.ask("/", host="slow.example.com").body == b"try 2"
    assert site.ask("/", host="dead.example.com").status == 502
    assert site.edge.wait_access(host="dead.example.com")[0]["attempts"] == 2


def test_an_endpoint_that_says_nothing_of_a_body_is_followed_by_another(site, taps, origins):
    """It has failed, as one that gives no answer; the client waits for the word of the next one."""
    silent, other = taps(), origins("other")
    app = {"endpoints": [silent.address, other.address], "outlier": {"consecutive_failures": 1, "eject_for": "60s"}}
    site.start(site.route({"path": "/", "upstream": "app",
                           "retry": {"attempts": 1, "on": ["timeout"], "backoff": "10ms"}}),
               upstreams={"app": app}, timeouts={"response": "300ms"})
    waiting = [("Expect", "100-continue"), ("Content-Length", 5)]
    for _ in range(3):
        with site.wire() as wire:
            wire.send(request("/upload", HOST, "PUT", waiting))
            assert wire.take_through(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            assert wire.is_quiet(0.4)  # now the client is who is waited for
            wire.send(b"hello")
            assert json.loads(wire.response().body)["length"] == 5
    attempts = [line["attempts"] for line in site.edge.wait_access(3, path="/upload")]
    assert sorted(attempts) == [1, 1, 2], "one has met it, and the others go elsewhere"
    assert "ejected for" in site.edge.log()


def test_what_may_have_been_done_is_not_repeated(site):
    site.start(retrying(site, "reset", "timeout", timeouts={"try": "300ms"}))
    site.origin.scripts["/reset"] = failing(1, how=lambda call: call.send(b""))
    site.origin.scripts["/slow"] = failing(1, how=lambda call: call.gate("never"))
    assert site.ask("/reset", method="POST", body=b"x").status == 502
    assert site.ask("/slow", method="POST", body=b"x").status == 504


def test_never_after_answer_bytes(site):
    site.start(retrying(site, "reset", 503))
    with site.wire() as wire:
        wire.send(request("/short/1000", HOST))
        wire.take_through(b"\r\n\r\n")
        wire.rest_or_reset()
    assert len(site.origin.requests) == 1


def test_retries_stay_inside_the_request_timeout(site):
    site.origin.scripts["/"] = failing(1000)
    site.start(retrying(site, 503, attempts=10, backoff="400ms", timeouts={"request": "500ms"}))
    assert site.ask("/").status == 504
    assert 1 <= len(site.origin.requests) <= 3
    site.edge.wait_access(reason="request_timeout")
