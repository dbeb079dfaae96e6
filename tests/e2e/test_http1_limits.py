"""Every input has a limit and a deadline, every failure of an upstream an answer that names it."""

import hashlib
import json
import time

import pytest
from support.curl import curl_ok
from support.origin import pattern
from support.proxy import sanitized
from support.site import HOST
from support.waiting import until
from support.wire import request


# limits

def test_a_body_that_is_too_large_is_refused_with_the_fields_of_the_rule(site):
    rule = {"path": "/", "upstream": site.origin.address, "response_headers": {"set": {"x-a": "1"}}, "cors": {"origins": ["https://a.example"]}}
    site.start(site.route(rule, max_request_body="10KiB"))
    for framing in ({"headers": [("Content-Length", 10_241)]}, {"headers": [("Transfer-Encoding", "chunked")], "body": b"2801\r\n" + b"x" * 10_241}):
        with site.wire() as wire:
            wire.send(request("/upload", HOST, "POST", [*framing["headers"], ("Origin", "https://a.example")]) + framing.get("body", b""))
            answer = wire.response()
            assert answer.status == 413
            assert (answer.get("x-a"), answer.get("access-control-allow-origin")) == ("1", "https://a.example"), framing


@pytest.mark.sanitizer
def test_max_request_body_with_a_length(site):
    site.start(site.route(max_request_body="10KiB"))
    with site.wire() as wire:
        assert wire.ask("/upload", HOST, "POST", body=b"x" * 10_240).status == 200
        wire.send(request("/upload", HOST, "POST", [("Content-Length", 10_241)]))
        assert wire.response().status == 413
        wire.rest_or_reset()
    assert len(site.origin.requests) == 1
    site.edge.wait_access(status=413, reason="body_too_large")


@pytest.mark.sanitizer
def test_max_request_body_in_chunks(site):
    site.start(site.route(max_request_body="10KiB"))
    with site.wire() as wire:
        wire.send(request("/upload", HOST, "POST", [("Transfer-Encoding", "chunked")]))
        with pytest.raises((OSError, AssertionError)):
            for _ in range(2000):
                wire.send(b"400\r\n" + bytes(1024) + b"\r\n")
                if not wire.is_quiet(0.01):
                    answer = wire.response()
                    assert answer.status == 413
                    wire.rest_or_reset()
                    raise ConnectionError("refused as it should be")
            pytest.fail("it took a body of 2 MB")
    site.edge.wait_access(reason="body_too_large")
    assert all(seen.body_length <= 10_240 for seen in site.origin.requests)


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_request_head_limit(site, transport):
    site.start(limits={"request_head": "8KiB"})
    with site.wire(transport) as wire:
        assert wire.ask("/echo", HOST, headers=[("X", "v" * 7000)]).status == 200
        wire.send(request("/echo", HOST, headers=[(f"X-{n}", "v" * 500) for n in range(20)]))
        assert wire.response().status == 431
        wire.rest_or_reset()
    with site.wire(transport) as wire:  # a target that never ends
        wire.send(b"GET /" + b"a" * 10_000)
        assert wire.response().status == 414
    assert len(site.origin.requests) == 1
    site.edge.wait_access(2, reason="head_too_large")


def test_a_header_line_that_never_ends_costs_no_memory(site):
    site.start()
    rest = site.edge.pss()
    with site.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: own.example.com\r\nX: ")
        with pytest.raises((OSError, AssertionError)):
            for _ in range(200):
                wire.send(b"v" * (1 << 20))
            wire.response()
            raise ConnectionError("it answered, and was slow to close")
    if not sanitized():
        assert site.edge.pss() - rest < 8 * 1024


# deadlines

@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_request_head_deadline(site, transport):
    site.start(timeouts={"request_head": "500ms"})
    with site.wire(transport) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: own.exa")
        assert wire.response().status == 408
        wire.rest_or_reset()
    with site.wire(transport) as wire:  # a byte now and then does not move it
        with pytest.raises((OSError, AssertionError)):
            for byte in request("/", HOST, headers=[("X", "y" * 100)]):
                wire.send(bytes([byte]))
                if not wire.is_quiet(0.05):
                    raise ConnectionError("it was answered in time")
            pytest.fail("a head that took many seconds was let through")
    site.edge.wait_access(2, reason="head_timeout")
    assert site.origin.requests == []


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_idle_keep_alive_connections_are_closed(site, transport):
    site.start(timeouts={"idle": "600ms", "request_head": "2s"})
    with site.wire(transport) as wire:
        began = time.monotonic()
        assert wire.ask("/echo", HOST).status == 200
        assert wire.rest_or_reset() == b""  # no 408 for a client that has asked nothing
        assert time.monotonic() - began >= 0.4
    with site.wire(transport) as wire:  # nor for one that never asks, which has the time of a head
        began = time.monotonic()
        assert wire.rest_or_reset() == b""
        assert time.monotonic() - began >= 1.5


