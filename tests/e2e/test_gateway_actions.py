"""The traffic behaviours of the Gateway API (HTTPRoute, TLSRoute), by the names of its conformance list: what is done with a request.

Rows are data: a rule and a request on one side, what the client or the origin sees on the other.
"""

import json

import pytest
from support.http2 import H2Client
from support.proxy import edgemux
from support.rules import failing, says
from support.site import HOST
from support.waiting import until
from support.wire import request


def seen(answer):
    """The request as the origin saw it, from the answer of /echo."""
    assert answer.status == 200, answer
    return json.loads(answer.body)


def values(told, name):
    return [value for n, value in told["headers"] if n.lower() == name]


# HTTPRouteRedirectHostAndStatus, HTTPRouteRedirectPath, HTTPRouteRedirectPort, HTTPRouteRedirectPortAndScheme,
# HTTPRouteRedirectScheme

REDIRECTS = [
    ({"host": "x.example.org"}, "/hostname-redirect", 302, "http://x.example.org{port}/hostname-redirect"),
    ({"host": "x.example.org", "status": 301}, "/a", 301, "http://x.example.org{port}/a"),
    ({"scheme": "https"}, "/scheme?q=1", 302, "https://own.example.com/scheme?q=1"),
    ({"scheme": "http"}, "/scheme", 302, "http://own.example.com/scheme"),
    ({"port": 8083}, "/port", 302, "http://own.example.com:8083/port"),
    ({"port": 80}, "/port", 302, "http://own.example.com/port"),
    ({"scheme": "https", "port": 443}, "/port", 302, "https://own.example.com/port"),
    ({"scheme": "https", "port": 8443}, "/port", 302, "https://own.example.com:8443/port"),
    ({"scheme": "http", "port": 443}, "/port", 302, "http://own.example.com:443/port"),
    ({"path": "/replacement-full", "status": 303}, "/full/path/original?q", 303, "http://own.example.com{port}/replacement-full?q"),
    ({"prefix": "/replacement", "status": 307}, "/original-prefix/lemon?q", 307, "http://own.example.com{port}/replacement/lemon?q"),
    ({"host": "x.example.org", "prefix": "/new", "status": 308}, "/original-prefix", 308, "http://x.example.org{port}/new"),
]


@pytest.mark.parametrize("redirect, target, status, location", REDIRECTS, ids=[str(r[0]) for r in REDIRECTS])
def test_redirects(site, redirect, target, status, location):
    prefix = "/original-prefix" if "prefix" in redirect else "/"
    site.start(site.route({"path": prefix, "redirect": redirect}))
    answer = site.ask(target, host=f"{HOST}:{site.edge.http}")
    assert (answer.status, answer.get("location")) == (status, location.format(port=f":{site.edge.http}"))


def test_redirect_of_a_request_without_a_path(site):
    site.start(site.route({"path": "/", "redirect": {"host": "x.example.org"}}))
    assert site.ask("*", method="OPTIONS").get("location") == "http://x.example.org/"


# HTTPRouteRewriteHost, HTTPRouteRewritePath: the ReplacePrefixMatch table of the specification, whole

REPLACED = [
    ("/foo", "/xyz", "/foo/bar", "/xyz/bar"), ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"), ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
    ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"), ("/foo", "/xyz", "/foo", "/xyz"), ("/foo", "/xyz", "/foo/", "/xyz/"),
    ("/foo", "", "/foo/bar", "/bar"), ("/foo", "", "/foo/", "/"), ("/foo", "", "/foo", "/"), ("/foo", "/", "/foo/", "/"),
    ("/foo", "/", "/foo", "/"), ("/", "/xyz", "/a?b=c", "/xyz/a?b=c"), ("/foo", "/xyz", "/foo/b%2Fr?x=/foo", "/xyz/b%2Fr?x=/foo"),
]


