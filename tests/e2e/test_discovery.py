"""Endpoints that are names, against a real name server whose zone changes under load."""

import itertools
import os
import threading
import time
from collections import Counter

import pytest
from support.hello import hello
from support.knot import Knot
from support.load import Load
from support.netns import Namespace
from support.origin import Origin
from support.ports import free_port
from support.site import HOST
from support.waiting import until
from support.wire import Tap, Wire

pytestmark = [pytest.mark.sanitizer, pytest.mark.skipif(os.geteuid() != 0, reason="a name server on port 53 needs root")]
DNS = {"min_ttl": "100ms", "max_ttl": "1s"}


@pytest.fixture
def knot(closing, tmp_path):
    return closing(Knot(tmp_path / "knot"))


@pytest.fixture
def backends(closing):
    """Three origins on one port, at 127.0.0.1, .2 and .3."""
    port = free_port()
    return [closing(Origin(port, name, host=f"127.0.0.{i}")) for i, name in enumerate(("one", "two", "three"), 1)]


def start(site, knot, endpoint, **more):
    upstreams = {"app": {"endpoints": [endpoint], "dns": DNS, **more}}
    site.edge.start(certificates=site.certificates, routes=[site.route({"path": "/", "upstream": "app"})],
                    upstreams=upstreams, prefix=knot.prefix)


def who(site, count=12):
    with site.wire() as wire:
        return Counter(wire.ask("/who", HOST).body.split()[0].decode() for _ in range(count))


def test_a_zone_that_changes_under_load_moves_requests_and_loses_none(site, knot, backends):
    knot.set("api 0 A 127.0.0.1", "api 0 A 127.0.0.2")
    start(site, knot, f"api.app.test:{backends[0].port}")
    until(lambda: site.ask("/who").status == 200, "the name is resolved")
    assert set(who(site)) == {"one", "two"}
    with Load(site, 4, "/who") as load:
        for number in range(6):
            before = load.count
            new = f"127.0.0.{number % 3 + 1}"
            knot.set(f"api 0 A {new}")
            name = backends[number % 3].name
            until(lambda n=name: set(who(site)) == {n}, f"all go to {name}")
            until(lambda b=before: load.count > b + 20, "the load goes on")
        # Idle connections to those that are gone go as well, also of a worker that nobody asks for anything.
        until(lambda: backends[0].open_connections() == backends[1].open_connections() == 0, "the others are let go")
    assert load.bad == []
    assert site.edge.log().count("now resolves to") >= 6


def test_idle_connections_to_who_is_gone_go_without_a_request(site, knot, backends):
    knot.set("api 0 A 127.0.0.1", "api 0 A 127.0.0.2")
    start(site, knot, f"api.app.test:{backends[0].port}")
    until(lambda: site.ask("/who").status == 200, "the name is resolved")
    assert set(who(site)) == {"one", "two"}
    assert backends[0].open_connections() > 0 and backends[1].open_connections() > 0
    knot.set("api 0 A 127.0.0.2")
    until(lambda: backends[0].open_connections() == 0, "what waits at the first is let go")
    assert backends[1].open_connections() > 0


def test_tunnels_outlive_a_change_of_the_zone(edge, knot, taps_on_two_addresses):
    """What changes moves new connections only."""
    one, two = taps_on_two_addresses
    knot.set("api 0 A 127.0.0.1")
    app = {"endpoints": [f"api.app.test:{one.port}"], "dns": DNS, "outlier": {}}  # so that metrics tell of it
    edge.start(upstreams={"app": app}, routes=[{"host": HOST, "passthrough": "app"}], prefix=knot.prefix)
    until(lambda: edge.metrics().total("edgemux_upstream_endpoints", upstream="app") == 1, "the name is resolved")
    first = hello(HOST)
    with Wire.connect(edge.https) as old:
        old.send(first)
        with one.accept() as backend:
            assert backend.take(len(first)) == first
            knot.set("api 0 A 127.0.0.2")
            edge.wait_log("now resolves to 127.0.0.2")
            with Wire.connect(edge.https) as new:
                new.send(first)
                with two.accept() as other:
                    assert other.take(len(first)) == first
                    backend.send(b"still here")
                    assert old.take(10) == b"still here"
    assert one.nobody_comes(0.05)


@pytest.fixture
def taps_on_two_addresses(closing):
    port = free_port()
    return [closing(Tap(port, host=f"127.0.0.{n}")) for n in (1, 2)]


SERVER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
class Six(http.server.ThreadingHTTPServer):
    address_family = __import__("socket").AF_INET6
