"""Routes with `terminate`: their upstreams, tenants and limits, reloads and drains, their neighbours, and what is said of them."""

import concurrent.futures
import json
import signal
import threading
import time

import pytest
from support import pp
from support.hello import hello
from support.http2 import H2Client
from support.proxy import edgemux
from support.terminated import HOST, cut, finish, rest, terminated
from support.waiting import until
from support.wire import Wire

# ---- the upstream


def test_nobody_behind_it_cuts_the_client_off_and_says_why(secure, dead_address):
    secure.start(terminated(dead_address))
    with secure.connect() as client:
        assert cut(client) == b""
    line, = secure.edge.wait_access(sni=HOST)
    assert (line["reason"], line["endpoint"], line["tls"]) == ("connect_failed", dead_address, "TLSv1.3")
    assert dead_address in line["detail"]
    assert f"route {HOST}: upstream {dead_address}: cannot connect" in secure.edge.log()


@pytest.mark.sanitizer
def test_the_next_endpoint_takes_over_when_one_refuses(secure, lines, dead_address):
    server = lines()
    secure.start(terminated({"endpoints": [dead_address, server.address]}))
    for _ in range(4):  # wherever round robin begins
        with secure.connect() as client:
            assert client.take_through(b"\n") == b"lines ready\n"
    secure.edge.wait_access(4, endpoint=server.address)


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_upstream_is_told_whose_connection_it_is(secure, tap, version):
    secure.start(terminated({"endpoints": [tap.address], "proxy_protocol": version}))
    client, backend = secure.tunnel(tap)
    header = pp.Header(backend)
    assert (header.version, header.family) == (int(version[1]), "TCP4")
    assert (header.source, header.source_port) == client.sock.getsockname()
    assert (header.destination, header.destination_port) == ("127.0.0.1", secure.edge.https)
    assert header.authority == (HOST.encode() if version == "v2" else None) and header.alpn is None
    client.send(b"after it")
    assert backend.take(8) == b"after it"
    finish(client)
    assert backend.take_rest() == b""
    backend.close()
    assert rest(client) == b""
    assert secure.edge.wait_access(sni=HOST)[0]["bytes_in"] == 8


def test_a_connection_waits_for_a_place_and_its_bytes_with_it(secure, tap):
    app = {"endpoints": [tap.address], "limits": {"connections": 1, "pending": 1}, "timeouts": {"pending": "30s"}}
    secure.start(terminated("app"), upstreams={"app": app})
    first, backend = secure.tunnel(tap)
    second = secure.connect()
    second.send(b"early")
    until(lambda: secure.edge.metrics().total("edgemux_upstream_pending", upstream="app") == 1, "one waits")
    with secure.connect() as third:
        assert cut(third) == b""
    assert "limits.pending is reached" in secure.edge.wait_access(reason="upstream_limit")[0]["detail"]
    assert tap.nobody_comes(0.05)
    first.close()
    backend.close()
    backend = tap.accept()
    assert backend.take(5) == b"early"
    second.close()


def test_a_failing_endpoint_is_ejected(secure, lines, dead_address):
    app = {"endpoints": [dead_address, lines().address], "outlier": {"consecutive_failures": 1, "eject_for": "60s"}}
    secure.start(terminated("app"), upstreams={"app": app}, workers=1)
    for _ in range(4):
        with secure.connect() as client:
            client.take_through(b"\n")
    lines = secure.edge.wait_access(4, sni=HOST)
    assert sorted(line.get("attempts", 1) for line in lines)[-2:] == [1, 2], "it was tried once"


# ---- whose it is


@pytest.mark.sanitizer
def test_allow_and_deny_hold_before_the_handshake(secure, tap):
    secure.start(terminated(tap.address, allow=["127.0.0.0/8"], deny=["127.0.0.1"]))
    with Wire.connect(secure.edge.https) as client:
        client.send(hello(HOST))
        assert client.rest_or_reset() == b""
    assert tap.nobody_comes()
    secure.edge.wait_access(sni=HOST, reason="access_denied")