@pytest.mark.sanitizer
def test_replace_prefix_match(site):
    """One rule a row, told apart by a header; in redirects and in rewrites alike."""
    rules = []
    for i, (prefix, replacement, _, _) in enumerate(REPLACED):
        where = {"path": prefix, "headers": {"row": str(i)}}
        rules.append({"match": {**where, "methods": ["GET"]}, "upstream": site.origin.address, "rewrite": {"prefix": replacement}})
        rules.append({"match": {**where, "methods": ["PUT"]}, "redirect": {"prefix": replacement, "host": "x"}})
    site.start(site.route(*rules))
    with site.wire() as wire:
        for i, (prefix, replacement, target, expected) in enumerate(REPLACED):
            row = (prefix, replacement, target)
            assert wire.ask(target, HOST, headers=[("row", str(i))]).status == 200, row
            assert site.origin.requests[-1].target == expected, row
            answer = wire.ask(target, HOST, method="PUT", headers=[("row", str(i))])
            assert answer.get("location").removeprefix("http://x") == expected, row


def test_rewrite_path_and_host(site):
    up = site.origin.address
    site.start(site.route(
        {"path": "/full", "upstream": up, "rewrite": {"path": "/echo"}},
        {"path": "/host", "upstream": up, "rewrite": {"host": "other.example.org:99", "prefix": "/echo"}},
        {"regex_path": "/r/.*", "upstream": up, "rewrite": {"path": "/echo"}},
    ))
    with site.wire() as wire:
        told = seen(wire.ask("/full/path?q=1", HOST))
        assert told["target"] == "/echo?q=1" and values(told, "host") == [HOST]
        told = seen(wire.ask("/host", HOST))
        assert values(told, "host") == ["other.example.org:99"] and values(told, "x-forwarded-host") == [HOST]
        assert seen(wire.ask("/r/x", HOST))["target"] == "/echo"


# HTTPRouteRequestHeaderModifier, HTTPRouteResponseHeaderModifier, and the same of a backend (HTTPRouteBackendRequestHeaderModifier)

@pytest.mark.sanitizer
def test_header_modifiers_of_a_backend(site, origins):
    """Of a request the rule's change comes first, of an answer the backend's; nothing of one backend's reaches the other."""
    told = lambda call: call.read_body() or call.answer(
        headers=[("x-seen", ",".join(f"{n}={v}" for n, v in call.seen.headers if n.lower().startswith("x-s"))), ("x-own", "origin")])
    one, other = origins("one"), origins("other")
    one.scripts["/"] = other.scripts["/"] = told
    site.start(site.route({
        "path": "/",
        "request_headers": {"set": {"x-set": "rule"}, "add": {"x-some": "rule"}},
        "response_headers": {"add": {"x-own": "rule"}},
        "split": [
            {"upstream": one.address, "request_headers": {"set": {"x-set": "one"}, "remove": ["x-some"]}},
            {"upstream": other.address, "response_headers": {"set": {"x-own": "other"}, "add": {"x-from": "other"}}},
        ],
    }))
    seen_both = set()
    with site.wire() as wire:
        for _ in range(100):
            answer = wire.ask("/", HOST)
            seen_both.add((answer.get("x-seen"), answer.get("x-own"), answer.get("x-from")))
    assert seen_both == {("x-set=one", "origin, rule", None), ("x-set=rule,x-some=rule", "other, rule", "other")}


@pytest.mark.sanitizer
def test_request_header_modifier(site):
    change = {"set": {"X-Set": "new", "x-fresh": "f"}, "add": {"X-Add": "2"}, "remove": ["X-Gone", "x-none"]}
    site.start(site.route({"path": "/", "upstream": site.origin.address, "request_headers": change}))
    told = seen(site.ask("/echo", headers=[
        ("x-set", "a"), ("X-Set", "b"), ("x-add", "1"), ("x-gone", "1"), ("x-gone", "2"), ("x-kept", "k"),
        ("Connection", "x-fresh"),
    ]))
    for name, expected in {"x-set": ["new"], "x-fresh": ["f"], "x-add": ["1", "2"], "x-gone": [], "x-kept": ["k"]}.items():
        assert values(told, name) == expected, name


