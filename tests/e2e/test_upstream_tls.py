"""TLS to upstreams: who is trusted, whom we are, sessions, and what becomes of a request when there is no TLS to be had."""

import hashlib
import re
import socket
import ssl
import threading
from pathlib import Path

import pytest
import yaml
from support.origin import Origin
from support.ports import free_port
from support.proxy import edgemux
from support.waiting import until
from support.wire import Wire, request

HOST = "own.example.com"
NAME = "app.internal"


@pytest.fixture
def backend(nginx, authority):
    """backend(pair, server) starts an nginx that speaks TLS, as app.internal unless a pair is given."""
    return lambda pair=None, server="", name="app": nginx(name, pair or authority.issue(NAME), server=server)


def upstream(server, ca, **tls):
    return {"endpoints": [server.address], "tls": {"server_name": NAME, "ca": str(ca), **tls}}


def rules(site, **upstreams):
    """A route per upstream by its first path element, and the plain origin for the rest."""
    return site.route(*({"path": f"/{name}", "upstream": value} for name, value in upstreams.items()),
                      {"path": "/", "upstream": site.origin.address})


@pytest.mark.sanitizer
def test_a_verified_upstream_answers(site, backend, authority):
    server = backend(server='location / { return 200 "$ssl_protocol $ssl_server_name $host"; }')
    site.start(rules(site, app=upstream(server, authority.path)))
    for transport in ("http", "https"):
        assert site.ask("/app", transport).body == b"TLSv1.3 app.internal own.example.com"
    line = site.edge.wait_access(path="/app")[0]
    assert line["endpoint"] == server.address and line["status"] == 200


@pytest.mark.sanitizer
def test_whoever_is_not_the_upstream_gets_nothing(site, nginx, backend, authority, stranger):
    """Wrong CA, wrong name, expired, no TLS at all: 502 with the reason in the log, and nothing else is affected."""
    server = backend(server="location / { return 200 yes; }")
    expired = backend(authority.issue(NAME, days=-0.5), name="expired")
    site.start(rules(
        site,
        good=upstream(server, authority.path),
        ca=upstream(server, stranger.path),
        system={"endpoints": [server.address], "tls": {"server_name": NAME}},
        name=upstream(server, authority.path, server_name="other.internal"),
        address={"endpoints": [server.address], "tls": {"ca": str(authority.path)}},
        expired=upstream(expired, authority.path),
        plain=upstream(nginx("plain"), authority.path),
    ))
    for path, reason in {
        "ca": r"the server certificate is signed by CN=edgemux test CA, which is not in 'ca'",
        "system": r"the server certificate is signed by CN=edgemux test CA, which is not in the system's store",
        "name": r"the server certificate is for app\.internal, not for other\.internal",
        "address": r"the server certificate is for app\.internal, not for 127\.0\.0\.1",
        "expired": r"the server certificate expired on \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
        "plain": "wrong version number",
    }.items():
        answer = site.ask(f"/{path}")
        assert answer.status == 502 and b"cannot be reached over TLS" in answer.body, (path, answer)
        assert b"certificate" not in answer.body, "why is for the operator"
        line = site.edge.wait_access(path=f"/{path}")[0]
        assert line["reason"] == "upstream_tls" and line["status"] == 502
        site.edge.wait_log(reason)
        assert site.ask("/good").body == b"yes" and site.ask("/echo").status == 200


def test_insecure_must_be_spelled_out_and_warns(site, backend, stranger, edge):
    server = backend(stranger.issue("whatever"))
    site.start(rules(site, any={"endpoints": [server.address], "tls": {"insecure_skip_verify": True}}))
    assert site.ask("/any/").status == 404  # nginx's own
    edge.wait_log("insecure_skip_verify")
    checked = edgemux("check", "--config", edge.path)
    assert "insecure_skip_verify" in checked.stdout + checked.stderr


# ---- who we are


@pytest.mark.sanitizer
def test_mutual_tls(site, backend, authority, stranger):
    server = backend(server=f"""
        ssl_client_certificate {authority.path}; ssl_verify_client on;
        location / {{ return 200 "$ssl_client_verify $ssl_client_s_dn"; }}""")
    me, wrong = authority.issue("edge-1", client=True), stranger.issue("edge-1", client=True)
    site.start(rules(
        site,
        me=upstream(server, authority.path, cert=str(me.cert), key=str(me.key)),
        nobody=upstream(server, authority.path),
        wrong=upstream(server, authority.path, cert=str(wrong.cert), key=str(wrong.key)),
    ))
    assert site.ask("/me").body == b"SUCCESS CN=edge-1"
    # nginx tells in HTTP.
    assert site.ask("/nobody").status == 400 and site.ask("/wrong").status == 400
    assert site.ask("/me").body == b"SUCCESS CN=edge-1"


