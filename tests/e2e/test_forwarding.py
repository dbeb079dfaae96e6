"""Who a request came from: what proxies in front of us are believed, and what upstreams are told."""

import pytest
from support.http2 import H2Client
from support.rules import says
from support.wire import Wire, request

HOST = "own.example.com"
BALANCER = [("X-Forwarded-For", "203.0.113.5"), ("X-Forwarded-Proto", "https")]  # ended TLS before us
TRUST = pytest.mark.parametrize("trusted", [True, False])


def listeners(edge, **more):
    return [
        {"name": "http", "bind": [f"127.0.0.1:{edge.http}"], "protocol": "http", **more},
        {"name": "https", "bind": [f"127.0.0.1:{edge.https}"], "protocol": "tls", **more},
    ]


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_upstreams_are_told_of_the_client(site, transport):
    site.start()
    seen = site.echo(transport=transport)
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    assert seen.get("forwarded") == f"for=127.0.0.1;host={HOST};proto={transport}"


def test_nobody_is_believed_who_is_not_trusted(site, edge):
    site.start(listeners=listeners(edge, trusted_proxies=["10.0.0.0/8"]))
    seen = site.echo(headers=[("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6"), ("X-Forwarded-Proto", "https")])
    assert seen.get("x-forwarded-for") == "127.0.0.1" and seen.get("forwarded") == f"for=127.0.0.1;host={HOST};proto=http"
    assert seen.get("x-forwarded-proto") == "http"


@TRUST
def test_rules_see_what_trusted_proxies_say(site, edge, trusted):
    def rule(name, value):
        return {"match": {"path": "/m", "headers": {name: value}}, "respond": {"body": name}}

    site.start(site.route(rule("x-forwarded-for", {"regex": "^203[.]"}), rule("x-request-id", "abc"), rule("x-forwarded-proto", "https"),
                          {"path": "/m", "respond": {"body": "none"}}, {"path": "/", "upstream": site.origin.address}),
               listeners=listeners(edge, trusted_proxies=["127.0.0.0/8" if trusted else "10.0.0.0/8"]))
    for field in (("X-Forwarded-For", "203.0.113.9"), ("X-Request-Id", "abc"), ("X-Forwarded-Proto", "https")):
        assert site.ask("/m", headers=[field]).body.decode() == (field[0].lower() if trusted else "none")
    seen = site.echo(headers=[("X-Forwarded-For", "203.0.113.9"), ("X-Request-Id", "abc")])
    assert seen.count("x-forwarded-for") == 1 and seen.count("x-request-id") == 1 and seen.get("x-request-id") != "abc"


@pytest.mark.sanitizer
def test_trusted_proxies_are_believed_and_appended_to(site, edge):
    site.start(site.route(deny=["203.0.113.9"]), listeners=listeners(edge, trusted_proxies=["127.0.0.0/8", "10.0.0.0/8"]))
    headers = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.0.0.3"), ("Forwarded", "for=203.0.113.7"),
               ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "front.example")]
    seen = site.echo(headers=headers)
    assert seen.get("x-forwarded-for") == "6.6.6.6, 203.0.113.7, 10.0.0.3, 127.0.0.1"
    assert seen.count("x-forwarded-for") == 1 and seen.count("forwarded") == 1
    assert seen.get("forwarded") == f"for=203.0.113.7, for=127.0.0.1;host={HOST};proto=http"
    assert seen.get("x-forwarded-proto") == "https" and seen.count("x-forwarded-proto") == 1
    assert seen.get("x-forwarded-host") == "front.example" and seen.count("x-forwarded-host") == 1
    edge.wait_access(client="203.0.113.7", path="/echo")
    # The client behind the proxies is the one that networks are about; each request has its own.
    with Wire.connect(edge.http) as wire:
        for claimed, status in (("203.0.113.9", 403), ("203.0.113.8", 200), ("203.0.113.9, 203.0.113.8", 200),
                                ("203.0.113.8, 203.0.113.9", 403), ("203.0.113.9, 10.0.0.1, 10.0.0.2", 403), ("nonsense", 200)):
            wire.send(request("/echo", HOST, headers=[("X-Forwarded-For", claimed)]))
            assert wire.response().status == status, claimed


