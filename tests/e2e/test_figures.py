"""What the metrics count and what the access log says: whatever ends is in both, and in both alike."""

import socket
import struct

import pytest
from h2.settings import SettingCodes
from support.frames import (
    DATA, END_HEADERS, HEADERS, HEADERS_200, RST_STREAM, Listening, frame, http2_upstream, take_head,
)
from support.ports import free_port
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
SWITCHES = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
REFUSED_STREAM = 7
NAME = "a.example.test"  # of the house's tenant a


def drops(site, reason):
    return site.edge.metrics().total("edgemux_drops_total", reason=reason)


def classes(site, family="edgemux_requests_total", **labels):
    return {one: site.edge.metrics().total(family, **{"class": one}, **labels) for one in ("none", "1xx", "2xx", "4xx", "5xx")}


def reset(wire):
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def websocket_over_http2(client, path):
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    return client.ask(path, method="CONNECT", pseudo=[(":protocol", "websocket")], end=False,
                      headers=[("sec-websocket-version", "13")])


# ---- upgrades


@pytest.mark.sanitizer
def test_the_end_of_an_upgraded_tunnel_is_counted_and_told_as_its_request_was(site, tap):
    """Behind a trusted proxy: its address is nobody's."""
    site.start(site.route({"path": "/", "upstream": {"endpoints": [tap.address]}}),
               listeners=[{"name": "http", "bind": [f"127.0.0.1:{site.edge.http}"], "protocol": "http", "trusted_proxies": ["127.0.0.0/8"]}])
    with site.wire() as wire:
        wire.send(request("/chat?room=1", HOST, headers=[*UPGRADE, ("X-Forwarded-For", "192.0.2.7")]))
        backend = tap.accept()
        backend.take_through(b"\r\n\r\n")
        backend.send(SWITCHES)
        assert wire.response().status == 101
        reset(backend)
        wire.rest_or_reset()
    tunnel = site.edge.wait_access(kind="connection", protocol="upgrade")[0]
    first = site.edge.wait_access(kind="request", status=101)[0]
    assert tunnel["reason"] == "upstream_reset" and drops(site, "upstream_reset") == 1
    assert tunnel["client"] == "192.0.2.7" and tunnel["route"] == HOST and len(tunnel["request_id"]) == 32
    for field in ("client", "host", "path", "route", "request_id", "upstream", "endpoint"):
        assert tunnel[field] == first[field]


@pytest.mark.sanitizer
def test_the_end_of_a_websocket_over_http2_is_counted_and_told_as_its_request_was(site, tap, h2):
    site.start(site.route({"path": "/", "upstream": {"endpoints": [tap.address]}}))
    client = h2()
    stream = websocket_over_http2(client, "/chat")
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    backend.send(SWITCHES + b"hello")
    client.until(lambda: client.streams[stream].body == b"hello", "the tunnel stands")
    reset(backend)
    client.until(lambda: client.streams[stream].reset is not None, "its end is passed on")
    tunnel = site.edge.wait_access(kind="connection", protocol="upgrade")[0]
    first = site.edge.wait_access(kind="request", path="/chat")[0]
    assert (first["method"], first["status"], first["protocol"]) == ("CONNECT", 200, "HTTP/2")
    assert tunnel["reason"] == "upstream_reset" and drops(site, "upstream_reset") == 1
    assert tunnel["bytes_out"] == 5
    for field in ("client", "host", "path", "route", "request_id", "upstream", "endpoint"):
        assert tunnel[field] == first[field]


def bytes_of(site, listener):
    directions = ("client_received", "client_sent", "upstream_sent", "upstream_received")
    return {one: site.edge.metrics().total("edgemux_bytes_total", listener=listener, direction=one) for one in directions}


@pytest.mark.sanitizer
def test_what_is_read_before_an_upgrade_is_counted_once(site, tap):
    site.start(site.route({"path": "/", "upstream": tap.address}))
    head = request("/ws", HOST, headers=UPGRADE)
    with site.wire() as wire:
        wire.send(head + b"u" * 9000)
        backend = tap.accept()
        asked = len(backend.take_through(b"\r\n\r\n"))
        backend.send(SWITCHES + b"d" * 30_000)
        assert wire.response().status == 101
        assert wire.take(30_000) == b"d" * 30_000 and backend.take(9000) == b"u" * 9000
        backend.close()
        wire.take_rest()
    line = site.edge.wait_access(kind="connection", protocol="upgrade")[0]
    assert (line["bytes_in"], line["bytes_out"]) == (9000, 30_000)
    seen = bytes_of(site, "http")
    assert seen["client_received"] == len(head) + 9000 and seen["upstream_sent"] == asked + 9000
    assert seen["upstream_received"] == len(SWITCHES) + 30_000
    assert 30_000 < seen["client_sent"] < 31_000