@pytest.mark.sanitizer
def test_response_header_modifier(site):
    change = {"set": {"x-set": "new", "strict-transport-security": "max-age=1"}, "add": {"x-add": "2"}, "remove": ["x-gone", "server"]}
    site.origin.scripts["/"] = lambda call: call.read_body() or call.answer(headers=[
        ("X-Set", "a"), ("x-set", "b"), ("x-add", "1"), ("x-gone", "1"), ("Server", "me"), ("x-kept", "k")])
    site.start(site.route(
        {"path": "/", "upstream": site.origin.address, "response_headers": change},
        {**says("own", path="/own"), "response_headers": change},
    ))
    answer = site.ask("/")
    told = {"headers": answer.headers}
    for name, expected in {"x-set": ["new"], "x-add": ["1", "2"], "x-gone": [], "server": [], "x-kept": ["k"],
                           "strict-transport-security": ["max-age=1"]}.items():
        assert values(told, name) == expected, name
    assert site.ask("/own").get("x-set") == "new"
    site.origin.close()
    assert site.ask("/").status == 502 and site.ask("/").get("strict-transport-security") == "max-age=1"


def test_headers_that_are_not_the_operators_are_refused(edge):
    for rule in ({"request_headers": {"set": {"Host": "x"}}}, {"request_headers": {"add": {"transfer-encoding": "chunked"}}},
                 {"request_headers": {"remove": ["x-forwarded-for"]}}, {"response_headers": {"set": {"content-length": "1"}}}):
        edge.write(edge.base(routes=[{"host": HOST, "rules": [{"path": "/", "upstream": "127.0.0.1:9", **rule}]}]))
        done = edgemux("check", "--config", edge.path)
        assert done.returncode == 1 and "edgemux's own to write" in done.stdout + done.stderr, rule


# HTTPRouteRequestMirror, HTTPRouteRequestMultipleMirrors, HTTPRouteRequestPercentageMirror

@pytest.mark.sanitizer
def test_request_mirror(site, origins):
    shadow, second = origins("shadow"), origins("second")
    site.start(site.route({
        "path": "/", "upstream": site.origin.address, "rewrite": {"prefix": "/upload"}, "request_headers": {"set": {"x-env": "prod"}},
        "mirror": [{"upstream": shadow.address}, {"upstream": second.address}],
    }))
    with site.wire() as wire:
        assert wire.ask("/a?b", HOST).status == 200
        assert wire.ask("/a?b", HOST, method="POST", body=b"x" * 50_000).status == 200
        wire.send(request("/a?b", HOST, "POST", [("Transfer-Encoding", "chunked")]) + b"5\r\nhello\r\n0\r\n\r\n")
        assert wire.response().status == 200
    for copy in (shadow, second):
        copies = copy.wait_for_requests(3)
        until(lambda: sorted(r.body_length for r in copies) == [0, 5, 50_000], "the copies have their bodies")
        assert all((r.target, r.get("x-env"), r.get("host")) == ("/upload/a?b", "prod", HOST) for r in copies)
    assert len(site.origin.requests) == 3
    until(lambda: site.edge.metrics().total("edgemux_mirrored_requests_total", result="answered") == 6, "all are counted")