@pytest.mark.sanitizer
def test_the_limits_and_networks_of_a_tenant_hold(house, lines):
    server, edge = lines(), house.edge
    house.tenants["a"]["limits"] = {"connections": 2}
    house.tenants["b"]["networks"] = ["192.0.2.0/24"]
    house.write("a", [terminated(server.address, host="a.example.test")])
    house.write("b", [terminated(server.address, host="b.example.test")])
    house.start()
    context = house.authority.client_context()
    assert f"endpoint '{server.address}' " in edge.log() and "so tenant 'b' may not use it" in edge.log()
    wires = [Wire.connect(edge.https, tls=context, name="a.example.test") for _ in range(2)]
    for wire in wires:
        assert wire.take_through(b"\n") == b"lines ready\n"
    with Wire.connect(edge.https) as client:
        client.send(hello("a.example.test"))
        assert client.rest_or_reset() == b"", "it is closed before TLS"
    line, = edge.wait_access(reason="tenant_limit")
    assert line["tenant"] == "a"
    assert edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 2
    for wire in wires:
        wire.close()
    assert edge.wait_access(2, sni="a.example.test", upstream=server.address)[0]["tenant"] == "a"
    until(lambda: edge.metrics().total("edgemux_tenant_connections_active", tenant="a") == 0, "the places are free")
    assert server.accepted == 2


def test_the_bandwidth_of_a_tenant_holds(house, tap):
    size, rate = 1 << 20, 512 * 1024
    house.tenants["a"]["limits"] = {"bandwidth": "512KiB"}
    for name in ("a", "b"):
        house.write(name, [terminated(tap.address, host=f"{name}.example.test")])
    house.start()

    def took(name):
        began = time.monotonic()
        with Wire.connect(house.edge.https, tls=house.authority.client_context(), name=f"{name}.example.test") as client:
            backend = tap.accept()
            sender = threading.Thread(target=backend.send, args=(bytes(size),))
            sender.start()
            client.take(size)
            sender.join()
        return time.monotonic() - began

    assert took("b") < 0.5 * size / rate
    assert took("a") > 0.5 * size / rate


# ---- its life


@pytest.mark.sanitizer
def test_a_tunnel_outlives_a_reload_without_its_route(secure, lines):
    secure.start(terminated(lines().address))
    client = secure.connect()
    assert client.take_through(b"\n") == b"lines ready\n"
    secure.edge.reload(routes=[])
    with Wire.connect(secure.edge.https) as late:
        late.send(hello(HOST))
        assert late.rest_or_reset() == b""
    client.send(b"still\n")
    assert client.take_through(b"\n") == b"lines: still\n"
    finish(client)
    assert rest(client) == b""
    secure.edge.wait_access(sni=HOST, reason="done")


@pytest.mark.sanitizer
def test_a_drain_lets_tunnels_finish_until_its_end(secure, lines):
    secure.start(terminated(lines().address), timeouts={"drain": "4s"})
    ends, stays = secure.connect(), secure.connect()
    for client in (ends, stays):
        client.take_through(b"\n")
    secure.edge.signal(signal.SIGTERM)
    secure.edge.wait_log("drain")
    ends.send(b"on\n")
    assert ends.take_through(b"\n") == b"lines: on\n"
    finish(ends)
    assert rest(ends) == b""
    secure.edge.wait_access(sni=HOST, reason="done")
    assert cut(stays) == b"", "what is cut does not look whole"
    secure.edge.wait_access(sni=HOST, reason="drain_timeout")
    assert secure.edge.wait_exit() == 3


