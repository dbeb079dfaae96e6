"""421 where the server name and the certificate are a wildcard's: they cover more names than their route owns.

A client that has a connection for a.example.com, with a certificate for *.example.com, may ask for b.example.com over it (RFC 9110
15.5.20, RFC 9113 9.1.1). It is told 421 only where b.example.com is another route's on this listener.
"""

import pytest
from support.http2 import H2Client
from support.rules import says
from support.wire import Wire

WILD = "a.example.com"  # nobody's but the wildcard's

CASES = {
    "the wildcard's own": (WILD, 200),
    "the same in capitals, with dot and port": ("A.Example.com.:8443", 200),
    "covered by the same wildcard only": ("b.example.com", 200),
    "covered by it with two labels": ("c.b.example.com", 200),
    "of the same route, below another wildcard": ("x.example.org", 200),
    "another route's": ("owned.example.com", 421),
    "below another route's longer wildcard": ("x.deep.example.com", 421),
    "that wildcard's apex is nobody's but the wildcard's": ("deep.example.com", 200),
    "a passthrough route's": ("through.example.com", 421),
    "below a passthrough route's longer wildcard": ("x.through.example.com", 421),
    "on another listener only": ("kube.example.com", 404),
    "below a longer wildcard that is on another listener only": ("x.kube.example.com", 404),
    "nobody's": ("nobody.example.net", 404),
    "the wildcard's apex": ("example.com", 404),
    "no name at all": ("127.0.0.1", 404),
    "a tenant's": ("t.example.com", 421),
    "below a tenant's wildcard": ("x.t.example.com", 421),
    "another route's, whose rules are the same": ("twin.example.com", 421),
}


@pytest.fixture
def wildcard(site, tap):
    """The site, with every kind of owner below *.example.com; `says` of each answers with its name."""
    names = [name for name, _ in CASES.values() if name.endswith(".com")] + ["*.example.com", "*.t.example.com", "x.example.org"]
    pair = site.authority.issue(*dict.fromkeys(names))
    own = site.authority.issue("t.example.com", "*.t.example.com")
    site.edge.start(
        certificates=[{"cert": str(pair.cert), "key": str(pair.key)}],
        tenants={"t": {"hosts": ["t.example.com", "*.t.example.com"], "certificates": [{"cert": str(own.cert), "key": str(own.key)}]}},
        routes=[
            {"hosts": ["*.example.com", "*.example.org"], "rules": [says("wild")]},
            {"host": "owned.example.com", "rules": [says("owned")]},
            {"host": "twin.example.com", "rules": [says("wild")]},
            {"host": "*.deep.example.com", "rules": [says("deep")]},
            {"hosts": ["through.example.com", "*.through.example.com"], "passthrough": tap.address},
            {"hosts": ["kube.example.com", "*.kube.example.com"], "listeners": ["kube-api"], "rules": [says("kube")]},
            {"hosts": ["t.example.com"], "tenant": "t", "rules": [says("tenant")]},
            {"hosts": ["*.t.example.com"], "tenant": "t", "rules": [says("tenant's wildcard")]},
        ])
    return site