@pytest.mark.sanitizer
def test_response_deadline(site):
    site.start(timeouts={"response": "500ms"})
    answer = site.ask("/gate/never")
    assert answer.status == 504 and site.origin.address.encode() in answer.body
    site.edge.wait_access(status=504, reason="response_timeout", endpoint=site.origin.address)
    # The silent connection is not used again.
    assert site.ask("/bytes/3").status == 200


@pytest.mark.full
def test_a_request_body_that_trickles_is_given_up(site):
    site.start(timeouts={"request_body_rate": "1KiB"})
    began = time.monotonic()
    with site.wire(within=60) as wire:
        wire.send(request("/upload", HOST, "POST", [("Content-Length", 100_000)]))
        with pytest.raises((OSError, AssertionError)):
            while time.monotonic() - began < 40:
                wire.send(b"x")
                if not wire.is_quiet(0.5):
                    raise ConnectionError("given up")
            pytest.fail("a body of two bytes a second was taken for 40 s")
    site.edge.wait_access(reason="body_too_slow")


# memory

@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
@pytest.mark.parametrize("how", ["bytes", "chunked"])
def test_a_slow_reader_holds_up_the_origin_not_the_memory(site, transport, how):
    site.start()
    assert site.ask("/bytes/1000000", transport).status == 200
    rest = site.edge.pss()
    size = 400_000_000
    wires = [site.wire(transport, rcvbuf=32_768) for _ in range(8)]
    for wire in wires:
        wire.send(request(f"/{how}/{size}", HOST))
        wire.take(1000)
    until(lambda: _unchanged(site), "the flow stands still", within=30)
    if not sanitized():
        assert site.edge.pss() - rest < 8 * 1024
    for wire in wires:
        wire.close()
    until(lambda: site.origin.open_connections() <= 1, "the origin's connections are given up", within=20)


def _unchanged(site):
    """True when the origin sent nothing for a quarter of a second."""
    before = site.origin.bytes_sent
    deadline = time.monotonic() + 0.25
    while time.monotonic() < deadline:
        if site.origin.bytes_sent != before:
            return False
        site.edge.probe("/healthz")
    return True


@pytest.mark.sanitizer
def test_an_origin_that_does_not_read_holds_up_the_client(site, tap):
    site.start(site.route({"path": "/", "upstream": tap.address}))
    rest = site.edge.pss()
    with site.wire() as wire:
        wire.send(request("/up", HOST, "POST", [("Content-Length", 1 << 30)]))
        backend = tap.accept()
        backend.take_through(b"\r\n\r\n")
        wire.sock.settimeout(1.5)
        sent = 0
        with pytest.raises(OSError):
            while sent < 512 << 20:
                wire.send(bytes(1 << 20))
                sent += 1 << 20
        assert sent < 256 << 20
        if not sanitized():
            assert site.edge.pss() - rest < 16 * 1024


@pytest.mark.sanitizer
def test_64_mib_up_and_down_through_termination_with_little_memory(site, big_file, nginx):
    files = nginx("files")
    (files.root / "big").symlink_to(big_file)
    site.start(site.route({"path": "/upload", "upstream": site.origin.address}, {"path": "/files", "upstream": files.address}))
    site.ask("/upload", "https")
    rest = site.edge.pss()
    digest = hashlib.sha256(big_file.read_bytes()).hexdigest()
    common = {"port": site.edge.https, "ca": site.authority.path, "within": 240}
    answer = json.loads(curl_ok("https://own.example.com:{port}/upload", "-T", big_file, "-H", "Expect:", **common))
    assert answer["sha256"] == digest
    assert hashlib.sha256(curl_ok("https://own.example.com:{port}/files/big", **common)).hexdigest() == digest
    if not sanitized():
        assert site.edge.pss() - rest < 16 * 1024


# failures of the upstream