@pytest.mark.sanitizer
def test_bytes_of_a_websocket_over_http2_are_counted_once(site, tap, h2):
    """The connection counts them with all that it moves."""
    site.start(site.route({"path": "/", "upstream": tap.address}))
    client = h2()
    stream = websocket_over_http2(client, "/ws")
    backend = tap.accept()
    asked = len(backend.take_through(b"\r\n\r\n"))
    backend.send(SWITCHES + b"d" * 30_000)
    client.until(lambda: len(client.streams[stream].body) == 30_000, "all of it")
    client.send(stream, b"u" * 30_000)
    assert backend.take(30_000) == b"u" * 30_000
    backend.close()
    client.until(lambda: client.streams[stream].ended or client.streams[stream].reset is not None, "the end")
    client.close()
    line = site.edge.wait_access(kind="connection", protocol="upgrade")[0]
    assert (line["bytes_in"], line["bytes_out"]) == (30_000, 30_000)
    seen = bytes_of(site, "https")
    assert 30_000 < seen["client_received"] < 32_000 and 30_000 < seen["client_sent"] < 32_000
    assert seen["upstream_sent"] == asked + 30_000 and seen["upstream_received"] == len(SWITCHES) + 30_000


@pytest.mark.sanitizer
@pytest.mark.parametrize("protocol", ["http1", "h2"])
def test_bytes_of_an_answer_that_breaks_off_are_counted(site, closing, protocol):
    def over_http1(sock):
        take_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)

    def over_http2(sock, stream, _):
        pieces = [frame(DATA, 0, stream, b"x" * 10_000) for _ in range(5)]
        sock.sendall(frame(HEADERS, END_HEADERS, stream, HEADERS_200) + b"".join(pieces) + frame(RST_STREAM, 0, stream, b"\0\0\0\2"))

    backend = closing(Listening(free_port(), over_http1 if protocol == "http1" else http2_upstream(over_http2)))
    site.start(site.route({"path": "/", "upstream": {"endpoints": [backend.address], "protocol": protocol}}))
    with site.wire() as wire:
        wire.send(request("/", HOST))
        assert wire.rest_or_reset().count(b"x") == 50_000
    assert site.edge.wait_access(kind="request")[0]["bytes_out"] == 50_000
    assert 50_000 < bytes_of(site, "http")["upstream_received"] < 51_000


# ---- requests that come to nothing


@pytest.mark.sanitizer
def test_what_is_refused_for_want_of_room_is_counted_and_has_a_line(site, h2):
    site.start(site.route({"path": "/", "upstream": site.origin.address}), workers=1)
    client = h2()
    large = "v" * 1500
    streams = [client.ask("/gate/all", headers=[("x-large", large), ("user-agent", "many/1")]) for _ in range(100)]
    client.until(lambda: any(client.streams[s].reset is not None for s in streams), "some are refused")
    site.origin.gate("all").set()
    client.until(lambda: all(client.streams[s].ended or client.streams[s].reset is not None for s in streams), "all are over")
    refused = [s for s in streams if client.streams[s].reset is not None]
    assert {client.streams[s].reset for s in refused} == {REFUSED_STREAM}
    lines = site.edge.wait_access(len(refused), reason="too_many_streams")
    assert len(lines) == len(refused) == drops(site, "too_many_streams")
    for line in lines:
        assert (line["kind"], line["method"], line["host"], line["path"]) == ("request", "GET", HOST, "/gate/all")
        assert (line["protocol"], line["user_agent"]) == ("HTTP/2", "many/1") and "status" not in line
    site.edge.wait_access(100, kind="request")
    counted = classes(site, listener="https")
    assert counted["none"] == len(refused) and sum(counted.values()) == 100
    # They took no time, and would say of the others that they took less.
    assert site.edge.metrics().total("edgemux_request_duration_seconds_count", listener="https") == 100 - len(refused)


@pytest.mark.sanitizer
def test_requests_whose_client_left_are_counted_in_a_class(house, origin):
    house.write("a", [{"host": NAME, "on_http": "serve", "rules": [{"path": "/", "upstream": origin.address}]}])
    house.start()
    with Wire.connect(house.edge.http) as wire:
        wire.send(request("/gate/never", NAME))
        origin.wait_for_requests(1)
        reset(wire)
    house.edge.wait_access(kind="request", reason="client_reset")
    assert house.plain("/bytes/1", NAME).status == 200
    house.edge.wait_access(2, kind="request")
    expected = {"none": 1, "1xx": 0, "2xx": 1, "4xx": 0, "5xx": 0}
    assert classes(house, listener="http") == classes(house, "edgemux_tenant_requests_total", tenant="a") == expected
    assert house.edge.metrics().total("edgemux_request_duration_seconds_count", listener="http") == 2
    origin.gate("never").set()


@pytest.mark.sanitizer
def test_what_breaks_a_connection_between_requests_is_counted_and_has_a_line(site, h2):
    site.start()
    client = h2()
    stream = client.ask("/bytes/1")
    client.until(lambda: client.streams[stream].ended, "an answer")
    client.raw(struct.pack(">IBIxxxx", 4 << 8 | 8, 0, 0))  # WINDOW_UPDATE by 0
    client.until(lambda: client.goaway is not None, "GOAWAY")
    line = site.edge.wait_access(kind="connection", reason="bad_request")[0]
    assert "WINDOW_UPDATE" in line["detail"] and drops(site, "bad_request") == 1