def test_percentage_mirror(site, origins):
    some, eighth, few, none = (origins(name) for name in ("some", "eighth", "few", "none"))
    shares = ((some, 50), (eighth, 12.5), (few, 0.5), (none, 0))
    site.start(site.route({"path": "/", "respond": {"status": 200}},
                          {"path": "/copied", "upstream": site.origin.address,
                           "mirror": [{"upstream": to.address, "percent": percent} for to, percent in shares]}))
    explained = edgemux("explain", "--config", site.edge.path, f"http://{HOST}:{site.edge.http}/copied").stdout
    for to, percent in shares:
        assert f"{percent}% are copied to upstream {to.address}" in explained, explained
    with site.wire() as wire:
        for _ in range(3000):
            assert wire.ask("/copied", HOST).status == 200
    # Six times the deviation that chance makes, at least.
    for to, least, most in ((some, 1300, 1700), (eighth, 250, 500), (few, 1, 45), (none, 0, 0)):
        until(lambda: least <= len(to.requests) <= most,
              lambda: f"{to.name}: {least} to {most} of 3000, it is {len(to.requests)}")


@pytest.mark.sanitizer
def test_a_mirror_never_delays_or_fails_a_request(site, origins, dead_address, blackhole):
    slow = origins("slow")
    slow.scripts["/"] = lambda call: call.gate("never")
    bad = origins("bad")
    bad.scripts["/"] = b"this is not HTTP\r\n\r\n"
    site.start(site.route({"path": "/", "upstream": site.origin.address, "mirror": [
        {"upstream": slow.address}, {"upstream": bad.address}, {"upstream": dead_address}, {"upstream": blackhole.address}]}))
    with site.wire() as wire:
        for _ in range(300):  # more than may wait at a time
            assert wire.ask("/", HOST).status == 200
        assert wire.ask("/", HOST, method="POST", body=b"x" * 200_000).status == 200
    assert 0 < len(slow.requests) <= 256
    copies = {r: site.edge.metrics().total("edgemux_mirrored_requests_total", result=r) for r in ("answered", "failed", "dropped")}
    assert copies["answered"] == 0 and copies["failed"] >= 2
    # Of the request with the large body no copy was sent, nor when too many were under way.
    assert copies["dropped"] >= 4
    assert len(site.origin.requests) == 301


# HTTPRouteCORS

CORS = {"origins": ["https://www.foo.example", "https://*.bar.example"], "methods": ["GET", "PUT"], "headers": ["x-header-1"],
        "expose": ["x-header-3"], "credentials": True, "max_age": "1h"}


def preflight(origin, method="PUT"):
    return {"method": "OPTIONS", "headers": [("Origin", origin), ("Access-Control-Request-Method", method),
                                             ("Access-Control-Request-Headers", "x-header-1")]}


@pytest.mark.sanitizer
def test_cors(site):
    site.origin.scripts["/"] = lambda call: call.read_body() or call.answer(headers=[
        ("Access-Control-Allow-Origin", "*"), ("X-Kept", "1")])
    site.start(site.route({"match": {"path": "/", "methods": ["GET", "PUT"]}, "upstream": site.origin.address, "cors": CORS}))
    with site.wire() as wire:
        for origin in ("https://www.foo.example", "https://a.b.bar.example"):
            answer = wire.ask("/", HOST, **preflight(origin))
            assert answer.status in (200, 204) and answer.body == b""
            assert {n: v for n, v in answer.headers if n.startswith("access-control-")} == {
                "access-control-allow-origin": origin, "access-control-allow-credentials": "true",
                "access-control-allow-methods": "GET, PUT", "access-control-allow-headers": "x-header-1",
                "access-control-max-age": "3600",
            }
            assert answer.get("vary") == "Origin"
        assert site.origin.requests == []
        answer = wire.ask("/", HOST, **preflight("https://evil.example"))
        assert answer.status in (200, 204) and answer.get("access-control-allow-origin") is None
        answer = wire.ask("/", HOST, headers=[("Origin", "https://www.foo.example")])
        assert answer.get("access-control-allow-origin") == "https://www.foo.example"
        assert answer.get("access-control-expose-headers") == "x-header-3" and answer.get("x-kept") == "1"
        # The origin's own word does not count, and no request is refused: that is the browser's part.
        answer = wire.ask("/", HOST, headers=[("Origin", "https://evil.example")])
        assert answer.status == 200 and answer.get("access-control-allow-origin") is None
        assert answer.get("vary") == "Origin"
        assert wire.ask("/", HOST, **preflight("https://www.foo.example", "DELETE")).status == 404


