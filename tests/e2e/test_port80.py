"""The http listener: ACME challenges first, then redirect, serve or off; an unknown host is 404."""

import os

import pytest
from support.origin import Origin
from support.site import HOST
from support.waiting import until
from support.wire import request

ACME = "/.well-known/acme-challenge/"


with_port_80 = pytest.mark.xdist_group("port 80")  # of 127.0.0.2: one after the other


@pytest.fixture
def tokens(tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    (folder / "token-1_A").write_text("token-1_A.thumbprint")
    return folder


def location(edge, path, host=HOST):
    return f"https://{host}:{edge.https}{path}"


@pytest.mark.sanitizer
def test_redirect_is_the_default(site):
    route = site.route()
    del route["on_http"]
    site.start(route)
    with site.wire() as wire:
        for method, status in (("GET", 301), ("HEAD", 301), ("POST", 308), ("PUT", 308), ("DELETE", 308), ("PATCH", 308)):
            body = b"x" if method in ("POST", "PUT", "PATCH") else b""
            answer = wire.ask("/a/b?c=d&e=%2f", HOST, method=method, body=body)
            assert answer.status == status or (method == "DELETE" and answer.status in (301, 308)), method
            assert answer.get("location") == location(site.edge, "/a/b?c=d&e=%2f")
            if answer.get("connection") == "close":
                wire.close()
                wire = site.wire()
    assert site.origin.requests == []


def test_the_redirect_names_no_port_where_it_is_443(site):
    config = site.edge.base()
    config["listeners"][0].pop("redirect_port")
    route = site.route()
    del route["on_http"]
    site.start(route, listeners=config["listeners"])
    assert site.ask("/x").get("location") == f"https://{HOST}/x"
    # The port that the client named in Host is not the port of the https listener.
    with site.wire() as wire:
        assert wire.ask("/x", f"{HOST}:{site.edge.http}").get("location") == f"https://{HOST}/x"


def test_a_redirect_cannot_be_led_elsewhere(site):
    """Neither the target nor the Host puts another host or a new header line into Location."""
    route = site.route()
    del route["on_http"]
    site.start(route)
    for target in ("//evil.test/x", "/\\evil.test", "/%0d%0aSet-Cookie:x=1", "/x?u=http://evil.test"):
        answer = site.ask(target)
        if answer.status != 400:
            assert answer.get("location").startswith(f"https://{HOST}:{site.edge.https}/"), target
            assert answer.get("set-cookie") is None
    with site.wire() as wire:
        wire.send(b"GET http://own.example.com/x HTTP/1.1\r\nHost: own.example.com\r\n\r\n")
        assert wire.response().get("location") == location(site.edge, "/x")


@pytest.mark.sanitizer
def test_serve_off_and_passthrough_hosts(site, tap):
    site.start(
        site.route(host="served.example.com"),
        {"host": "off.example.com", "on_http": "off", "rules": [{"path": "/", "upstream": site.origin.address}]},
        {"host": "through.example.com", "passthrough": tap.address},
        {"host": "through-off.example.com", "passthrough": tap.address, "on_http": "off"},
    )
    assert site.ask("/bytes/3", host="served.example.com").body == b"\x00\x01\x02"
    assert site.ask("/", host="off.example.com").status == 404
    answer = site.ask("/x", host="through.example.com")
    assert answer.status == 301 and answer.get("location") == location(site.edge, "/x", "through.example.com")
    assert site.ask("/", host="through-off.example.com").status == 404
    assert tap.nobody_comes(0.1)


@pytest.mark.sanitizer
def test_an_unknown_host_is_404(site, tokens):
    site.start(acme={"tokens_dir": str(tokens)})
    for host in ("nobody.test", "127.0.0.1", f"127.0.0.1:{site.edge.http}", "[::1]", "example.com", "x.own.example.com"):
        answer = site.ask("/", host=host)
        assert answer.status == 404 and answer.get("location") is None, host
        assert site.ask(ACME + "unknown", host=host).status == 404
    site.edge.wait_access(host="nobody.test", status=404, reason="unknown_host")


@pytest.mark.sanitizer
def test_tokens_are_answered_for_every_host(site, tokens, tap):
    route = site.route()
    del route["on_http"]
    site.start(route, {"host": "through.example.com", "passthrough": tap.address},
               {"host": "off.example.com", "on_http": "off", "rules": [{"path": "/", "upstream": site.origin.address}]},
               acme={"tokens_dir": str(tokens)})
    for host in (HOST, "through.example.com", "off.example.com"):
        answer = site.ask(ACME + "token-1_A", host=host)
        assert (answer.status, answer.body) == (200, b"token-1_A.thumbprint"), host
        missing = site.ask(ACME + "missing", host=host)
        assert missing.status == 404 and missing.get("location") is None
    # A token that is written while it runs is there at once, and gone when it is removed.
    (tokens / "later").write_text("later.x")
    assert site.ask(ACME + "later").body == b"later.x"
    (tokens / "later").unlink()
    assert site.ask(ACME + "later").status == 404
    assert site.ask(ACME + "token-1_A", method="HEAD").status == 200


@pytest.mark.sanitizer
@pytest.mark.parametrize("token", [
    "../secret", "..%2fsecret", "%2e%2e/secret", "", ".", "..", "sub/file", "a.b", "token-1_A/", "x" * 257, "%00", ".hidden",
    "token-1_A%00", "~", "token 1",
])
def test_nothing_but_a_token_reaches_the_file_system(site, tokens, token):
    (tokens.parent / "secret").write_text("secret!")
    (tokens / ".hidden").write_text("secret!")
    (tokens / "a.b").write_text("secret!")
    (tokens / "sub").mkdir()
    (tokens / "sub" / "file").write_text("secret!")
    site.start(acme={"tokens_dir": str(tokens)})
    with site.wire() as wire:
        wire.send(request(ACME + token, HOST))
        answer = wire.response()
    assert answer.status in (200, 400, 404) and b"secret!" not in answer.body
    if answer.status == 200:  # it was no challenge at all, and the served site answered
        assert site.origin.requests


def test_links_and_folders_in_tokens_dir_are_no_tokens(site, tokens, tmp_path):
    (tokens / "folder").mkdir()
    os.mkfifo(tokens / "pipe")
    site.start(acme={"tokens_dir": str(tokens)})
    for token in ("folder", "pipe"):
        assert site.ask(ACME + token).status == 404
    assert site.ask(ACME + "token-1_A").status == 200


def test_a_tokens_dir_that_comes_later(site, tmp_path):
    folder = tmp_path / "not-yet"
    site.start(acme={"tokens_dir": str(folder)})
    assert site.ask(ACME + "late").status == 404
    folder.mkdir()
    (folder / "late").write_text("late.x")
    until(lambda: site.ask(ACME + "late").body == b"late.x", "the token is answered")


@pytest.mark.sanitizer
def test_the_solver_gets_path_and_host_untouched(site, tokens, origins, taps):
    solver, behind = origins("solver"), origins("behind")
    through = taps()
    site.start(
        {"host": "a.example.com", "passthrough": through.address, "acme_solver": solver.address},
        {"host": "b.example.com", "rules": [{"path": "/", "upstream": behind.address}], "acme_solver": solver.address},
        {"host": "c.example.com", "on_http": "off", "passthrough": through.address, "acme_solver": solver.address},
        acme={"tokens_dir": str(tokens)},
    )
    for host in ("a.example.com", "b.example.com", "c.example.com"):
        answer = site.ask(ACME + "abc-_123", host=host)
        assert answer.status == 200 and answer.body == f"solver {ACME}abc-_123\n".encode()
        assert solver.requests[-1].get("host") == host and solver.requests[-1].method == "GET"
        # What is in the token directory comes first.
        assert site.ask(ACME + "token-1_A", host=host).body == b"token-1_A.thumbprint"
    assert len(solver.requests) == 3 and behind.requests == [] and through.nobody_comes(0.05)
    # Only the challenges go there.
    assert site.ask("/other", host="a.example.com").status == 301


@pytest.mark.sanitizer
def test_a_solver_that_is_down_is_no_redirect(site, dead_address):
    site.start({"host": "a.example.com", "passthrough": dead_address, "acme_solver": dead_address})
    answer = site.ask(ACME + "abc", host="a.example.com")
    assert answer.status in (502, 503) and answer.get("location") is None and dead_address.encode() in answer.body


@with_port_80
def test_backend_means_port_80_of_the_endpoints(site):
    """Port 80 of 127.0.0.2 is ours for the length of this test, where that is allowed."""
    solver = Origin(80, "port80", host="127.0.0.2")
    try:
        site.start({"host": "a.example.com", "passthrough": "127.0.0.2:4443", "acme_solver": "backend"})
        answer = site.ask(ACME + "abc", host="a.example.com")
        assert answer.body == f"port80 {ACME}abc\n".encode()
        assert solver.requests[0].get("host") == "a.example.com"
    finally:
        solver.close()


@with_port_80
def test_backend_comes_from_where_the_backends_connections_do_and_leaves_out_who_is_drained(site):
    solver = Origin(80, "port80", host="127.0.0.2")
    try:
        endpoints = [{"address": "127.0.0.3:4443", "weight": 0}, "127.0.0.2:4443"]  # nobody is at port 80 of the first
        upstream = {"endpoints": endpoints, "source_address": "127.0.0.9"}
        site.start({"host": "a.example.com", "passthrough": upstream, "acme_solver": "backend"}, workers=1)
        for _ in range(4):
            assert site.ask(ACME + "abc", host="a.example.com").body == f"port80 {ACME}abc\n".encode()
        assert {line["attempts"] for line in site.edge.wait_access(4)} == {1}
        assert solver.clients == {"127.0.0.9"}
    finally:
        solver.close()


@pytest.mark.sanitizer
@pytest.mark.parametrize("on_http", ["redirect", "off", "serve"])
def test_never_a_redirect_on_the_acme_path(site, tokens, on_http):
    site.start(
        {"host": HOST, "on_http": on_http, "rules": [{"path": "/", "redirect": {"scheme": "https", "host": "x.test"}}]},
        acme={"tokens_dir": str(tokens)},
    )
    with site.wire() as wire:
        for token in ("token-1_A", "unknown", "x" * 256):
            for method in ("GET", "HEAD"):
                answer = wire.ask(ACME + token, HOST, method=method)
                assert answer.status in (200, 404) and answer.get("location") is None
    assert site.ask(ACME + "unknown", host="nobody.test").status == 404