def test_an_upstream_that_ends_the_handshake_for_want_of_a_certificate(site, authority, closing):
    context = authority.server_context(authority.issue(NAME))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    strict = closing(Origin(free_port(), "strict", tls=context))
    site.start(rules(site, strict=upstream(strict, authority.path)))
    assert site.ask("/strict").status == 502
    assert not strict.requests
    site.edge.wait_log("certificate required")


@pytest.mark.sanitizer
def test_a_renewed_certificate_is_taken_up(site, edge, backend, authority, tmp_path):
    server = backend(server=f"""
        ssl_client_certificate {authority.path}; ssl_verify_client on;
        location / {{ return 200 "$ssl_client_s_dn"; }}""")
    cert, key = tmp_path / "me.pem", tmp_path / "me.key"
    authority.issue("old", client=True).install(cert, key)
    site.start(rules(site, me=upstream(server, authority.path, cert=str(cert), key=str(key))))
    assert site.ask("/me").body == b"CN=old"
    generation = edge.generation()
    authority.issue("new", client=True).install(cert, key)
    edge.wait_generation(generation + 1)
    until(lambda: site.ask("/me").body == b"CN=new", "the new certificate is shown")


@pytest.mark.sanitizer
def test_broken_files_refuse_their_upstream_and_nothing_else(site, edge, backend, authority, tmp_path):
    server = backend(server="location / { return 200 yes; }")
    ca, cert = tmp_path / "ca.pem", tmp_path / "me.pem"
    site.start(rules(
        site,
        good=upstream(server, authority.path),
        ca=upstream(server, ca),
        pair=upstream(server, authority.path, cert=str(cert), key=str(cert)),
    ))
    for path, reason in (("ca", "cannot read the CA"), ("pair", "me.pem")):
        answer = site.ask(f"/{path}")
        assert answer.status == 502 and b"cannot be reached over TLS" in answer.body
        line = edge.wait_access(path=f"/{path}")[0]
        assert line["reason"] == "upstream_tls" and reason in line["detail"], line
    assert site.ask("/good").body == b"yes" and site.ask("/echo").status == 200
    # What is not a certificate is no better; the right one mends it.
    generation = edge.generation()
    ca.write_text("nonsense")
    edge.wait_generation(generation + 1)
    assert site.ask("/ca").status == 502
    generation = edge.generation()
    fresh = tmp_path / "fresh"
    fresh.write_bytes(authority.pem)
    fresh.rename(ca)
    edge.wait_generation(generation + 1)
    until(lambda: site.ask("/ca").body == b"yes", "the upstream is mended")


# ---- connections and sessions


@pytest.mark.sanitizer
def test_connections_are_kept_and_sessions_resumed(site, backend, authority):
    said = 'add_header x-reused "$ssl_session_reused"; add_header x-connection "$connection"; return 200 ok;'
    server = backend(server=f"ssl_session_cache shared:s:1m; location / {{ {said} }}")
    lasting, single = (upstream(server, authority.path) for _ in range(2))
    single["keepalive"] = {"max_requests": 1}
    site.start(rules(site, lasting=lasting, single=single), workers=1)
    with site.wire() as wire:
        answers = [wire.ask("/lasting", HOST) for _ in range(3)]
        assert len({a.get("x-connection") for a in answers}) == 1
        assert all(a.get("x-reused") == "." for a in answers)
        answers = [wire.ask("/single", HOST) for _ in range(4)]
        assert len({a.get("x-connection") for a in answers}) == 4
        assert [a.get("x-reused") for a in answers[1:]] == ["r", "r", "r"]
    site.edge.wait_access(7)


