"""The access log: one line per request and per passthrough connection, failed handshakes included."""

import datetime
import json
import re

import pytest
from support.hello import hello
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_the_fields_of_a_request(site, transport):
    site.start(site.route({"path": "/", "upstream": "app"}), upstreams={"app": {"endpoints": [site.origin.address]}})
    before = datetime.datetime.now(datetime.timezone.utc)
    with site.wire(transport) as wire:
        wire.send(request("/upload?a=b", HOST, "POST", [("User-Agent", "tester/1"), ("Referer", "http://r.test/")], b"x" * 5000))
        answer = wire.response()
    line = site.edge.wait_access(kind="request")[0]
    assert line["listener"] == transport and line["client"] == "127.0.0.1" and line["client_port"] > 1023
    assert line["host"] == HOST and line["route"] == HOST
    assert (line["method"], line["path"], line["protocol"]) == ("POST", "/upload?a=b", "HTTP/1.1")
    assert line["status"] == 200 and line["reason"] == "done"
    assert line["upstream"] == "app" and line["endpoint"] == site.origin.address
    assert line["bytes_in"] >= 5000 and line["bytes_out"] >= len(answer.body)
    assert 0 <= line["duration_ms"] < 60_000
    assert line["request_id"] == site.origin.requests[0].get("x-request-id")
    assert line["user_agent"] == "tester/1" and line["referer"] == "http://r.test/"
    moment = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    assert abs((moment - before).total_seconds()) < 60
    if transport == "https":
        assert (line["sni"], line["alpn"], line["tls"]) == (HOST, "http/1.1", "TLSv1.3")
    else:
        assert "sni" not in line


@pytest.mark.sanitizer
def test_the_time_until_a_connection_stood_is_told_where_one_was_made(site):
    site.start()
    with site.wire() as wire:
        for _ in range(2):
            assert wire.ask("/bytes/1", HOST).status == 200
    first, second = site.edge.wait_access(2, kind="request")
    assert 0 < first["connect_ms"] <= first["first_byte_ms"] <= first["duration_ms"]
    assert "connect_ms" not in second


@pytest.mark.sanitizer
def test_one_line_per_request_not_per_connection(site):
    site.start()
    with site.wire("https") as wire:
        for number in range(5):
            wire.ask(f"/bytes/{number}", HOST)
    until(lambda: len(site.edge.access()) >= 5, "five lines")
    site.edge.stop()  # writes whatever still waits
    lines = site.edge.access()
    assert [line["path"] for line in lines] == [f"/bytes/{n}" for n in range(5)]
    assert {line["kind"] for line in lines} == {"request"}


@pytest.mark.sanitizer
def test_the_fields_of_a_passthrough_connection(edge, tap):
    edge.start(routes=[{"host": "*.example.com", "passthrough": tap.address}])
    data = hello("a.example.com", alpn=["h2", "http/1.1"])
    with Wire.connect(edge.https) as client:
        client.send(data)
        backend = tap.accept()
        backend.take(len(data))
        backend.send(b"r" * 1234)
        client.take(1234)
        client.send(b"q" * 77)
        backend.take(77)
        client.finish()
        backend.take_rest()
        backend.close()
        client.take_rest()
    line = edge.wait_access(kind="connection")[0]
    assert line["sni"] == "a.example.com" and line["alpn"] == "h2"
    assert line["route"] == "*.example.com" and line["listener"] == "https"
    assert line["endpoint"] == tap.address and line["reason"] == "done"
    assert line["bytes_in"] == len(data) + 77 and line["bytes_out"] == 1234
    edge.stop()
    assert len(edge.access()) == 1


