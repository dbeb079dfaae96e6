"""What is known of an upstream outlives reloads: of others' routes, and of its own parameters too (but for its pools)."""

import pytest
from support.hello import hello
from support.site import HOST
from support.waiting import until
from support.wire import Wire

pytestmark = pytest.mark.sanitizer


def table(site, endpoints, number, rule=None, **parameters):
    """`number`: of the version; it has a host more than the one before."""
    more = [{"host": f"h{n}.example.com", "passthrough": "127.0.0.1:9"} for n in range(number)]
    return {"certificates": site.certificates, "workers": 1,
            "upstreams": {"app": {"endpoints": [e.address for e in endpoints], **parameters}},
            "routes": [site.route({"path": "/", "upstream": "app", **(rule or {})}), *more]}


def test_connections_are_kept_over_a_reload_that_does_not_concern_them(site, origin):
    site.edge.start(**table(site, [origin], 0))
    with site.wire() as wire:
        for number in range(1, 6):
            assert wire.ask("/who", HOST).status == 200
            site.edge.reload(**table(site, [origin], number))
            assert wire.ask("/who", HOST).status == 200
    assert origin.connections == 1


def test_ejections_outlive_reloads(site, origins):
    good, bad = origins("good"), origins("bad")
    bad.scripts["/who"] = lambda call: False  # closes without an answer
    outlier = {"consecutive_failures": 1, "eject_for": "60s", "max_ejected": "50%"}
    site.edge.start(**table(site, [good, bad], 0, outlier=outlier))

    def ejected():
        return site.edge.metrics().total("edgemux_upstream_endpoints", upstream="app", state="ejected")

    until(lambda: [site.ask("/who", method="POST").status, ejected()][1] == 1, "the bad one is ejected")
    asked = len(bad.requests)
    for number, more in enumerate([{}, {"timeouts": {"connect": "2s"}}, {"balance": "least_connections"}], 1):
        site.edge.reload(**table(site, [good, bad], number, outlier=outlier, **more))
        assert {site.ask("/who", method="POST").status for _ in range(8)} == {200}
        assert ejected() == 1
    assert len(bad.requests) == asked


def test_the_budget_of_retries_outlives_reloads(site, origin):
    origin.scripts["/"] = lambda call: call.answer(503)
    rule = {"retry": {"attempts": 2, "on": ["503"], "backoff": "1ms"}}
    site.edge.start(**table(site, [origin], 0, rule))
    with site.wire() as wire:
        for _ in range(150):
            assert wire.ask("/", HOST).status == 503
    used = len(origin.requests)
    assert used >= 150 + 100, "what was saved up is used"
    for number, more in enumerate([{}, {"timeouts": {"connect": "2s"}}], 1):
        site.edge.reload(**table(site, [origin], number, rule, **more))
        with site.wire() as wire:
            for _ in range(20):
                assert wire.ask("/", HOST).status == 503
        assert len(origin.requests) - used <= 20 + 20 // 5 + 1
        used = len(origin.requests)


def test_places_of_tunnels_outlive_reloads(site, tap):
    limited = {"limits": {"connections": 1}}
    tunnel = {"host": "t.example.com", "passthrough": "app"}

    def version(number, **more):
        made = table(site, [tap], number, **limited, **more)
        return {**made, "routes": [*made["routes"][1:], tunnel]}

    first = hello("t.example.com")
    site.edge.start(**version(0))
    with Wire.connect(site.edge.https) as one:
        one.send(first)
        with tap.accept() as backend:
            backend.take(len(first))
            for number, more in enumerate([{}, {"timeouts": {"connect": "2s"}}], 1):
                site.edge.reload(**version(number, **more))
                with Wire.connect(site.edge.https) as two:
                    two.send(first)
                    assert two.rest_or_reset() == b""
                backend.send(b"still here")
                assert one.take(10) == b"still here"
    site.edge.wait_access(2, reason="upstream_limit")