@pytest.mark.sanitizer
def test_alpn_decides_about_the_version(site, nginx, authority, closing):
    """`auto` takes HTTP/2 where it is agreed on, `h2` takes nothing else, and what is not said is HTTP/1.1."""
    none = closing(Origin(free_port(), "none", tls=authority.server_context(authority.issue(NAME))))
    said = 'location / { return 200 "$server_protocol $ssl_alpn_protocol"; }'
    new = nginx("new", authority.issue(NAME), options="http2", server=said)
    old = nginx("old", authority.issue(NAME), server=said)
    site.start(rules(site, **{f"{name}-{protocol}": {**upstream(server, authority.path), "protocol": protocol}
                              for name, server in (("new", new), ("old", old), ("none", none))
                              for protocol in ("http1", "h2", "auto")}))
    for path, body in {"new-http1": b"HTTP/1.1 http/1.1", "new-h2": b"HTTP/2.0 h2", "new-auto": b"HTTP/2.0 h2",
                       "old-http1": b"HTTP/1.1 http/1.1", "old-auto": b"HTTP/1.1 http/1.1"}.items():
        for _ in range(2):
            assert site.ask(f"/{path}").body == body, path
    assert [site.ask(f"/none-{protocol}").status for protocol in ("http1", "auto")] == [200, 200]
    for name, server, why in (("old", old, "server sent alert: no application protocol"),
                              ("none", none, "it does not agree on h2 (ALPN)")):
        assert site.ask(f"/{name}-h2").status == 502
        line = site.edge.wait_access(path=f"/{name}-h2", reason="upstream_tls")[0]
        assert line["detail"] == f"{server.address}: {why}"


def test_bodies_and_upgrades_go_over_tls(site, authority, closing):
    origin = closing(Origin(free_port(), "tls", tls=authority.server_context(authority.issue(NAME))))
    site.start(rules(site, app={**upstream(origin, authority.path)}))
    body = bytes(range(256)) * 4096
    origin.scripts["/app/upload"] = lambda call: (call.read_body(), call.answer_json({"sha256": call.seen.body_sha256}))
    with site.wire("https") as wire:
        answer = wire.ask("/app/upload", HOST, method="POST", body=body)
        assert hashlib.sha256(body).hexdigest().encode() in answer.body


def test_the_handshake_counts_as_connecting(site, tap, authority):
    """Within timeouts.connect: an upstream that takes the connection and says nothing."""
    site.start(rules(site, silent={**upstream(tap, authority.path), "timeouts": {"connect": "400ms"}}))
    with site.wire() as wire:
        wire.send(request("/silent", HOST))
        with tap.accept() as silent:
            assert silent.take(1) == b"\x16"
            assert wire.response().status == 504
    site.edge.wait_access(path="/silent", reason="connect_timeout")
    site.edge.wait_log("no TLS connection within 400 ms")


@pytest.mark.sanitizer
def test_an_endpoint_without_tls_to_be_had_is_left_for_the_next(site, backend, tap, blackhole, nginx, authority, stranger):
    """Silent, black-holed, no TLS, somebody else: each has timeouts.connect of its own, and then comes the next, for any
    method; it counts as a failure of the endpoint."""
    good = backend(server="location / { return 200 yes; }")
    other = backend(stranger.issue(NAME), name="other")
    plain = nginx("plain")
    bad = {"silent": tap.address, "blackhole": blackhole.address, "plain": plain.address, "other": other.address}
    limits = {"timeouts": {"connect": "400ms"}, "outlier": {"consecutive_failures": 1, "eject_for": "60s"}}
    site.start(rules(site, **{name: {**upstream(good, authority.path), **limits, "endpoints": [address, good.address]}
                              for name, address in bad.items()}), workers=1)
    for name, address in bad.items():
        with site.wire() as wire:
            for _ in range(3):
                assert wire.ask(f"/{name}", HOST, method="POST", body=b"pay 10").body == b"yes", name
        site.edge.wait_log(f"{address} is ejected for 60000 ms: 1 failures in a row")
        if name != "blackhole":
            why = {"silent": "no TLS connection within 400 ms", "plain": "wrong version number", "other": "is signed by"}[name]
            site.edge.wait_log(f"no TLS with {address}: .*{why}")
        lines = site.edge.wait_access(3, path=f"/{name}")
        assert sorted(line["attempts"] for line in lines) == [1, 1, 2], lines
        if name in ("silent", "blackhole"):
            assert max(line["duration_ms"] for line in lines) >= 390


def test_the_proxy_header_comes_before_tls(site, nginx, authority):
    server = nginx("pp", authority.issue(NAME), options="proxy_protocol", server="""
        location / { return 200 "$proxy_protocol_addr $ssl_protocol"; }""")
    site.start(rules(site, app={**upstream(server, authority.path), "proxy_protocol": "v2"}))
    with site.wire("https") as wire:
        assert wire.ask("/app", HOST).body == b"127.0.0.1 TLSv1.3"


# ---- where an upstream is


