"""The traffic behaviours of the Gateway API (HTTPRoute, TLSRoute), by the names of its conformance list: what is asked for.

Rows are data: a rule and a request on one side, what the client sees on the other.
"""

import ssl

import pytest
from support.rules import says
from support.site import HOST


# HTTPRouteMatching, HTTPRouteExactPathMatching, HTTPRouteHeaderMatching, HTTPRouteQueryParamMatching, HTTPRouteMethodMatching

MATCHES = [
    ("HTTPRouteExactPathMatching", says("yes", exact_path="/one"),
     [("/one", {}), ("/one?q", {})], [("/one/", {}), ("/one/two", {}), ("/onetwo", {}), ("/One", {})]),
    ("HTTPRouteMatching: path prefix", says("yes", path="/v2/"),
     [("/v2", {}), ("/v2/", {}), ("/v2/example", {})], [("/v2example", {}), ("/v", {}), ("/V2", {})]),
    ("HTTPRouteMatching: regular expression", says("yes", regex_path="/v[0-9]+(/.*)?"),
     [("/v12", {}), ("/v1/a/b", {})], [("/v", {}), ("/v1a", {}), ("/x/v1", {})]),
    ("one spelling of what no URI may hold", says("yes", exact_path="/br{x}"),
     [("/br{x}", {}), ("/br%7Bx%7D", {}), ("/br%7bx}", {})], [("/br%257Bx%257D", {}), ("/brx", {})]),
    ("one spelling of what no URI may hold: regular expression", says("yes", regex_path="/(%7C)+"),
     [("/|", {}), ("/%7c", {}), ("/" + "|" * 3000, {})], [("/|x", {})]),
    ("HTTPRouteHeaderMatching: exact", says("yes", match={"headers": {"Version": "two"}}),
     [("/", {"headers": [("version", "two")]}), ("/x", {"headers": [("VERSION", " two ")]})],
     [("/", {}), ("/", {"headers": [("version", "Two")]}), ("/", {"headers": [("version", "two, three")]}),
      ("/", {"headers": [("Connection", "version"), ("version", "two")]})]),
    ("HTTPRouteHeaderMatching: several of a name", says("yes", match={"headers": {"version": "two"}}),
     [("/", {"headers": [("version", "one"), ("version", "two")]})], [("/", {"headers": [("version", "one")]})]),
    ("HTTPRouteHeaderMatching: all of them", says("yes", match={"headers": {"version": "two", "color": "blue"}}),
     [("/", {"headers": [("color", "blue"), ("version", "two")]})], [("/", {"headers": [("color", "blue")]})]),
    ("HTTPRouteHeaderMatching: regular expression", says("yes", match={"headers": {"x-v": {"regex": "^2"}}}),
     [("/", {"headers": [("x-v", "2.1")]})], [("/", {"headers": [("x-v", "12")]}), ("/", {})]),
    ("HTTPRouteQueryParamMatching: exact", says("yes", match={"query": {"animal": "whale"}}),
     [("/?animal=whale", {}), ("/?x=1&animal=whale", {}), ("/?animal=%77hale", {}), ("/?animal=dog&animal=whale", {})],
     [("/", {}), ("/?animal=whales", {}), ("/?ANIMAL=whale", {}), ("/?animal", {}), ("/animal=whale", {})]),
    ("HTTPRouteQueryParamMatching: all of them", says("yes", match={"query": {"animal": "whale", "color": "dark blue"}}),
     [("/?color=dark+blue&animal=whale", {}), ("/?color=dark%20blue&animal=whale", {})], [("/?animal=whale", {})]),
    ("HTTPRouteQueryParamMatching: regular expression", says("yes", match={"query": {"n": {"regex": "^[0-9]+$"}}}),
     [("/?n=42", {})], [("/?n=42x", {}), ("/?n=", {})]),
    ("HTTPRouteMethodMatching", says("yes", match={"methods": ["POST", "DELETE"]}),
     [("/", {"method": "POST"}), ("/", {"method": "DELETE"})], [("/", {}), ("/", {"method": "PATCH"})]),
]


@pytest.mark.sanitizer
@pytest.mark.parametrize("name, rule, hits, misses", MATCHES, ids=[m[0] for m in MATCHES])
def test_matching(site, name, rule, hits, misses):
    site.start(site.route(rule))
    with site.wire() as wire:
        for target, how in hits:
            assert wire.ask(target, HOST, **how).body == b"yes", target
        for target, how in misses:
            assert wire.ask(target, HOST, **how).status == 404, target
    site.edge.wait_access(count=len(misses), status=404, reason="no_rule")


# HTTPRouteMatchingAcrossRoutes, HTTPRoutePathMatchOrder, HTTPRouteMethodMatching: who comes first