def test_cors_for_everybody(site):
    site.start(site.route({**says("x", path="/"), "cors": {"origins": ["*"], "methods": ["*"], "headers": ["*"]}}))
    answer = site.ask("/", **preflight("https://any.example"))
    assert [answer.get(f"access-control-allow-{n}") for n in ("origin", "methods", "headers")] == ["*", "*", "*"]
    assert site.ask("/", headers=[("Origin", "null")]).get("access-control-allow-origin") == "*"
    # Caches may give to everybody what came for one who named no origin.
    answer = site.ask("/")
    assert (answer.get("access-control-allow-origin"), answer.get("vary")) == ("*", None)


def test_names_beside_a_star_are_said(site):
    """`*` never stands for Authorization (Fetch)."""
    cors = {"origins": ["*"], "headers": ["*", "authorization"], "expose": ["x-a", "*"]}
    site.start(site.route({**says("x", path="/"), "cors": cors}))
    assert site.ask("/", **preflight("https://any.example")).get("access-control-allow-headers") == "*, authorization"
    assert site.ask("/", headers=[("Origin", "https://any.example")]).get("access-control-expose-headers") == "x-a, *"


def test_headers_of_a_rule_fit_every_message(site):
    """As many as may be configured, on messages with as many as are taken."""
    def many(name, count):
        return {f"{name}{number}": "1" for number in range(count)}

    site.origin.scripts["/"] = lambda call: call.read_body() or call.answer(headers=many("x", 120).items())
    change = {"set": many("s", 40), "add": many("a", 24)}
    part = {"set": many("ps", 40), "add": many("pa", 24)}
    site.start(site.route(
        {"path": "/", "split": [{"upstream": site.origin.address, "request_headers": part, "response_headers": part}],
         "request_headers": change, "response_headers": change, "cors": {**CORS, "methods": ["*"], "headers": ["*"]}},
        {"path": "/own", "respond": {"body": "x", "headers": many("r", 64)}, "response_headers": change,
         "cors": {**CORS, "methods": ["*"], "headers": ["*"]}}))
    added = {*change["set"], *change["add"], *part["set"], *part["add"]}
    answer = site.ask("/", headers=[("Origin", "https://www.foo.example"), *many("c", 125).items()])
    assert answer.status == 200 and {*added, *many("x", 120)} <= {name for name, _ in answer.headers}
    assert {*added, *many("c", 125)} <= {name.lower() for name, _ in site.origin.requests[-1].headers}
    with H2Client(site.edge.https, site.authority) as client:
        answer = client.wait(client.ask("/", headers=list(many("c", 125).items())))
        assert answer.status == 200 and {*added, *many("x", 120)} <= {name for name, _ in answer.headers}
    answer = site.ask("/own", headers=[("Origin", "https://www.foo.example")])
    assert {*change["set"], *change["add"], *many("r", 64), "content-type", "access-control-allow-origin"} <= \
        {name for name, _ in answer.headers}
    answer = site.ask("/own", **preflight("https://www.foo.example"))
    assert {*change["set"], "access-control-max-age"} <= {name for name, _ in answer.headers}


# HTTPRouteWeight, HTTPRouteInvalidBackendRef, HTTPRouteNoReadyEndpoints and what stands in for them here

def test_weights(site, origins):
    a, b, never = origins("a"), origins("b"), origins("never")
    site.start(site.route({"path": "/", "split": [
        {"upstream": a.address, "weight": 70}, {"upstream": b.address, "weight": 30}, {"upstream": never.address, "weight": 0}]}))
    with site.wire() as wire:
        for _ in range(500):
            assert wire.ask("/", HOST).status == 200
    assert 290 <= len(a.requests) <= 410, len(a.requests)  # nine standard deviations
    assert len(a.requests) + len(b.requests) == 500 and never.requests == []


