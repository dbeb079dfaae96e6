"""PROXY protocol, in and out: whose connection it is, said by proxies in front of us and told to those behind."""

import socket

import pytest
from support import pp
from support.curl import curl_ok
from support.hello import hello
from support.ports import free_port
from support.wire import Wire, request

HOST = "own.example.com"
CLIENT = "203.0.113.9"


def listeners(edge, *, protocol="tls", bind=None, **more):
    """The listener under test in the place of the usual ones."""
    port = {"tls": edge.https, "http": edge.http, "tcp": edge.kube}[protocol]
    return [{"name": protocol, "bind": [bind or f"127.0.0.1:{port}"], "protocol": protocol, **more}]


# ---- out, behind passthrough


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_behind_passthrough_sees_the_client(edge, nginx, authority, version):
    pair = authority.issue(HOST)
    server = nginx("it", pair, options="proxy_protocol", server="""
        location = /who { return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port\\n"; }""")
    edge.start(routes=[{"host": HOST, "passthrough": {"endpoints": [server.address], "proxy_protocol": version}}])
    # A client with an address of its own.
    answer = curl_ok(f"https://{HOST}:{{port}}/who", "--interface", "127.0.0.9", "--local-port", "20000-29999",
                     port=edge.https, ca=authority.path).decode().split()
    assert answer[0] == "127.0.0.9" and 20000 <= int(answer[1]) <= 29999 and int(answer[2]) == edge.https
    # The header is ours, not the client's.
    line = edge.wait_access(kind="connection", sni=HOST)[0]
    assert line["client"] == "127.0.0.9" and 200 < line["bytes_in"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind_passthrough_sees_the_client(edge, haproxy, authority, version):
    server = haproxy(authority.issue(HOST), "%[src] %[dst_port] %[fc_pp_authority]", options="accept-proxy")
    edge.start(routes=[{"host": HOST, "passthrough": {"endpoints": [server.address], "proxy_protocol": version}}])
    answer = curl_ok(f"https://{HOST}:{{port}}/", "--interface", "127.0.0.9", port=edge.https, ca=authority.path)
    named = f" {HOST}" if version == "v2" else " -"
    assert answer.decode() in (f"127.0.0.9 {edge.https}{named}", f"127.0.0.9 {edge.https} "), answer


def test_the_header_names_the_host_and_the_protocol_and_comes_first(edge, tap):
    edge.start(routes=[{"host": HOST, "passthrough": {"endpoints": [tap.address], "proxy_protocol": "v2"}}])
    with Wire.connect(edge.https) as client:
        first = hello(HOST, alpn=["h2", "http/1.1"])
        client.send(first)
        with tap.accept() as backend:
            header = pp.Header(backend)
            assert (header.version, header.family) == (2, "TCP4")
            assert (header.source, header.source_port) == client.sock.getsockname()
            assert (header.destination, header.destination_port) == ("127.0.0.1", edge.https)
            assert header.authority == HOST.encode() and header.alpn == b"h2"
            assert backend.take(len(first)) == first


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_ipv4_client_on_an_ipv6_socket_is_ipv4(edge, tap, version):
    port = free_port()
    edge.start(
        listeners=listeners(edge, bind=f":{port}"),
        routes=[{"host": HOST, "passthrough": {"endpoints": [tap.address], "proxy_protocol": version}}],
    )
    for host, family in (("127.0.0.1", "TCP4"), ("::1", "TCP6")):
        with Wire.connect(port, host) as client:
            client.send(hello(HOST))
            with tap.accept() as backend:
                header = pp.Header(backend)
                assert (header.family, header.source, header.destination) == (family, host, host)


# ---- out, to http upstreams


@pytest.mark.sanitizer
def test_an_http_upstream_gets_a_connection_per_request(edge, tap, site):
    upstream = {"endpoints": [tap.address], "proxy_protocol": "v2"}
    site.start(site.route({"path": "/", "upstream": upstream}))
    for transport, port in (("http", edge.http), ("https", edge.https)):
        with site.wire(transport) as client:
            for _ in range(2):
                client.send(request("/", HOST))
                with tap.accept() as backend:
                    header = pp.Header(backend)
                    assert (header.source, header.source_port) == client.sock.getsockname()
                    assert (header.destination, header.destination_port) == ("127.0.0.1", port)
                    assert header.authority == (HOST.encode() if transport == "https" else None)
                    assert header.alpn == (b"http/1.1" if transport == "https" else None)
                    assert backend.take_through(b"\r\n\r\n").startswith(b"GET / HTTP/1.1\r\n")
                    backend.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                    assert client.response().status == 204
                    assert backend.take_rest() == b"", "the connection belongs to that client's request"


# ---- in


def proxied(port, header, then=b""):
    wire = Wire.connect(port)
    wire.send(header + then)
    return wire


@pytest.mark.sanitizer
@pytest.mark.parametrize("header", [pp.v1(CLIENT, "198.51.100.1"), pp.v2(CLIENT, "198.51.100.1"),
                                    pp.v2(CLIENT, "198.51.100.1", extras=b"\x02\0\x01x\x30\0\x02ab")],
                         ids=["v1", "v2", "v2-extras"])
def test_a_trusted_sender_says_whose_connection_it_is(edge, tap, header):
    edge.start(
        listeners=listeners(edge, accept_proxy_protocol=["127.0.0.0/8"]),
        routes=[{"host": HOST, "passthrough": {"endpoints": [tap.address], "proxy_protocol": "v1"}}],
    )
    first = hello(HOST)
    for pieces in ([header + first], [header[i : i + 1] for i in range(len(header))] + [first]):
        with Wire.connect(edge.https) as client:
            for piece in pieces:
                client.send(piece)
            with tap.accept() as backend:
                told = pp.Header(backend)
                assert (told.source, told.source_port) == (CLIENT, 40000)
                assert (told.destination, told.destination_port) == ("198.51.100.1", 443)
                assert backend.take(len(first)) == first
                backend.send(b"answer")
                assert client.take(6) == b"answer"
    assert all((line["client"], line["client_port"]) == (CLIENT, 40000) for line in edge.wait_access(2, sni=HOST))


def test_the_address_counts_for_networks_and_forwarding(edge, site, origin):
    edge.start(
        certificates=site.certificates,
        listeners=listeners(edge, accept_proxy_protocol=["127.0.0.1"])
        + listeners(edge, protocol="http", accept_proxy_protocol=["127.0.0.1"]),
        routes=[site.route(deny=["203.0.113.0/24"])],
    )

    def ask(source, transport):
        sock = socket.create_connection(("127.0.0.1", edge.https if transport == "https" else edge.http))
        sock.sendall(pp.v2(source, "2001:db8::1" if ":" in source else "198.51.100.1"))
        if transport == "https":
            sock = authority_context.wrap_socket(sock, server_hostname=HOST)
        with Wire(sock) as wire:
            return wire.ask("/echo", HOST)

    authority_context = site.authority.client_context(["http/1.1"])
    for transport in ("http", "https"):
        assert ask("198.51.100.77", transport).status == 200
        assert origin.requests[-1].get("x-forwarded-for") == "198.51.100.77"
        assert ask(CLIENT, transport).status == 403
        assert ask("2001:db8::9", transport).status == 200
        assert origin.requests[-1].get("x-forwarded-for") == "2001:db8::9"


def test_the_address_counts_for_limits_and_the_senders_does_not(edge, tap):
    edge.start(
        listeners=listeners(edge, accept_proxy_protocol=["127.0.0.1"]),
        limits={"connections_per_source": 1},
        routes=[{"host": HOST, "passthrough": tap.address}],
    )
    first = hello(HOST)
    with proxied(edge.https, pp.v1(CLIENT, "198.51.100.1"), first) as one, tap.accept() as backend:
        assert backend.take(len(first)) == first
        with proxied(edge.https, pp.v1(CLIENT, "198.51.100.1"), first) as same:
            assert same.rest_or_reset() == b""
        with proxied(edge.https, pp.v1("203.0.113.10", "198.51.100.1"), first) as other, tap.accept() as second:
            assert second.take(len(first)) == first
            other.close()
        (line,) = edge.wait_access(reason="too_many_connections")
        assert (line["client"], line["client_port"]) == (CLIENT, 40000), "the header was good: not the sender's"
        one.close()
        backend.take_rest()
    # The place is free again: counted and uncounted under the same address.
    edge.wait_access(2, reason="done")
    with proxied(edge.https, pp.v1(CLIENT, "198.51.100.1"), first), tap.accept() as backend:
        assert backend.take(len(first)) == first


def test_a_sender_that_speaks_for_itself(edge, tap):
    """LOCAL and UNKNOWN: a health check of the proxy in front."""
    edge.start(
        listeners=listeners(edge, accept_proxy_protocol=["127.0.0.1"]),
        routes=[{"host": HOST, "passthrough": {"endpoints": [tap.address], "proxy_protocol": "v1"}}],
    )
    first = hello(HOST)
    for header in (b"PROXY UNKNOWN\r\n", pp.v2(CLIENT, "198.51.100.1", command=0)):
        with proxied(edge.https, header, first) as client, tap.accept() as backend:
            told = pp.Header(backend)
            assert (told.source, told.source_port) == client.sock.getsockname()
            assert (told.destination, told.destination_port) == ("127.0.0.1", edge.https)
            assert backend.take(len(first)) == first


def test_refusals_name_the_client_that_the_header_named(edge, tap):
    """Whatever refuses the connection behind a good header: a name of nobody's, a tenant's limit, networks."""
    edge.start(
        listeners=listeners(edge, accept_proxy_protocol=["127.0.0.1"]),
        tenants={"a": {"hosts": ["a.example.com"], "networks": ["127.0.0.1/32"], "limits": {"new_connections_per_second": 1}}},
        routes=[{"host": HOST, "passthrough": tap.address, "deny": ["203.0.113.0/24"]},
                {"host": "a.example.com", "tenant": "a", "passthrough": tap.address}],
    )

    def refused(name, reason):
        with proxied(edge.https, pp.v1(CLIENT, "198.51.100.1"), hello(name)) as client:
            assert client.rest_or_reset() == b""
        line = edge.wait_access(reason=reason)[-1]
        assert (line["client"], line["client_port"]) == (CLIENT, 40000), line

    refused(HOST, "access_denied")
    refused("nobody.example.com", "unknown_host")
    with proxied(edge.https, pp.v1(CLIENT, "198.51.100.1"), hello("a.example.com")), tap.accept():
        refused("a.example.com", "tenant_limit")


@pytest.mark.sanitizer
def test_whoever_must_send_a_header_is_refused_without_a_whole_one(edge, tap):
    edge.start(
        listeners=listeners(edge, accept_proxy_protocol=["127.0.0.1"]),
        timeouts={"client_hello": "500ms"},
        routes=[{"host": HOST, "passthrough": tap.address}],
    )
    bad = [hello(HOST), b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n" + hello(HOST), b"PROXY TCP5 x\r\n",
           pp.SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12), pp.SIGNATURE + b"\x21\x11\xff\xff", b"PROXY " + b"x" * 200]
    for header in bad:
        with proxied(edge.https, header) as client:
            assert client.rest_or_reset() == b"", header
    edge.wait_access(len(bad), reason="bad_proxy_header", client="127.0.0.1")
    # Not whole: in time, or ever.
    with proxied(edge.https, b"PROXY TCP4 ") as client:
        assert client.rest_or_reset() == b""
    edge.wait_access(reason="proxy_header_timeout")
    for start, reason in ((b"", "client_closed"), (pp.SIGNATURE, "client_reset")):
        with proxied(edge.https, start) as client:
            client.finish()
            assert client.rest_or_reset() == b""
        edge.wait_access(reason=reason)
    assert tap.nobody_comes(0.05)
    assert edge.metrics().total("edgemux_connections_active") == 0