ORDERED = [
    says("priority", match={"path": "/", "headers": {"x-first": "1"}}, priority=1),
    says("exact", exact_path="/match/exact"),
    says("exact one", exact_path="/match/exact/one"),
    says("regex", regex_path="/match/.*/regex"),
    says("long prefix", path="/match/prefix/one/any"),
    says("prefix", path="/match/prefix"),
    says("method", match={"path": "/path5", "methods": ["PATCH"]}),
    says("two headers", match={"path": "/path5", "headers": {"color": "blue", "version": "four"}}),
    says("header", match={"path": "/path5", "headers": {"version": "four"}}),
    says("parameter", match={"path": "/path5", "query": {"animal": "whale"}}),
    says("root", path="/"),
]


@pytest.mark.parametrize("turn", [1, -1], ids=["as listed", "the other way round"])
def test_match_order(site, turn):
    site.start(site.route(*ORDERED[::turn]))
    four, blue, whale = ("version", "four"), ("color", "blue"), "/path5?animal=whale"
    with site.wire() as wire:
        for target, headers, method, expected in [
            ("/match/exact", [], "GET", "exact"), ("/match/exact/one", [], "GET", "exact one"),
            ("/match/exact/two", [], "GET", "root"), ("/match/prefix/regex", [], "GET", "regex"),
            ("/match/prefix/one/any/x", [], "GET", "long prefix"), ("/match/prefix/one", [], "GET", "prefix"),
            ("/match/exact", [("x-first", "1")], "GET", "priority"),
            (whale, [four, blue], "PATCH", "method"), (whale, [four, blue], "GET", "two headers"),
            (whale, [four], "GET", "header"), (whale, [blue], "GET", "parameter"), ("/path5", [], "GET", "root"),
        ]:
            assert wire.ask(target, HOST, method=method, headers=headers).body == expected.encode(), target


def test_the_first_listed_wins_a_tie(site):
    site.start(site.route(says("a", match={"headers": {"a": "1"}}), says("b", match={"headers": {"b": "1"}})))
    assert site.ask("/", headers=[("b", "1"), ("a", "1")]).body == b"a"


def test_a_thousand_rules(site):
    rules = [says(f"p{i}", path=f"/p/{i}") for i in range(500)] + [says(f"e{i}", exact_path=f"/p/{i}") for i in range(500)]
    site.start(site.route(*rules, says("root", path="/")))
    with site.wire() as wire:
        for target, expected in {"/p/77": "e77", "/p/77/x": "p77", "/p/499/": "p499", "/p/777": "root"}.items():
            assert wire.ask(target, HOST).body == expected.encode(), target


# HTTPRouteHostnameIntersection, HTTPRouteListenerHostnameMatching, HTTPRouteSimpleSameNamespace

def test_hostname_intersection(site):
    """An exact host beats a wildcard, a longer wildcard a shorter one; what is owned elsewhere falls to nobody."""
    site.start(
        site.route(says("exact"), host="very.specific.example.com"), site.route(says("wild"), host="*.example.com"),
        site.route(says("longer"), host="*.specific.example.com"),
        site.route(says("other listener"), host="elsewhere.example.com", listeners=["kube-api"]),
    )
    for host, expected in {
        "very.specific.example.com": "exact", "VERY.specific.example.com.": "exact", "non.specific.example.com": "longer",
        "foo.bar.example.com": "wild", "very.specific.example.com:1234": "exact",
    }.items():
        assert site.ask("/", host=host).body == expected.encode(), host
    for host in ("example.com", "specific.org", "elsewhere.example.com"):
        assert site.ask("/", host=host).status == 404, host


# TLSRouteSimpleSameNamespace, TLS passthrough, terminate and both on one port; HTTPRouteHTTPSListener;
# HTTPRouteHTTPSListenerDetectMisdirectedRequests

@pytest.mark.sanitizer
def test_passthrough_and_terminate_on_one_port(site, origins, authority):
    pair = authority.issue("pass.example.com")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    backend = origins("backend", tls=context)
    site.start(site.route(says("terminated"), host="term.example.com"),
               {"host": "pass.example.com", "passthrough": backend.address})
    assert site.ask("/", "https", host="term.example.com").body == b"terminated"
    assert site.ask("/x", "https", host="pass.example.com").body == b"backend /x\n"
    with pytest.raises((OSError, ssl.SSLError)):
        site.ask("/", "https", host="nobody.example.org")


def test_misdirected_requests(site):
    """421 only where another route owns the Host; a host of the same route, and one that nobody owns, are no case of it."""
    site.start({"hosts": ["one.example.com", "also.example.com"], "rules": [says("first")]},
               site.route(says("second"), host="two.example.com"))
    with site.wire("https", "one.example.com") as wire:
        assert wire.ask("/", "one.example.com").body == b"first"
        assert wire.ask("/", "also.example.com").body == b"first"
        assert wire.ask("/", "two.example.com").status == 421
        assert wire.ask("/", "nobody.example.org").status == 404
    assert site.ask("/", "https", host="two.example.com").body == b"second"