def test_a_missing_upstream_is_500_and_one_without_endpoints_503(site):
    """In proportion to their weights, and the good part goes on."""
    folder = site.edge.folder / "routes.d"
    folder.mkdir(exist_ok=True)
    (folder / "broken.yaml").write_text("upstreams: { gone: { endpoints: [\"127.0.0.1:9\"] } }\nroutes: [{ oops: 1 }]\n")
    nowhere = {"endpoints": ["no-such-name.invalid:80"]}
    up = site.origin.address
    site.start(site.route(
        {"path": "/missing", "upstream": "gone"}, {"path": "/empty", "upstream": nowhere},
        {"path": "/zero", "split": [{"upstream": up, "weight": 0}]},
        {"path": "/split", "split": [{"upstream": up}, {"upstream": "gone"}, {"upstream": nowhere}]},
    ), include=["routes.d/*.yaml"])
    assert site.ask("/missing").status == 500
    site.edge.wait_access(status=500, reason="no_upstream", upstream="gone")
    assert site.ask("/zero").status == 500
    until(lambda: site.ask("/empty").status == 503, "no endpoint is 503")
    counts = {200: 0, 500: 0, 503: 0}
    for _ in range(120):
        counts[site.ask("/split").status] += 1
    assert all(10 <= n <= 80 for n in counts.values()), counts


def test_an_unknown_upstream_is_a_typo(edge):
    edge.write(edge.base(upstreams={"app": {"endpoints": ["127.0.0.1:9"]}}, routes=[
        {"host": HOST, "rules": [{"split": [{"upstream": "apps"}]}]}]))
    done = edgemux("check", "--config", edge.path)
    assert done.returncode == 1 and "did you mean 'app'" in done.stdout + done.stderr


# The same rules, whatever the client speaks

@pytest.mark.sanitizer
def test_rules_over_http2(site, origins):
    """Streams of one connection, each with its own rule, retries and mirrors."""
    shadow = origins("shadow")
    for number in range(10):
        site.origin.scripts[f"/up/{number}"] = failing(1)
    site.start(site.route(
        {"match": {"path": "/in", "methods": ["POST"], "headers": {"x-a": "1"}, "query": {"q": {"regex": "^[0-9]$"}}},
         "upstream": site.origin.address, "rewrite": {"prefix": "/up", "host": "inner.example"}, "mirror": {"upstream": shadow.address},
         "request_headers": {"set": {"x-env": "prod"}}, "response_headers": {"set": {"x-out": "1"}}, "cors": CORS,
         "retry": {"attempts": 1, "on": [503], "backoff": "10ms"}, "timeouts": {"request": "20s"}},
        {"path": "/slow", "upstream": site.origin.address, "rewrite": {"path": "/gate/never"}, "timeouts": {"request": "200ms"}},
        says("else", path="/"),
    ))
    with H2Client(site.edge.https, site.authority) as client:
        slow = client.ask("/slow")
        streams = [client.ask(f"/in/{n}?q={n}", method="POST", headers=[("x-a", "1"), ("origin", "https://x.bar.example")], end=False)
                   for n in range(10)]
        for stream in streams:
            client.send(stream, b"x" * 3000, end=True)
        for answer in client.wait(*streams):
            assert (answer.status, bytes(answer.body), answer.get("x-out")) == (200, b"try 2", "1")
            assert answer.get("access-control-allow-origin") == "https://x.bar.example"
        assert client.wait(slow).status == 504
        assert bytes(client.get("/in/1?q=x").body) == b"else"
        assert client.get("/in/1", method="OPTIONS", headers=[("x-a", "1")]).status == 200
    copies = shadow.wait_for_requests(10)
    assert all((r.get("x-env"), r.get("host")) == ("prod", "inner.example") for r in copies)
    until(lambda: all(r.body_length == 3000 for r in copies), "the copies have their bodies")
    assert len(copies) == 10, "one each, whatever is retried"