def asker(site, closing, version, name):
    """ask(host) over one connection that was made for `name`: (status, body)."""
    if version == "h2":
        client = closing(H2Client(site.edge.https, site.authority, name=name))

        def ask(host):
            answer = client.get("/", authority=host)
            return answer.status, bytes(answer.body)
    else:
        wire = closing(Wire.connect(site.edge.https, tls=site.authority.client_context(["http/1.1"]), name=name))

        def ask(host):
            answer = wire.ask("/", host)
            return answer.status, answer.body
    return ask


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", ["http/1.1", "h2"])
def test_over_the_connection_of_a_wildcard(wildcard, tap, closing, version):
    """All over one connection, which goes on after each refusal."""
    ask = asker(wildcard, closing, version, WILD)
    for what, (host, status) in CASES.items():
        got = ask(host)
        assert got[0] == status, (what, got)
        assert status != 200 or got[1] == b"wild", (what, got)
    refused = [host for host, status in CASES.values() if status == 421]
    lines = wildcard.edge.wait_access(len(refused), status=421, reason="misdirected")
    assert sorted(line["host"] for line in lines) == sorted(refused)
    assert tap.nobody_comes()


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
@pytest.mark.parametrize("name, host, status, body", [
    ("owned.example.com", WILD, 421, None),  # the certificate would do, the route is another
    ("x.deep.example.com", "y.deep.example.com", 200, b"deep"),
    ("x.deep.example.com", WILD, 421, None),
    ("t.example.com", WILD, 421, None),
    ("t.example.com", "x.t.example.com", 421, None),  # the same tenant's, but another route's
    ("x.t.example.com", "y.z.t.example.com", 200, b"tenant's wildcard"),
    ("x.t.example.com", "owned.example.com", 421, None),
    ("kube.example.com", "x.kube.example.com", 200, b"kube"),
    ("kube.example.com", WILD, 421, None),
], ids=lambda value: value if isinstance(value, str) else None)
def test_over_the_connections_of_others(wildcard, closing, version, name, host, status, body):
    site = wildcard
    if name.endswith("kube.example.com"):  # served there alone, beside the wildcard
        site.edge.https = site.edge.kube
    ask = asker(site, closing, version, name)
    assert ask(name)[0] == 200
    got = ask(host)
    assert got[0] == status and body in (None, got[1]), got
    assert ask(name)[0] == 200, "the connection goes on"


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
def test_names_that_change_hands_under_a_connection(wildcard, closing, version):
    """What counts is who owns the names now, not who did when the connection was made."""
    ask = asker(wildcard, closing, version, WILD)
    assert ask("b.example.com") == ask(WILD) == (200, b"wild")
    assert ask("owned.example.com")[0] == 421
    config = wildcard.edge.config
    routes = [route for route in config["routes"] if route.get("host") != "owned.example.com"]
    wildcard.edge.reload(**{**config, "routes": [*routes, {"host": "b.example.com", "rules": [says("b")]}]})
    assert ask("b.example.com")[0] == 421
    assert ask("owned.example.com") == ask(WILD) == (200, b"wild")


NAME = "own.example.com"


@pytest.mark.sanitizer
@pytest.mark.parametrize("change", [{"min_version": "1.3"}, {"ciphers": ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]},
                                    {"alpn": ["http/1.1"]}, {"curves": ["P-256"]}], ids=lambda change: next(iter(change)))
def test_a_connection_serves_out_when_its_hosts_tls_settings_change(site, closing, change):
    """It is no other host's; the next one is made under the new settings."""
    site.start(site.route(host=NAME))
    wire = closing(site.wire("https", NAME))
    h2 = closing(H2Client(site.edge.https, site.authority, name=NAME))
    assert wire.ask("/", NAME).status == h2.get("/").status == 200
    site.edge.reload(**{**site.edge.config, "routes": [site.route(host=NAME, tls=change)]})
    answer = wire.ask("/", NAME)
    assert (answer.status, answer.get("connection"), wire.take_rest()) == (200, "close", b"")
    assert h2.get("/").status == 200
    h2.until(lambda: h2.goaway is not None, "it says that it ends")


@pytest.mark.sanitizer
@pytest.mark.parametrize("grows", [True, False], ids=["one more CA", "another CA"])
def test_a_change_of_client_cas(site, stranger, closing, tmp_path, grows):
    """Who has shown a certificate of a CA that is still trusted goes on; nobody else does."""
    trusted = [tmp_path / "before.pem", tmp_path / "now.pem"]
    trusted[0].write_bytes(site.authority.pem)
    trusted[1].write_bytes((site.authority.pem if grows else b"") + stranger.pem)
    routes = [site.route(host=NAME, tls={"client_ca": str(path), "client_auth": "require"}) for path in trusted]
    site.start(routes[0])
    me = site.authority.issue("me", client=True)
    context = site.authority.client_context(["http/1.1"])
    context.load_cert_chain(me.cert, me.key)
    wire = closing(Wire.connect(site.edge.https, tls=context, name=NAME))
    assert wire.ask("/", NAME).status == 200
    site.edge.reload(**{**site.edge.config, "routes": [routes[1]]})
    answer = wire.ask("/", NAME)
    assert (answer.status, answer.get("connection"), wire.take_rest()) == (200 if grows else 421, "close", b"")
