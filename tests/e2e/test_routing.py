"""Which answer a request gets: hosts, rules by path, respond and redirect, allow and deny, 404 and 421."""

import json
import posixpath
from urllib.parse import unquote

import pytest
from support.proxy import edgemux
from support.site import HOST
from support.waiting import until


def says(text, **where):
    return {**where, "respond": {"status": 200, "body": text}}


@pytest.mark.sanitizer
def test_prefixes_match_by_path_element_and_the_longest_wins(site):
    site.start(site.route(
        says("root", path="/"), says("a", path="/a"), says("ab", path="/a/b/"), says("exact", exact_path="/a/b/c"),
        says("ping", exact_path="/ping"),
    ))
    with site.wire() as wire:
        for target, expected in {
            "/": "root", "/a": "a", "/a/": "a", "/a?x=/a/b": "a", "/ab": "root", "/a/b": "ab", "/a/b/": "ab",
            "/a/bc": "a", "/a/b/c": "exact", "/a/b/c/d": "ab", "/a/b/c/": "ab", "/ping": "ping", "/ping?x": "ping",
            "/ping/": "root", "/pingx": "root", "/A": "root",
        }.items():
            assert wire.ask(target, HOST).body == expected.encode(), target


def test_the_order_of_rules_does_not_decide(site):
    rules = [says("root", path="/"), says("a", path="/a"), says("exact", exact_path="/a")]
    site.start(site.route(*reversed(rules)))
    with site.wire() as wire:
        assert [wire.ask(t, HOST).body for t in ("/", "/a", "/a/x")] == [b"root", b"exact", b"a"]


def test_no_rule_is_404(site):
    site.start(site.route(says("a", path="/a")))
    answer = site.ask("/b")
    assert answer.status == 404
    site.edge.wait_access(status=404, reason="no_rule")
    assert site.origin.requests == []


def test_what_finding_the_rule_costs_is_bounded(site):
    """A path that is too long for the regular expressions of its host is refused; on another host it is as good as any."""
    hard = [says("no", regex_path="(.*x){300}y"), says("root", path="/")]
    site.start(site.route(*hard), site.route(says("root", path="/"), host="b.example.com"))
    short, long = "/" + "abx" * 300, "/" + "abx" * 10_000
    with site.wire() as wire:
        assert wire.ask(short, HOST).body == b"root"
        answer = wire.ask(long, HOST)
        assert answer.status == 431 and b"too long for the rules of this host" in answer.body
        site.edge.wait_access(status=431, reason="head_too_large")
    with site.wire() as wire:
        assert wire.ask(long, "b.example.com").body == b"root"
    done = edgemux("explain", "--config", site.edge.path, f"http://{HOST}:{site.edge.http}{long}")
    assert "=> 431: too long for the rules of this host" in done.stdout, done.stdout[-1000:]


def meaning(target):
    """The path that a careless origin would take the target for: it decodes everything, and then resolves."""
    return posixpath.normpath("/" + unquote(target.split("?")[0]).replace("\\", "/").lstrip("/"))


