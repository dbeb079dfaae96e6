"""Who a request came from: what proxies in front of us are believed, and what upstreams are told."""

import pytest
from support.wire import Wire, request

HOST = "own.example.com"


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


@pytest.mark.parametrize("trusted", [True, False])
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