@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_an_upstream_that_is_down(site, transport, dead_address):
    site.start(site.route({"path": "/", "upstream": "app"}), upstreams={"app": {"endpoints": [dead_address]}})
    with site.wire(transport) as wire:
        for _ in range(2):  # the client's connection goes on
            answer = wire.ask("/", HOST)
            assert answer.status in (502, 503)
            assert b"app" in answer.body or dead_address.encode() in answer.body
    line = site.edge.wait_access(2, reason="connect_failed")[0]
    assert line["upstream"] == "app" and dead_address in line["detail"] and "refused" in line["detail"].lower()


def test_an_upstream_that_does_not_answer_syns(site, blackhole):
    site.start(site.route({"path": "/", "upstream": blackhole.address}), timeouts={"connect": "300ms"})
    answer = site.ask("/")
    assert answer.status in (502, 503, 504) and blackhole.address.encode() in answer.body
    site.edge.wait_access(reason="connect_timeout")


@pytest.mark.sanitizer
@pytest.mark.parametrize("path", ["/nothing", "/reset"])
def test_an_upstream_that_ends_without_an_answer(site, path):
    site.start()
    with site.wire() as wire:
        answer = wire.ask(path, HOST, method="POST", body=b"x")
        assert answer.status == 502 and site.origin.address.encode() in answer.body
        assert wire.ask("/bytes/3", HOST).body == pattern(3)
    site.edge.wait_access(status=502, reason=lambda r: r in ("upstream_closed", "upstream_reset"))


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
@pytest.mark.parametrize("path", ["/short/100000", "/cut"])
def test_an_answer_that_is_cut_short_never_looks_whole(site, transport, path):
    site.start()
    with site.wire(transport) as wire, pytest.raises((AssertionError, OSError)):
        wire.ask(path, HOST)
    site.edge.wait_access(reason=lambda r: r in ("upstream_closed", "upstream_reset"))


@pytest.mark.sanitizer
def test_a_connection_that_the_origin_closed_meanwhile_is_not_used(site):
    site.start(workers=1)
    for _ in range(10):
        assert site.ask("/bye").body == b"bye\n"
    assert len(site.origin.requests) == 10


@pytest.mark.sanitizer
def test_a_stale_connection_is_retried_where_that_is_safe(site):
    """The origin closes a kept connection just when the next request comes on it."""
    site.start(workers=1)
    for _ in range(5):
        assert site.ask("/once").body == b"once\n"
        assert site.ask("/once?again").body == b"once\n"


def test_a_post_is_never_sent_twice(site):
    site.start(workers=1)
    assert site.ask("/once").status == 200
    answer = site.ask("/once?post", method="POST", body=b"pay 10")
    assert answer.status in (200, 502)
    assert len([seen for seen in site.origin.requests if seen.method == "POST"]) == 1


def test_limits_connections_of_an_upstream(site):
    site.start(site.route({"path": "/", "upstream": "app"}),
               upstreams={"app": {"endpoints": [site.origin.address], "limits": {"connections": 2}}})
    waiting = [site.wire() for _ in range(2)]
    for wire in waiting:
        wire.send(request("/gate/open", HOST))
    site.origin.wait_for_requests(2)
    answer = site.ask("/echo")
    assert answer.status == 503 and b"app" in answer.body
    site.edge.wait_access(status=503, reason="upstream_limit")
    site.origin.gate("open").set()
    for wire in waiting:
        assert wire.response().status == 200
        wire.close()
    until(lambda: site.ask("/echo").status == 200, "there is room again")


@pytest.mark.sanitizer
def test_a_client_that_leaves_takes_its_upstream_request_along(site):
    site.start()
    wire = site.wire()
    wire.send(request("/gate/never", HOST))
    site.origin.wait_for_requests(1)
    wire.reset()
    site.edge.wait_access(reason="client_reset")
    site.origin.gate("never").set()
    until(lambda: site.origin.open_connections() == 0, "the origin is let off as well")


def test_the_limit_of_client_connections(site):
    site.start(limits={"connections": 10})
    kept = [site.wire() for _ in range(10)]
    for wire in kept:
        assert wire.ask("/bytes/1", HOST).status == 200
    with site.wire() as one_more:
        try:
            one_more.send(request("/bytes/1", HOST))
            assert not one_more.rest_or_reset().startswith(b"HTTP/1.1 200")
        except OSError:
            pass
    for wire in kept:
        assert wire.ask("/bytes/1", HOST).status == 200
        wire.close()

    def works():
        try:
            return site.ask("/bytes/1").status == 200
        except (OSError, AssertionError):
            return False

    until(works, "there is room again")