@pytest.mark.sanitizer
@pytest.mark.parametrize("begun", [b"", b"GET /half HTTP/1.1\r\n"])
def test_who_leaves_a_kept_connection_is_missed_in_the_middle_only(site, begun):
    site.start()
    with site.wire() as wire:
        assert wire.ask("/bytes/1", HOST).status == 200
        wire.send(begun)
        if begun:
            until(lambda: bytes_of(site, "http")["client_received"] > len(begun) + 40, "it is read")
        reset(wire)
    until(lambda: site.edge.metrics().total("edgemux_connections_active", listener="http") == 0, "it is gone")
    assert drops(site, "client_reset") == (1 if begun else 0)
    site.ask("/bytes/2")
    site.edge.wait_access(2, kind="request")
    assert len([line for line in site.edge.access() if line["kind"] == "connection"]) == (1 if begun else 0)


@pytest.mark.sanitizer
def test_a_request_that_ends_its_connection_is_counted_once(site):
    site.start(site.route({"path": "/", "upstream": site.origin.address}, max_request_body=10))
    with site.wire() as wire:
        wire.send(request("/x", HOST, "POST", [("Content-Length", 1 << 30)]))
        assert wire.response().status == 413
        wire.rest_or_reset()
    with site.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
        assert wire.response().status == 400
        wire.rest_or_reset()
    until(lambda: site.edge.metrics().total("edgemux_connections_active", listener="http") == 0, "both are gone")
    assert drops(site, "body_too_large") == 1 and drops(site, "bad_request") == 1
    assert len(site.edge.wait_access(2)) == 2


# ---- figures of one request


@pytest.mark.sanitizer
def test_a_request_begins_with_its_first_byte(site):
    site.start(timeouts={"request_head": "700ms"})
    with site.wire() as wire:
        wire.send(b"GET /late HTTP/1.1\r\n")
        assert wire.response().status == 408
        wire.rest_or_reset()
    line = site.edge.wait_access(reason="head_timeout")[0]
    assert line["duration_ms"] >= 300  # of the 700, as long as it took until the first bytes were read
    buckets = site.edge.metrics()
    assert buckets.total("edgemux_request_duration_seconds_sum", listener="http") >= 0.3
    with site.wire() as wire:  # whole at once, and then a pause: the next one begins later
        for _ in range(2):
            assert wire.ask("/bytes/1", HOST).status == 200
    assert all(line["duration_ms"] < 300 for line in site.edge.wait_access(2, status=200))


@pytest.mark.sanitizer
def test_attempts_are_told_where_something_was_tried(site):
    limited = {"endpoints": [site.origin.address], "limits": {"connections": 1, "pending": 0}}
    site.start(site.route({"path": "/", "upstream": limited}), workers=1)
    with site.wire() as wire:
        wire.send(request("/gate/one", HOST))
        site.origin.wait_for_requests(1)
        assert site.ask("/two").status == 503
        site.origin.gate("one").set()
        wire.response()
    assert "attempts" not in site.edge.wait_access(reason="upstream_limit")[0]
    assert site.edge.wait_access(path="/gate/one")[0]["attempts"] == 1


@pytest.mark.sanitizer
def test_bytes_out_are_those_of_a_body_that_was_sent(site):
    site.start(site.route({"path": "/", "respond": {"status": 200, "body": "a body of ours\n"}}))
    for method in ("GET", "HEAD"):
        assert site.ask("/", method=method).status == 200
    assert [site.edge.wait_access(method=m)[0]["bytes_out"] for m in ("GET", "HEAD")] == [15, 0]


@pytest.mark.sanitizer
def test_bytes_of_a_request_are_counted_while_they_move(house, tap):
    """A second behind. Both directions, for the tenant and of its upstreams."""
    house.write("a", [{"host": NAME, "on_http": "serve", "rules": [{"path": "/", "upstream": tap.address}]}])
    house.start()

    def tenant(direction):
        return house.edge.metrics().total("edgemux_tenant_bytes_total", tenant="a", direction=direction)

    with Wire.connect(house.edge.http) as wire:
        wire.send(request("/up", NAME, "POST", [("Content-Length", 1 << 20)]) + b"u" * 1000)
        backend = tap.accept()
        backend.take_through(b"\r\n\r\n")
        assert backend.take(1000) == b"u" * 1000
        until(lambda: tenant("client_received") == 1000 and bytes_of(house, "http")["upstream_sent"] > 1000, "what was sent")
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"d" * 300)
        wire.take_through(b"\r\n\r\n")
        assert wire.take(300) == b"d" * 300
        until(lambda: tenant("client_sent") == 300 and bytes_of(house, "http")["upstream_received"] > 300, "what came back")
        wire.send(b"more")
        until(lambda: tenant("client_received") == 1004, "the rest, too")
    house.edge.wait_access(path="/up")
    assert tenant("client_received") == 1004 and tenant("client_sent") == 300