@pytest.mark.sanitizer
@pytest.mark.parametrize("target", [
    "/public/../admin", "/public/%2e%2e/admin", "/public/%2E./admin/x", "//admin", "/./admin", "/%61dmin",
    "/public/..%2fadmin", "/public/%2e%2e%2Fadmin", "/public/..%5cadmin", "/public/a%2f..%2f..%2fadmin",
    "/public/..;/admin", "/public/..\\admin", "/admin%00", "/public//../admin",
])
def test_the_path_that_is_matched_is_the_path_that_is_forwarded(site, target):
    """Another spelling of a guarded path is answered by its rule, refused, or arrives unable to mean it."""
    site.start(site.route({"path": "/", "upstream": site.origin.address}, says("guarded", path="/admin")))
    answer = site.ask(target)
    if site.origin.requests:
        forwarded = site.origin.requests[0].target
        assert not meaning(forwarded).startswith("/admin"), forwarded
    else:
        assert answer.status == 400 or answer.body == b"guarded", answer


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_respond(site, transport):
    site.start(site.route(
        {"exact_path": "/ping", "respond": {"status": 200, "body": "pong\n", "headers": {"X-Made-By": "edge"}}},
        {"exact_path": "/gone", "respond": {"status": 410}},
        {"exact_path": "/none", "respond": {"status": 204}},
    ))
    with site.wire(transport) as wire:
        answer = wire.ask("/ping", HOST)
        assert (answer.status, answer.body, answer.get("x-made-by")) == (200, b"pong\n", "edge")
        assert wire.ask("/ping", HOST, method="HEAD").get("content-length") == "5"
        assert wire.ask("/gone", HOST).status == 410
        assert wire.ask("/none", HOST).status == 204
        # The body of a request that nobody needs is taken off the connection, or the connection ends.
        answer = wire.ask("/ping", HOST, method="POST", body=b"GET /gone HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.body == b"pong\n"
        if answer.get("connection") != "close":
            assert wire.ask("/gone", HOST).status == 410


@pytest.mark.sanitizer
@pytest.mark.parametrize("redirect, target, status, location", [
    ({"host": "x.example.org"}, "/old/a?q=1", 302, "http://x.example.org{port}/old/a?q=1"),
    ({"scheme": "https", "host": "x.example.org", "status": 301}, "/old", 301, "https://x.example.org/old"),
    ({"scheme": "https", "host": "x.example.org", "port": 8443}, "/old", 302, "https://x.example.org:8443/old"),
    ({"path": "/new", "status": 308}, "/old/a?q=1", 308, "http://own.example.com{port}/new?q=1"),
    ({"prefix": "/new", "status": 307}, "/old/a/b?q=1", 307, "http://own.example.com{port}/new/a/b?q=1"),
    ({"prefix": "/"}, "/old/a", 302, "http://own.example.com{port}/a"),
])
def test_redirect_rules(site, redirect, target, status, location):
    site.start(site.route({"path": "/old", "redirect": redirect}))
    answer = site.ask(target)
    assert answer.status == status
    # The port of this listener may be named or not where the scheme stays; anything else is exact.
    wanted = {location.replace("{port}", p) for p in ("", f":{site.edge.http}")}
    assert answer.get("location") in wanted or answer.get("location") == _path_of(location), answer


def _path_of(location):
    """A relative reference does as well where host, scheme and port stay the same."""
    host, _, rest = location.replace("{port}", "").removeprefix("http://").partition("/")
    return "/" + rest if host == HOST else None


@pytest.mark.sanitizer
def test_allow_and_deny(site):
    pong = says("pong", path="/")
    site.start(
        site.route(pong, host="in.example.com", allow=["127.0.0.0/8"]),
        site.route(pong, host="out.example.com", allow=["10.0.0.0/8"]),
        site.route(pong, host="both.example.com", allow=["127.0.0.0/8"], deny=["127.0.0.1/32"]),
        site.route(pong, host="other.example.com", deny=["10.0.0.0/8", "::1"]),
    )
    for host, status in (("in", 200), ("out", 403), ("both", 403), ("other", 200)):
        assert site.ask("/", host=f"{host}.example.com").status == status, host
    for host in ("out", "both"):
        answer = site.ask("/", "https", host=f"{host}.example.com")
        assert answer.status == 403
    site.edge.wait_access(4, reason="access_denied")


@pytest.mark.sanitizer
def test_421_only_when_another_route_owns_the_host(site, origins):
    other = origins("other")
    site.start(
        {"hosts": [HOST, "also.example.com", "*.more.example.com"], "rules": [{"path": "/", "upstream": site.origin.address}]},
        {"host": "other.example.com", "rules": [{"path": "/", "upstream": other.address}]},
        {"host": "through.example.com", "passthrough": other.address},
    )
    with site.wire("https") as wire:
        assert wire.ask("/echo", HOST).status == 200
        # Another name of the same route: mere inequality is nothing wrong.
        assert wire.ask("/echo", "also.example.com").status == 200
        assert wire.ask("/echo", "x.more.example.com").status == 200
        assert wire.ask("/echo", HOST.upper() + f":{site.edge.https}").status == 200
    for host, status in (("other.example.com", 421), ("through.example.com", 421), ("nobody.test", 404)):
        with site.wire("https") as wire:
            assert wire.ask("/echo", host).status == status, host
    assert other.requests == []
    site.edge.wait_access(2, status=421, reason="misdirected")


def test_each_host_of_a_wildcard_route_is_told_apart_by_the_origin(site):
    site.start({"host": "*.example.com", "rules": [{"path": "/", "upstream": site.origin.address}]})
    for name in ("a.example.com", "b.example.com"):
        assert json.loads(site.ask("/echo", "https", host=name).body)["headers"]
        assert site.origin.requests[-1].get("host") == name


def test_shared_and_inline_upstreams(site, origins):
    app = origins("app")
    site.start(site.route({"path": "/", "upstream": "app"}, {"path": "/inline", "upstream": {"endpoints": [site.origin.address]}}),
               upstreams={"app": {"endpoints": [app.address]}})
    assert json.loads(site.ask("/echo").body)["origin"] == "app"
    assert site.ask("/inline/x").body == b"origin /inline/x\n"


def test_round_robin_over_the_endpoints(site, origins):
    three = [origins(f"o{n}") for n in range(3)]
    site.start(site.route({"path": "/", "upstream": "app"}), workers=1,
               upstreams={"app": {"endpoints": [o.address for o in three]}})
    with site.wire() as wire:
        names = [json.loads(wire.ask("/echo", HOST).body)["origin"] for _ in range(30)]
    assert {name: names.count(name) for name in names} == {"o0": 10, "o1": 10, "o2": 10}


def test_an_endpoint_by_name(site):
    site.start(site.route({"path": "/", "upstream": f"localhost:{site.origin.port}"}),
               site.route({"path": "/", "upstream": "no-such-name.invalid:80"}, host="lost.example.com"))
    answer = None
    def works():
        nonlocal answer
        answer = site.ask("/echo")
        return answer.status == 200

    until(works, lambda: f"the name is resolved: {answer}")
    lost = site.ask("/", host="lost.example.com")
    assert lost.status in (502, 503) and b"no-such-name.invalid" in lost.body