@pytest.mark.sanitizer
def test_what_the_end_of_a_drain_cuts_does_not_look_whole(secure, tap):
    """No close_notify behind the bytes that came: of a terminate route, an upgraded connection, and an answer under way."""
    secure.start(terminated(tap.address), {"host": "ws.example.com", "rules": [{"path": "/", "upstream": tap.address}]},
                 timeouts={"drain": "500ms"})
    plain, plain_backend = secure.tunnel(tap)
    upgraded = secure.connect("ws.example.com")
    upgraded.send(b"GET / HTTP/1.1\r\nHost: ws.example.com\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    backend = tap.accept()
    backend.take_through(b"\r\n\r\n")
    backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    upgraded.take_through(b"\r\n\r\n")
    answered = secure.connect("ws.example.com")
    answered.send(b"GET / HTTP/1.1\r\nHost: ws.example.com\r\n\r\n")
    answering = tap.accept()
    answering.take_through(b"\r\n\r\n")
    answering.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
    answered.take_through(b"\r\n\r\n")
    for client, far in ((plain, plain_backend), (upgraded, backend), (answered, answering)):
        far.send(b"half")
        assert client.take(4) == b"half"
    secure.edge.signal(signal.SIGTERM)
    assert [cut(client) for client in (plain, upgraded, answered)] == [b"", b"", b""]
    assert secure.edge.wait_exit() == 3


def test_silence_ends_it(secure, tap):
    secure.start(terminated(tap.address), timeouts={"tunnel_idle": "1s", "half_closed": "500ms"})
    idle, idle_backend = secure.tunnel(tap)
    half, half_backend = secure.tunnel(tap)
    finish(half)
    assert half_backend.take_rest() == b""
    half.rest_or_reset()
    assert rest(idle) == b"" and idle_backend.rest_or_reset() == b""
    secure.edge.wait_access(reason="half_closed_timeout")
    secure.edge.wait_access(reason="tunnel_idle")


# ---- beside others


@pytest.mark.sanitizer
def test_passthrough_terminate_and_rules_on_one_port(secure, nginx, lines):
    """TLSRouteMixedTermination: by server name alone, each gets what is its own."""
    through = nginx("through", secure.authority.issue("through.example.com"))
    server = lines()
    secure.start(
        {"host": "through.example.com", "passthrough": through.address},
        terminated(server.address),
        terminated(server.address, host="*.wide.example.com", listeners=["kube-api"]),
        {"host": "rules.example.com", "rules": [{"path": "/", "respond": {"status": 200, "body": "rules\n"}}]},
    )

    def ask(name):
        with secure.connect(name, alpn=["h2", "http/1.1"] if name == HOST else ["http/1.1"]) as wire:
            if name == HOST:
                assert wire.sock.selected_alpn_protocol() is None
                wire.take_through(b"\n")
                wire.send(b"x\n")
                return wire.take_through(b"\n")
            return wire.ask("/", name).body

    jobs = [("through.example.com", b"through through.example.com\n"), (HOST, b"lines: x\n"), ("rules.example.com", b"rules\n")] * 5
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for (name, expected), got in zip(jobs, pool.map(ask, [name for name, _ in jobs])):
            assert got == expected, name


@pytest.mark.sanitizer
def test_a_request_that_came_for_another_host_gets_421_and_never_the_backend(secure, tap):
    secure.start(
        terminated(tap.address),
        {"host": "rules.example.com", "rules": [{"path": "/", "respond": {"status": 200, "body": "rules\n"}}]},
    )
    with H2Client(secure.edge.https, secure.authority, name="rules.example.com") as client:
        assert client.get("/", authority="rules.example.com").status == 200
        assert client.get("/", authority=HOST).status == 421
        assert client.get("/", authority="rules.example.com").status == 200
    with secure.connect("rules.example.com", alpn=["http/1.1"]) as wire:
        assert wire.ask("/", HOST).status == 421
    secure.edge.wait_access(2, status=421, reason="misdirected")
    # A connection that was made for rules before they became bytes is one for another host, too.
    with H2Client(secure.edge.https, secure.authority, name="rules.example.com") as client:
        assert client.get("/", authority="rules.example.com").status == 200
        certificates = [{"cert": str(secure.pair.cert), "key": str(secure.pair.key)}]
        secure.edge.reload(certificates=certificates, routes=[terminated(tap.address, host="rules.example.com")])
        assert client.get("/", authority="rules.example.com").status == 421
    assert tap.nobody_comes()


def test_port_80_redirects_or_is_off_and_answers_challenges(secure, tap, origin, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    (tokens / "own").write_text("own.key")
    path = "/.well-known/acme-challenge/"
    secure.start(
        terminated(tap.address, acme_solver=origin.address),
        terminated(tap.address, host="off.example.com", on_http="off"),
        acme={"tokens_dir": str(tokens)},
    )
    with Wire.connect(secure.edge.http) as wire:
        answer = wire.ask("/x?y", HOST)
        assert (answer.status, answer.get("location")) == (301, f"https://{HOST}:{secure.edge.https}/x?y")
        assert wire.ask("/x", "off.example.com").status == 404
        assert wire.ask(path + "own", "off.example.com").body == b"own.key"
        assert wire.ask(path + "own", HOST).body == b"own.key"
        wire.ask(path + "other", HOST)
    assert [request.target for request in origin.requests] == [path + "other"]
    assert tap.nobody_comes()


# ---- what is said of it

CONFIG = """\
listeners: [{{ name: https, bind: [":443"], protocol: tls }}, {{ name: http, bind: [":80"], protocol: http }}]
certificates: [{{ cert: {cert}, key: {key} }}]
routes:
  - host: mqtt.example.com
    allow: [10.0.0.0/8]
    tls: {{ client_ca: {ca}, alpn: [mqtt] }}
    terminate: 10.0.0.7:1883
"""


def test_explain_says_where_the_bytes_go(secure, tmp_path):
    (tmp_path / "edgemux.yaml").write_text(CONFIG.format(cert=secure.pair.cert, key=secure.pair.key, ca=secure.authority.path))

    def explain(*arguments):
        done = edgemux("explain", "-c", "edgemux.yaml", "--sni", HOST, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    told = explain("--from", "10.1.2.3")
    assert "\n  tls          TLS 1.2 or later, a client certificate is required, ALPN mqtt  (edgemux.yaml:4:5)\n" in told
    assert "\n  upstream     10.0.0.7:1883  (edgemux.yaml:7:16)\n" in told
    assert told.endswith("\n=> TLS ends here, the bytes inside go as they are to upstream 10.0.0.7:1883\n")
    result = json.loads(explain("--format", "json"))["result"]
    assert (result["action"], result["upstream"], result["host"]) == ("terminate", "10.0.0.7:1883", HOST)
    assert result["certificate"] == str(secure.pair.cert)
    assert explain("--from", "192.0.2.1").endswith("=> the client's network is not admitted: the connection is closed\n")
    assert "no protocol in common: the client offers h2, the host takes mqtt" in explain("--alpn", "h2")


def test_check_says_what_terminate_excludes(tmp_path):
    (tmp_path / "edgemux.yaml").write_text("""\
listeners: [{ name: https, bind: [":443"], protocol: tls }]
routes:
  - host: mqtt.example.com
    terminate: 10.0.0.7:1883
    rules: [{ path: /, respond: {} }]
""")
    checked = edgemux("check", "--config", "edgemux.yaml", cwd=tmp_path)
    assert checked.returncode == 1
    assert "edgemux.yaml:5:12: error: 'terminate' passes bytes on as they are; 'rules' is for HTTP requests\n" in checked.stdout


def test_diff_tells_terminate_from_rules_and_passthrough(tmp_path):
    begin = 'listeners: [{ name: https, bind: [":443"], protocol: tls }]\nroutes:\n  - host: a.example.com\n    '
    kinds = {"passthrough": "passthrough: 10.0.0.1:80", "terminate": "terminate: 10.0.0.1:80",
             "rules": "rules: [{ path: /, upstream: '10.0.0.1:80' }]"}
    for kind, text in kinds.items():
        (tmp_path / f"{kind}.yaml").write_text(begin + text + "\n")
    for old in kinds:
        for new in kinds:
            done = edgemux("diff", f"{old}.yaml", f"{new}.yaml", cwd=tmp_path)
            assert done.returncode == (0 if old == new else 1)
            assert (f"~ a.example.com: kind {old} -> {new}  (" in done.stdout) == (old != new)