Six(("::", int(sys.argv[1])), Answer).serve_forever()
"""


def listens(port, host):
    try:
        Wire.connect(port, host).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("lost", ["v4", "v6"])
def test_a_black_holed_family_costs_a_quarter_second_once(site, knot, closing, lost):
    """A name with addresses of both families, one of which is dropped on its way: the other one is tried beside it after
    250 ms, and what comes later, tunnels too, begins with the family that works."""
    edge, inside, port = site.edge, closing(Namespace()), free_port()
    inside.spawn("/usr/bin/python3", "-c", SERVER, str(port))
    until(lambda: listens(port, inside.v4), "the server listens")
    inside.drop(inside.near_v4 if lost == "v4" else inside.near_v6)
    good = inside.v6 if lost == "v4" else inside.v4
    knot.set(f"both 0 A {inside.v4}", f"both 0 AAAA {inside.v6}")
    # With `outlier` metrics tell of its endpoints before they are used.
    app = {"endpoints": [f"both.app.test:{port}"], "timeouts": {"connect": "10s"}, "dns": DNS, "outlier": {}}
    listeners = [*edge.base()["listeners"][:2],
                 {"name": "tcp", "bind": [f"127.0.0.1:{edge.kube}"], "protocol": "tcp", "upstream": "app"}]
    edge.start(certificates=site.certificates, listeners=listeners, upstreams={"app": app}, workers=1,
               routes=[site.route({"path": "/", "upstream": "app"})], prefix=knot.prefix)
    until(lambda: edge.metrics().total("edgemux_upstream_endpoints", upstream="app") == 2, "both are known")
    with site.wire() as wire:
        for _ in range(20):
            assert wire.ask("/", HOST).body == b"ok"
    for _ in range(6):
        with Wire.connect(edge.kube) as tunnel:
            assert tunnel.ask("/", HOST).body == b"ok"
    requests = edge.wait_access(20, listener="http")
    tunnels = edge.wait_access(6, listener="tcp")
    assert {line["endpoint"] for line in requests + tunnels} == {f"both.app.test:{port} ({good})"}
    # The first connection that began with the lost one, if any did before the other was in use.
    slow = [line for line in requests + tunnels if line["attempts"] > 1]
    assert len(slow) == 1, slow
    assert 240 <= slow[0]["duration_ms"] < 5_000


def test_the_last_answer_is_kept_while_the_name_server_is_gone(site, knot, backends):
    knot.set("api 0 A 127.0.0.1")
    start(site, knot, f"api.app.test:{backends[0].port}")
    until(lambda: site.ask("/who").status == 200, "the name is resolved")
    with Load(site, 4, "/who") as load:
        knot.kill()
        site.edge.wait_log("api.app.test does not resolve: .*; going on with 127.0.0.1", within=30)
        before = load.count
        until(lambda: load.count > before + 50, "the load goes on")
        knot.start()
        knot.set("api 0 A 127.0.0.3")
        site.edge.wait_log("api.app.test resolves again: 127.0.0.3", within=40)
        until(lambda: set(who(site)) == {"three"}, "the new answer is used")
    assert load.bad == []


@pytest.mark.full  # the hold is half a minute
def test_a_name_that_is_gone_is_given_up(site, knot, backends):
    """NXDOMAIN, a name without an address, and a service without a record: none is a name server's failure."""
    port = backends[0].port
    kept = ["keep 0 TXT here", "other 0 A 127.0.0.1"]
    knot.set("api 0 A 127.0.0.1", "keep 0 A 127.0.0.1", f"_http._tcp 0 SRV 0 0 {port} other", *kept)
    names = {"api": f"api.app.test:{port}", "keep": f"keep.app.test:{port}", "service": "srv:_http._tcp.app.test"}
    site.edge.start(certificates=site.certificates, prefix=knot.prefix,
                    upstreams={name: {"endpoints": [endpoint], "dns": DNS} for name, endpoint in names.items()},
                    routes=[site.route(*({"path": f"/{name}", "upstream": name} for name in names))])
    until(lambda: all(site.ask(f"/{name}").status == 200 for name in names), "all are resolved")
    began = time.monotonic()
    knot.set(*kept)
    until(lambda: all(site.ask(f"/{name}").status == 503 for name in names), "all are given up", within=60)
    assert time.monotonic() - began >= 29
    assert site.edge.log().count(" given up") == 3
    knot.set("api 0 A 127.0.0.2", *kept)
    until(lambda: site.ask("/api").status == 200, "it is back", within=90)


def test_a_name_that_is_not_there_yet_does_not_stop_the_start(site, knot, backends):
    start(site, knot, f"late.app.test:{backends[0].port}")
    answer = site.ask("/who")
    assert answer.status == 503 and b"app" in answer.body
    site.edge.wait_access(status=503, reason="no_endpoint")
    knot.set("late 0 A 127.0.0.2")
    until(lambda: site.ask("/who").status == 200, "it is found", within=20)