@pytest.mark.sanitizer
def test_where_two_clients_are_named_both_must_be_admitted(site, edge):
    """A proxy that speaks one family passes on what its client says in the other."""
    site.start(site.route(allow=["10.0.0.0/8", "127.0.0.0/8"]), listeners=listeners(edge, trusted_proxies=["127.0.0.0/8"]))
    stranger, friend = "203.0.113.9", "10.1.1.1"
    for plain, forwarded, status in ((stranger, friend, 403), (friend, stranger, 403), (friend, friend, 200), (friend, "10.2.2.2", 200)):
        said = [("X-Forwarded-For", plain), ("Forwarded", f"for={forwarded}")]
        assert site.ask("/echo", headers=said).status == status, said
    assert site.ask("/echo", headers=[("Forwarded", f"for={friend}")]).status == 200
    assert site.ask("/echo", headers=[("Forwarded", f"for={stranger}")]).status == 403


def trusting(edge, trusted):
    return listeners(edge, trusted_proxies=["127.0.0.0/8" if trusted else "10.0.0.0/8"])


@pytest.mark.sanitizer
def test_a_trusted_proxy_is_contradicted_in_neither_family(site, edge):
    site.start(listeners=trusting(edge, True))
    seen = site.echo(headers=BALANCER)
    assert [seen.get(f"x-forwarded-{n}") for n in ("for", "proto", "host")] == ["203.0.113.5, 127.0.0.1", "https", HOST]
    assert seen.get("forwarded") is None
    seen = site.echo(headers=[("Forwarded", "for=203.0.113.5;proto=https")])
    assert seen.get("forwarded") == f"for=203.0.113.5;proto=https, for=127.0.0.1;host={HOST};proto=http"
    assert not [name for name, _ in seen.headers if name.lower().startswith("x-forwarded-")]
    seen = site.echo()
    assert seen.get("x-forwarded-for") == "127.0.0.1" and seen.get("forwarded") == f"for=127.0.0.1;host={HOST};proto=http"


@pytest.mark.sanitizer
@TRUST
def test_redirects_keep_the_scheme_that_a_trusted_proxy_was_asked_by(site, edge, trusted):
    site.start(site.route({"path": "/", "redirect": {"path": "/new"}}), listeners=trusting(edge, trusted))
    for said in (BALANCER, [("Forwarded", "for=203.0.113.5;proto=https")], [("X-Forwarded-Proto", "https")]):
        assert site.ask("/old", headers=said).get("location") == f"{'https' if trusted else 'http'}://{HOST}/new"
    for said in ([], [("X-Forwarded-Proto", "http")], [("X-Forwarded-Proto", "nonsense")]):
        assert site.ask("/old", headers=said).get("location") == f"http://{HOST}/new"


@TRUST
def test_what_a_trusted_proxy_was_asked_by_https_is_not_led_there_again(site, edge, trusted):
    ca = {"client_auth": "require", "client_ca": str(site.authority.path)}
    site.start({"host": HOST, "rules": [says("served")]},
               {"host": "mutual.example.com", "tls": ca, "rules": [says("served")]},
               {"host": "off.example.com", "on_http": "off", "rules": [says("served")]}, listeners=trusting(edge, trusted))
    assert site.ask("/x", headers=BALANCER).status == (200 if trusted else 301)
    assert site.ask("/x", headers=[("X-Forwarded-Proto", "http")]).status == 301
    assert site.ask("/x", host="mutual.example.com", headers=BALANCER).status == 301  # nobody has shown a certificate
    assert site.ask("/x", host="off.example.com", headers=BALANCER).status == 404


@pytest.mark.sanitizer
@TRUST
def test_an_https_target_over_a_connection_without_tls(site, edge, trusted):
    """RFC 9110 7.4: 421, but from who may have ended TLS before us."""
    site.start(site.route(says("served")), listeners=trusting(edge, trusted))
    for transport, scheme in (("http", "http"), ("http", "https"), ("https", "https"), ("https", "HTTP")):
        with site.wire(transport) as wire:
            wire.send(request(f"{scheme}://{HOST}/x", HOST))
            assert wire.response().status == (200 if trusted or (transport, scheme) != ("http", "https") else 421), (transport, scheme)
    with H2Client(edge.https, site.authority) as client:
        assert client.wait(client.ask("/x")).status == 200
        assert client.wait(client.ask("/x", scheme="http")).status == 200  # as of a sidecar that adds TLS
        assert client.wait(client.ask("/x")).status == 200
    if not trusted:
        edge.wait_access(1, status=421, reason="misdirected")
