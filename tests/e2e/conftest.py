"""Fixtures of the end-to-end tests: the proxy, the authority, the backends. Each test gets parties of its own."""

import os
import random

import pytest
from support.allocations import Counts
from support.attacker import Attacker
from support.backends import Haproxy, Nginx, WebSocketEcho
from support.certs import Authority
from support.curl import Wrk
from support.house import House
from support.http2 import H2Client
from support.origin import Origin, pattern
from support.pair import Pair
from support.ports import free_port
from support.proxy import BINARY, Edgemux
from support.site import Site
from support.terminated import Lines, Secure
from support.waiting import patience
from support.wire import Blackhole, Tap


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long tests as well")


def pytest_configure(config):
    config.addinivalue_line("markers", "full: a long test, run with --full or EDGEMUX_FULL=1")
    config.addinivalue_line("markers", "sanitizer: belongs to the run on the sanitizer builds")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full") or os.environ.get("EDGEMUX_FULL") == "1":
        return
    long = [item for item in items if item.get_closest_marker("full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "somebody else's CA")


@pytest.fixture(scope="session")
def big_file(tmp_path_factory):
    """64 MiB that do not compress."""
    path = tmp_path_factory.mktemp("big") / "64m"
    path.write_bytes(random.Random(64).randbytes(64 << 20))
    return path


@pytest.fixture
def closing():
    """closing(x) gives x back and closes it after the test, the last one first."""
    kept = []

    def keep(thing):
        kept.append(thing)
        return thing

    yield keep
    for thing in reversed(kept):
        thing.close()


@pytest.fixture
def edge(tmp_path):
    """The proxy, not started yet. After the test it must stop in time and without a sanitizer's report."""
    assert BINARY.exists(), f"{BINARY} is missing: build it, or set EDGEMUX_BIN"
    proxy = Edgemux(tmp_path / "edge")
    yield proxy
    proxy.discard()


@pytest.fixture
def origin(closing):
    return closing(Origin(free_port()))


@pytest.fixture
def site(edge, origin, authority):
    return Site(edge, origin, authority)


@pytest.fixture
def secure(edge, authority):
    return Secure(edge, authority)


@pytest.fixture
def lines(closing):
    """lines(name) starts a backend that speaks first."""
    return lambda name="lines": closing(Lines(name))


@pytest.fixture
def house(edge, authority):
    return House(edge, authority)


@pytest.fixture
def origins(closing):
    """origins(name) starts another origin."""
    return lambda name, **kwargs: closing(Origin(free_port(), name, **kwargs))


@pytest.fixture
def tap(closing):
    return closing(Tap(free_port()))


@pytest.fixture
def taps(closing):
    return lambda: closing(Tap(free_port()))


@pytest.fixture
def blackhole(closing):
    return closing(Blackhole(free_port()))


@pytest.fixture
def nginx(closing, tmp_path):
    """nginx(name, pair) starts one."""
    return lambda name, pair=None, **kw: closing(Nginx(tmp_path / f"nginx-{name}", free_port(), name, pair, **kw))


@pytest.fixture
def haproxy(closing, tmp_path):
    """haproxy(pair, answer, options) starts one."""
    return lambda *args, **kw: closing(Haproxy(tmp_path / "haproxy", free_port(), *args, **kw))


@pytest.fixture
def websocket_echo(closing):
    return closing(WebSocketEcho(free_port()))


@pytest.fixture
def wrk(tmp_path):
    """wrk(url, port, seconds, ...) starts one."""
    runs = []

    def start(*args, **kwargs):
        runs.append(Wrk(tmp_path, *args, name=f"wrk{len(runs)}", **kwargs))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


@pytest.fixture
def allocations(closing, tmp_path):
    return closing(Counts(tmp_path, "allocations"))


@pytest.fixture
def data_calls(closing, tmp_path):
    return closing(Counts(tmp_path, "data_calls"))


@pytest.fixture
def dead_address():
    """An address where nobody listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def h2(site, closing):
    """h2(...) connects an HTTP/2 client to the https listener."""
    return lambda **kwargs: closing(H2Client(site.edge.https, site.authority, **kwargs))


@pytest.fixture
def attackers(site, closing):
    """attackers(...) connects one."""
    context = site.authority.client_context(["h2"])
    return lambda **kwargs: closing(Attacker(site.edge.https, context, within=patience(15), **kwargs))


@pytest.fixture
def good(site, closing):
    """A client that asks for something, and must always get it."""

    class Good:
        def __init__(self):
            self.client = closing(H2Client(site.edge.https, site.authority))
            self.ask()

        def ask(self):
            answer = self.client.get("/bytes/1000")
            assert answer.status == 200 and bytes(answer.body) == pattern(1000) and self.client.goaway is None

    return Good


@pytest.fixture(params=["h1", "h2"])
def down(request):
    return request.param


@pytest.fixture(params=["h1", "h2"])
def up(request):
    return request.param


@pytest.fixture
def pair(site, closing, down, up):
    made = Pair(site, closing, down, up)
    yield made
    made.upstream.close() if made.upstream.wire else None


@pytest.fixture
def to_h2(site, closing, down):
    made = Pair(site, closing, down, "h2")
    yield made
    made.upstream.close()