@pytest.mark.sanitizer
def test_from_anybody_else_a_header_is_an_error(edge, site, tap):
    edge.start(
        certificates=site.certificates,
        listeners=listeners(edge, accept_proxy_protocol=["198.51.100.0/24"])
        + listeners(edge, protocol="http", accept_proxy_protocol=["198.51.100.0/24"]),
        routes=[site.route(), {"host": "shop.example.com", "passthrough": tap.address}],
    )
    for header in (pp.v1(CLIENT, "198.51.100.1"), pp.v2(CLIENT, "198.51.100.1")):
        with proxied(edge.https, header, hello("shop.example.com")) as client:
            assert client.rest_or_reset() == b""
        with proxied(edge.http, header, request("/echo", HOST)) as client:
            answer = client.rest_or_reset()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
    assert tap.nobody_comes(0.05) and not site.origin.requests
    # Without one they are served.
    with Wire.connect(edge.https) as client:
        client.send(hello("shop.example.com"))
        tap.accept().close()
    assert site.ask("/echo").status == 200


# ---- tcp listeners


@pytest.mark.sanitizer
def test_a_tcp_listener_goes_to_its_upstream_whoever_speaks_first(edge, tap):
    edge.start(listeners=listeners(edge, protocol="tcp", upstream="db"), upstreams={"db": {"endpoints": [tap.address]}})
    with Wire.connect(edge.kube) as client, tap.accept() as backend:
        backend.send(b"220 the server greets\r\n")
        assert client.take(23) == b"220 the server greets\r\n"
        client.send(b"\x00not TLS")
        assert backend.take(8) == b"\x00not TLS"
        client.finish()
        assert backend.take_rest() == b""
        backend.send(b"after the end of the other half")
        backend.close()
        assert client.take_rest() == b"after the end of the other half"
    line = edge.wait_access(listener="tcp", reason="done")[0]
    assert line["upstream"] == "db" and line["endpoint"] == tap.address
    assert (line["bytes_in"], line["bytes_out"]) == (8, 54)