def test_a_service_gives_ports_weights_and_priorities(site, knot, backends, origins):
    spare = origins("spare")
    port = backends[0].port
    hosts = ["a 0 A 127.0.0.1", "b 0 A 127.0.0.2", "c 0 A 127.0.0.1"]
    both = [f"_http._tcp 0 SRV 10 3 {port} a", f"_http._tcp 0 SRV 10 1 {port} b", f"_http._tcp 0 SRV 20 1 {spare.port} c"]
    knot.set(*hosts, *both)
    start(site, knot, "srv:_http._tcp.app.test")
    until(lambda: site.ask("/who").status == 200 and set(who(site)) == {"one", "two"}, "both targets are found")
    until(lambda: who(site, 40) == {"one": 30, "two": 10}, "their weights hold")
    with Load(site, 4, "/who") as load:
        # Those of the best priority have no address: the next priority serves.
        knot.set(*hosts, f"_http._tcp 0 SRV 5 1 {port} gone", both[2])
        until(lambda: set(who(site)) == {"spare"}, "the spare one serves", within=20)
        knot.set(*hosts, f"_http._tcp 0 SRV 10 0 {port} b")
        until(lambda: set(who(site)) == {"two"}, "the only target serves", within=20)
    assert load.bad == []


def test_names_health_and_tables_change_at_once_under_load(site, knot, backends):
    """With four workers, connections that are scarce, and every reload a change of the upstream itself."""
    for backend in backends:
        turns = itertools.count()
        backend.scripts["/healthz"] = lambda call, turns=turns: call.answer(503 if next(turns) % 6 >= 3 else 200)
    pairs = itertools.cycle([(1, 2), (2, 3), (3,), (1, 3)])
    kinds = itertools.cycle(["round_robin", "least_connections", "random_two", "source_hash"])

    def table(number):
        app = {
            "endpoints": [f"api.app.test:{backends[0].port}"], "dns": DNS, "balance": next(kinds),
            "health_check": {"http": "/healthz", "interval": "100ms", "unhealthy_after": 2, "healthy_after": 2},
            "outlier": {"consecutive_failures": 2, "eject_for": "100ms"}, "slow_start": "1s",
            "limits": {"connections": 4, "pending": 100}, "timeouts": {"pending": "30s"},
        }
        more = [{"host": f"h{n}.example.com", "passthrough": "127.0.0.1:9"} for n in range(number)]
        return {"certificates": site.certificates, "workers": 4, "upstreams": {"app": app},
                "routes": [site.route({"path": "/", "upstream": "app"}), *more]}

    knot.set("api 0 A 127.0.0.1")
    site.edge.start(prefix=knot.prefix, **table(0))
    until(lambda: site.ask("/who").status == 200, "the name is resolved")
    over = threading.Event()

    def move():
        while not over.is_set():
            knot.set(*(f"api 0 A 127.0.0.{n}" for n in next(pairs)))

    moving = threading.Thread(target=move)
    moving.start()
    try:
        with Load(site, 4, "/who") as plain, Load(site, 3, "/who", "https") as secure:
            for number in range(1, 25):
                site.edge.reload(**table(number))
                plain.more(10)
                secure.more(5)
            log = site.edge.log
            until(lambda: log().count("is unhealthy") >= 5 and log().count("now resolves to") >= 5, "all of it changed")
    finally:
        over.set()
        moving.join()
    assert plain.bad == [] and secure.bad == []
    until(lambda: site.edge.metrics().total("edgemux_connections_active") == 0, "the clients are gone")
    assert site.ask("/who").status == 200


def test_an_answer_that_leads_out_of_a_tenants_networks_is_not_followed(site, knot, backends):
    knot.set("api 0 A 127.0.0.2")
    inside = {"endpoints": [f"api.app.test:{backends[0].port}"], "dns": DNS}
    site.edge.start(certificates=site.certificates, prefix=knot.prefix, tenants={"a": {"hosts": [HOST], "networks": ["127.0.0.2"]}},
                    routes=[site.route({"path": "/", "upstream": inside}, tenant="a")])
    until(lambda: site.ask("/who").status == 200, "the name is resolved")
    assert set(who(site)) == {"two"}
    for outside in ("A 127.0.0.1", "A 169.254.169.254", "AAAA ::ffff:127.0.0.1", "AAAA ::ffff:169.254.169.254", "AAAA ::1"):
        knot.set(f"api 0 {outside}")
        until(lambda: site.ask("/who").status == 503, f"nobody is asked at {outside}")
        knot.set(f"api 0 {outside}", "api 0 A 127.0.0.2")
        until(lambda: site.ask("/who").status == 200, "what is inside is used")
        assert set(who(site)) == {"two"}
    assert backends[0].requests == []
    line = site.edge.wait_access(status=503)[0]
    assert (line["reason"], line["tenant"]) == ("no_endpoint", "a")
    assert "tenant a may not use it" in line["detail"]