@pytest.mark.sanitizer
def test_connections_that_came_to_nothing_have_a_line(site, authority, stranger):
    site.start(
        {"host": "shut.example.com", "tls": {"client_ca": str(authority.path), "client_auth": "require"},
         "rules": [{"path": "/", "respond": {"status": 200}}]},
        timeouts={"client_hello": "500ms"},
    )
    edge = site.edge

    def end(data, finish=False):
        with Wire.connect(edge.https) as wire:
            wire.send(data)
            if finish:
                wire.finish()
            wire.rest_or_reset()

    end(b"GET / HTTP/1.1\r\n\r\n")
    end(hello("nobody.test"))
    end(hello(None))
    end(hello("shut.example.com")[:50])
    end(hello("shut.example.com") + b"\x15\x03\x03\x00\x02\x02\x28", finish=True)
    for reason, sni in (("not_tls", None), ("unknown_host", "nobody.test"), ("no_sni", None), ("hello_timeout", None),
                        ("handshake_failed", "shut.example.com")):
        line = edge.wait_access(kind="connection", reason=reason)[0]
        assert line.get("sni") == sni and line["client"] == "127.0.0.1" and line["listener"] == "https"
    assert edge.wait_access(reason="handshake_failed")[0]["detail"]


@pytest.mark.sanitizer
def test_hostile_bytes_leave_every_line_valid(site):
    """Names, paths and headers of strangers can neither forge a line nor break one."""
    site.start()
    forged = b'x"}\n{"time":"forged","status":200}\n\x1b[31m\xff\xfe'
    with Wire.connect(site.edge.https) as wire:
        wire.send(hello(forged))
        wire.rest_or_reset()
    for agent in (b'"quoted" \\ back', b"\xff\xfe\x80", "ümlaut".encode(), b"a" * 20_000):
        with site.wire() as wire:
            wire.send(b"GET /bytes/1?\"'<> HTTP/1.1\r\nHost: own.example.com\r\nUser-Agent: ".replace(b"\"'<>", b"%22")
                      + agent + b"\r\n\r\n")
            wire.response()
    until(lambda: len(site.edge.access_path.read_bytes().splitlines()) >= 5, "five lines")
    site.edge.stop()
    for raw in site.edge.access_path.read_bytes().splitlines():
        line = json.loads(raw.decode("utf-8"))
        assert line["time"] != "forged" and b"\x1b" not in raw
        assert len(raw) < 40_000


@pytest.mark.sanitizer
def test_text_format(site):
    log = {"level": "info", "access": {"path": str(site.edge.access_path), "format": "text"}}
    site.start(log=log)
    site.ask("/bytes/3?x")
    with Wire.connect(site.edge.https) as wire:
        wire.send(hello("nobody.test"))
        wire.rest_or_reset()
    read = lambda: site.edge.access_path.read_text().splitlines() if site.edge.access_path.exists() else []  # noqa: E731
    until(lambda: len(read()) >= 2, "two lines")
    one, two = sorted(read(), key=lambda line: "kind=request" not in line)  # two workers, two rings
    for part in ("status=200", "method=GET", f"host={HOST}", f"endpoint={site.origin.address}", "reason=done"):
        assert part in one, one
    assert re.search(r"path=\"?/bytes/3\?x", one)
    assert "reason=unknown_host" in two and "sni=nobody.test" in two


def test_chosen_fields_and_sampling(site):
    access = {"path": str(site.edge.access_path), "format": "json", "fields": ["status", "path", "reason"], "sample": 10}
    site.start(log={"access": access})
    with site.wire() as wire:
        for _ in range(100):
            wire.ask("/bytes/1", HOST)
    for _ in range(5):
        site.ask("/", host="nobody.test")
    failed = site.edge.wait_access(5, status=404)  # failures are never left out
    assert set(failed[0]) == {"status", "path", "reason"}
    site.edge.stop()
    assert 2 <= len([line for line in site.edge.access() if line["status"] == 200]) <= 30


def test_off(site):
    site.start(log={"access": {"path": str(site.edge.access_path), "format": "off"}})
    site.ask("/bytes/1")
    site.edge.stop()
    assert not site.edge.access_path.exists() or site.edge.access_path.read_text() == ""


def test_a_full_disk_or_a_missing_folder_never_blocks_requests(site):
    """/dev/full takes nothing: requests go on, lines are dropped and counted."""
    site.start(log={"access": {"path": "/dev/full", "format": "json"}})
    with site.wire() as wire:
        for _ in range(2000):
            assert wire.ask("/bytes/1", HOST).status == 200
