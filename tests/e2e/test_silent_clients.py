"""`tcp.user_timeout`: who confirms nothing of what it is sent is given up; who is alive and only does not read is not."""

import concurrent.futures
import time

import pytest
from support.hello import hello
from support.netns import Namespace
from support.site import HOST
from support.waiting import until
from support.wire import Wire, request

pytestmark = pytest.mark.sanitizer
USER_TIMEOUT = 0.6
THROUGH = "through.example.com"
MANY = 48 << 20  # bytes: more than the buffers on the way hold
CROWD = 600  # more than are looked at in one turn
LITTLE = 16 * 1024  # a client's receive buffer


class Way:
    """To one kind of listener, with a backend that answers with many bytes."""

    def __init__(self, name, tap, first):
        self.name, self.tap, self.first = name, tap, first

    def connect(self, site, host="127.0.0.1"):
        port = {"tls": site.edge.https, "https": site.edge.https, "http": site.edge.http, "tcp": site.edge.kube}[self.name]
        context = site.authority.client_context(["http/1.1"]) if self.name == "https" else None
        client = Wire.connect(port, host, tls=context, name=HOST, rcvbuf=LITTLE)
        client.send(self.first)
        backend = self.tap.accept()
        if not self.name.startswith("http"):
            assert backend.take(len(self.first)) == self.first
            return client, backend
        backend.take_through(b"\r\n\r\n")
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MANY)
        client.take_through(b"\r\n\r\n")
        return client, backend


@pytest.fixture
def ways(site, taps):
    """With listeners of every kind, at all addresses."""
    made = [Way("tls", taps(), hello(THROUGH)), Way("tcp", taps(), b"hello"),
            Way("http", taps(), request("/http", HOST)), Way("https", taps(), request("/https", HOST))]
    through, plain, http, https = (way.tap.address for way in made)
    tcp = {"user_timeout": f"{USER_TIMEOUT * 1000:.0f}ms"}
    edge = site.edge
    site.start(
        site.route({"path": "/http", "upstream": http}, {"path": "/https", "upstream": https}),
        {"host": THROUGH, "passthrough": through},
        listeners=[{"name": "tls", "bind": [f"0.0.0.0:{edge.https}"], "protocol": "tls", "tcp": tcp},
                   {"name": "http", "bind": [f"0.0.0.0:{edge.http}"], "protocol": "http", "tcp": tcp},
                   {"name": "tcp", "bind": [f"0.0.0.0:{edge.kube}"], "protocol": "tcp", "tcp": tcp, "upstream": plain}],
        workers=1,
    )
    return made


@pytest.fixture
def sending():
    """Sends a backend's many bytes, for as long as that takes."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield lambda backend: pool.submit(backend.sock.sendall, bytes(MANY))


def test_a_client_that_does_not_read_for_long_gets_everything(site, ways, closing, sending):
    pairs = [way.connect(site) for way in ways]
    sends = [sending(backend) for _, backend in pairs]
    for _ in range(CROWD):
        closing(Wire.connect(site.edge.http))
    stopped = time.monotonic()
    until(lambda: time.monotonic() - stopped > 4 * USER_TIMEOUT, "they have not read for long")
    assert [send.done() and send.exception() for send in sends] == [False] * 4
    buffer = bytearray(1 << 20)
    for (client, _), send in zip(pairs, sends):
        left = MANY - len(client.buffer)
        while left:
            got = client.sock.recv_into(buffer, min(left, len(buffer)))
            assert got, f"it ended, {left} bytes before the end"
            left -= got
        send.result()


def test_a_client_that_confirms_nothing_is_given_up(site, ways, closing, sending):
    """Whether it was at rest before or did not read."""
    inside = closing(Namespace())
    with inside.entered():
        pairs = [way.connect(site, inside.near_v4) for way in ways[:2] for _ in range(2)]
    unread = [sending(backend) for _, backend in pairs[::2]]
    until(lambda: site.edge.metrics().total("edgemux_tunnels_active") == 4, "all stand")
    inside.drop(inside.near_v4)
    dropped = time.monotonic()
    for _, backend in pairs[1::2]:
        backend.send(b"into the void")
    lines = site.edge.wait_access(4, reason="client_reset", within=20)
    assert [line["detail"] for line in lines] == ["Connection timed out"] * 4
    assert time.monotonic() - dropped > USER_TIMEOUT
    for send in unread:
        with pytest.raises(OSError):
            send.result()