def test_a_tcp_listener_takes_and_sends_headers(edge, tap):
    edge.start(
        listeners=listeners(edge, protocol="tcp", accept_proxy_protocol=["127.0.0.1"],
                            upstream={"endpoints": [tap.address], "proxy_protocol": "v2"}),
    )
    with proxied(edge.kube, pp.v1(CLIENT, "198.51.100.1"), b"ping") as client, tap.accept() as backend:
        told = pp.Header(backend)
        assert (told.source, told.destination, told.authority) == (CLIENT, "198.51.100.1", None)
        assert backend.take(4) == b"ping"
        client.close()
    # The server speaks first: nothing lies behind the header.
    with proxied(edge.kube, pp.v2("2001:db8::1", "2001:db8::2")) as client, tap.accept() as backend:
        assert pp.Header(backend).source == "2001:db8::1"
        backend.send(b"hello")
        assert client.take(5) == b"hello"
    line = edge.wait_access(client=CLIENT)[0]
    assert line["bytes_in"] == 4


def test_a_tcp_listener_whose_upstream_is_down(edge, dead_address, tap):
    edge.start(listeners=listeners(edge, protocol="tcp", upstream=dead_address))
    with Wire.connect(edge.kube) as client:
        assert client.rest_or_reset() == b""
    edge.wait_access(listener="tcp", reason="connect_failed")
    edge.wait_log(r"listener tcp: upstream \S+: cannot connect")
    # A reload gives it another.
    edge.reload(listeners=listeners(edge, protocol="tcp", upstream=tap.address))
    with Wire.connect(edge.kube), tap.accept() as backend:
        backend.close()