@pytest.mark.sanitizer
def test_unix_sockets(site, edge, nginx, authority):
    path = edge.short / "app.sock"
    nginx("unix", unix=path)
    site.start(
        site.route({"path": "/files", "upstream": f"unix:{edge.short}/nobody.sock"},
                   {"path": "/", "upstream": f"unix:{path}"}),
    )
    for _ in range(2):
        assert site.ask("/").body == b"unix own.example.com\n"
    assert edge.wait_access(status=200)[0]["endpoint"] == f"unix:{path}"
    assert site.ask("/files").status == 502
    edge.wait_log(r"nobody\.sock: No such file or directory")


def test_a_source_address(edge, site, origin):
    site.start(site.route({"path": "/", "upstream": {"endpoints": [origin.address], "source_address": "127.0.0.77"}},
                          {"path": "/gone", "upstream": {"endpoints": [origin.address],
                                                         "source_address": "192.0.2.1"}}))
    peers = []
    origin.scripts["/who"] = lambda call: (peers.append(call.sock.getpeername()), call.answer(body=b"x"))
    assert site.ask("/who").status == 200
    assert peers[0][0] == "127.0.0.77"
    assert site.ask("/gone").status == 502
    edge.wait_log(r"cannot come from 192\.0\.2\.1: Cannot assign requested address")


def test_health_checks_come_from_the_source_address(site, origin):
    peers = []
    origin.scripts["/healthz"] = lambda call: (peers.append(call.sock.getpeername()[0]), call.answer(body=b"x"))
    check = {"http": "/healthz", "interval": "100ms"}
    site.start(site.route({"path": "/", "upstream": {"endpoints": [origin.address], "source_address": "127.0.0.77",
                                                     "health_check": check}}))
    until(lambda: len(peers) >= 2, "two checks")
    assert set(peers) == {"127.0.0.77"}


def test_ipv6_endpoints(site, closing):
    six = socket_of_ipv6(closing)
    site.start(site.route({"path": "/", "upstream": f"[::1]:{six.port}"}))
    assert site.ask("/").status == 204
    site.edge.wait_access(endpoint=f"[::1]:{six.port}")


def socket_of_ipv6(closing):
    class Six:
        def __init__(self):
            self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._run, daemon=True).start()

        def _run(self):
            try:
                while True:
                    sock, _ = self._listener.accept()
                    with Wire(sock) as wire:
                        wire.take_through(b"\r\n\r\n")
                        wire.send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            except OSError:
                pass

        def close(self):
            self._listener.close()

    return closing(Six())


# ---- egress


def test_the_egress_of_the_documentation(site, edge, nginx, authority):
    text = (Path(__file__).resolve().parents[2] / "docs" / "upstreams.md").read_text()
    block = yaml.safe_load(re.search(r"## Egress.*?```yaml\n(.*?)```", text, re.S)[1])
    # The same, with servers of ours in the place of those of the other network.
    for name, upstream in block["upstreams"].items():
        host = upstream["endpoints"][0].split(":")[0]
        server = nginx(name, authority.issue(host), server='location / { return 200 "$host $request_uri $ssl_server_name"; }')
        upstream["endpoints"], upstream["tls"] = [server.address], {"ca": str(authority.path), "server_name": host}
    edge.start(certificates=site.certificates, **block)
    paths, *hosts = block["routes"]
    host = paths["host"]
    with Wire.connect(edge.https, tls=authority.client_context(["http/1.1"]), name=host) as wire:
        for service in ("grafana", "wiki"):
            name = f"{service}.tail1234.ts.net"
            answer = wire.ask(f"/tailscale/{service}/api/health?x=1", host)
            assert answer.body.decode() == f"{name} /api/health?x=1 {name}"
        # The location of exactly "/".
        assert wire.ask("/tailscale/grafana", host).body.decode() == "grafana grafana.tail1234.ts.net\n"
        assert wire.ask("/tailscale/other/", host).status == 404
    assert [route["host"] for route in hosts] == ["grafana.egress.example.com", "wiki.egress.example.com"]
    pair = authority.issue("*.egress.example.com")
    edge.reload(certificates=[*site.certificates, {"cert": str(pair.cert), "key": str(pair.key)}], **block)
    for route in hosts:
        name = route["host"].replace("egress.example.com", "tail1234.ts.net")
        with Wire.connect(edge.https, tls=authority.client_context(["http/1.1"]), name=route["host"]) as wire:
            assert wire.ask("/tailscale/grafana?x=1", route["host"]).body.decode() == f"{name} /tailscale/grafana?x=1 {name}"
