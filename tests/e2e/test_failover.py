"""An endpoint dies under load: the next one takes over; when all are down the answer says which upstream."""

import pytest
from support.backends import Nginx
from support.hello import hello
from support.ports import free_port
from support.site import HOST
from support.waiting import SLOW, until
from support.wire import Wire


def served_by(site, names, transport="http"):
    """Asks until every one of these has answered."""
    seen = set()

    def all_seen():
        answer = site.ask("/", transport)
        if answer.status == 200:
            seen.add(answer.body.split()[0].decode())
        return seen >= names

    until(all_seen, lambda: f"answers of {names}, seen {seen}")


@pytest.mark.sanitizer
def test_the_next_endpoint_takes_over_under_load(site, nginx, wrk):
    one, two = nginx("one"), nginx("two")
    site.start(site.route({"path": "/", "upstream": "app"}),
               upstreams={"app": {"endpoints": [one.address, two.address]}})
    served_by(site, {"one", "two"})
    loads = [wrk("http://own.example.com:{port}/", site.edge.http, int(4 * SLOW), connections=4, headers=[h])
             for h in ("Connection: keep-alive", "Connection: close")]
    requests = "edgemux_requests_total"
    until(lambda: site.edge.metrics().total(requests) > 500, "the load runs")
    one.close()
    before = site.edge.metrics().total(requests)
    until(lambda: site.edge.metrics().total(requests) > before + 500, "and goes on")
    for load in loads:
        report = load.result()
        # What was under way in the dying backend may be lost; nothing after it.
        assert report.errors == 0 and report.non_2xx <= 8, report.text
    for _ in range(10):
        assert site.ask("/").body == b"two own.example.com\n"
    # It comes back, and is used again.
    back = Nginx(site.edge.folder / "back", one.port, "back")
    try:
        served_by(site, {"back", "two"})
    finally:
        back.close()


@pytest.mark.sanitizer
def test_the_next_endpoint_takes_over_for_new_tunnels(edge, taps):
    one, two = taps(), taps()
    edge.start(routes=[{"host": "a.example.com", "passthrough": {"endpoints": [one.address, two.address]}}])
    one.close()
    for _ in range(6):
        with Wire.connect(edge.https) as client:
            client.send(hello("a.example.com"))
            backend = two.accept()
            backend.send(b"two")
            assert client.take(3) == b"two"
            backend.close()


@pytest.mark.sanitizer
def test_all_down_says_which_upstream_and_the_log_says_why(site, nginx):
    one, two = nginx("one"), nginx("two")
    site.start(site.route({"path": "/", "upstream": "app"}),
               upstreams={"app": {"endpoints": [one.address, two.address]}})
    assert site.ask("/").status == 200
    one.close()
    two.close()
    with site.wire() as wire:
        for _ in range(4):
            answer = wire.ask("/", HOST)
            assert answer.status in (502, 503) and b"app" in answer.body
    lines = site.edge.wait_access(4, upstream="app", status=lambda s: s in (502, 503))
    assert all(li["reason"] in ("connect_failed", "upstream_closed", "upstream_reset") for li in lines)
    assert "refused" in lines[-1]["detail"].lower()
    assert site.edge.metrics().total("edgemux_drops_total") >= 4
    back = Nginx(site.edge.folder / "back", two.port, "back")
    try:
        until(lambda: site.ask("/").status == 200, "it works again")
    finally:
        back.close()


@pytest.mark.sanitizer
def test_an_upstream_without_a_resolvable_name_does_not_stop_the_start(site):
    site.start(site.route(), site.route({"path": "/", "upstream": f"nobody.invalid:{free_port()}"}, host="lost.example.com"))
    assert site.ask("/bytes/3").status == 200
    answer = site.ask("/", host="lost.example.com")
    assert answer.status in (502, 503) and b"nobody.invalid" in answer.body
    site.edge.wait_access(host="lost.example.com", reason=lambda r: r in ("no_endpoint", "connect_failed"))
