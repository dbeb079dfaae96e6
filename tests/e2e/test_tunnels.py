"""Tunnels while they stand, and how they end when nobody in them ends them: figures, keep-alive, resets."""

import json
import signal
import socket
from pathlib import Path

import pytest
from h2.settings import SettingCodes
from support.hello import hello
from support.proxy import edgemux
from support.waiting import until
from support.wire import Wire


@pytest.fixture
def pair(edge, tap, closing):
    """pair(**over): a tcp listener is started, and a client and a backend with a tunnel between them."""

    def make(**over):
        listener = {"name": "tcp", "bind": [f"127.0.0.1:{edge.kube}"], "protocol": "tcp", "upstream": "app"}
        edge.start(listeners=[listener], upstreams={"app": {"endpoints": [tap.address]}}, **over)
        client = closing(Wire.connect(edge.kube))
        return client, closing(tap.accept())

    return make


def fill(wire):
    """Sends until nothing more is taken."""
    wire.sock.settimeout(0.5)
    try:
        while True:
            wire.send(b"u" * 65536)
    except (TimeoutError, socket.timeout):
        wire.sock.settimeout(15)


def is_reset(wire):
    try:
        wire.take_rest()
        return False
    except ConnectionResetError:
        return True


@pytest.mark.sanitizer
def test_bytes_are_counted_while_a_tunnel_runs(edge, pair):
    client, backend = pair()
    client.send(b"u" * 1000)
    assert backend.take(1000) == b"u" * 1000
    backend.send(b"d" * 300)
    assert client.take(300) == b"d" * 300

    def bytes_of(direction):
        return edge.metrics().total("edgemux_bytes_total", listener="tcp", direction=direction)

    expected = {"client_received": 1000, "upstream_sent": 1000, "client_sent": 300, "upstream_received": 300}
    until(lambda: {direction: bytes_of(direction) for direction in expected} == expected, "they are counted")
    client.send(b"more")
    until(lambda: bytes_of("client_received") == 1004, "the rest, too")
    client.close()
    assert backend.take_rest() == b"more"
    backend.close()
    edge.wait_access(kind="connection", bytes_in=1004, bytes_out=300)
    assert bytes_of("client_received") == 1004 and bytes_of("client_sent") == 300


def test_an_upstream_without_limits_shows_its_connections(edge, tap, pair, closing):
    pair()
    closing(Wire.connect(edge.kube))
    closing(tap.accept())

    def app():
        status = json.loads(edgemux("status", "-c", edge.path, "--format", "json").stdout)
        return next(one for one in status["upstreams"] if one["name"] == "app")

    until(lambda: app().get("connections") == 2, lambda: f"both: {app()}")
    assert "requests" not in app(), "nobody counts them"
    top = edgemux("top", "--once", "-c", edge.path).stdout
    row = next(line for line in top.splitlines() if line.startswith("app "))
    assert row.split() == ["app", "2", "-", "1/1"]


def timers(port):
    """What the kernel waits for on connections to that port of loopback, in /proc/net/tcp's figures; 02 is keep-alive."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[5].split(":")[0] for row in rows if row[2] == f"0100007F:{port:04X}" and row[3] == "01"}


def test_a_tunnel_that_lasts_has_keep_alive_towards_the_upstream(pair, tap):
    pair()
    until(lambda: timers(tap.port) == {"02"}, lambda: f"keep-alive is on: {timers(tap.port)}")


@pytest.mark.sanitizer
def test_a_clients_reset_is_noticed_while_the_upstream_takes_nothing(edge, pair):
    client, backend = pair()
    fill(client)
    client.reset()
    edge.wait_access(kind="connection", reason="client_reset")
    assert is_reset(backend)


@pytest.mark.sanitizer
def test_a_client_that_hung_up_in_good_order_is_served_to_the_end(edge, pair):
    """Both its halves are closed, and what it sent is still to be taken: that is no reset."""
    client, backend = pair()
    backend.finish()
    assert client.take_rest() == b""
    fill(client)
    client.finish()
    sent = client.sent
    assert len(backend.take_rest()) >= sent
    edge.wait_access(kind="connection", reason="done")


def test_a_clients_reset_is_noticed_while_connecting(edge, blackhole):
    edge.start(timeouts={"connect": "60s"}, routes=[{"host": "a.example.com", "passthrough": blackhole.address}])
    client = Wire.connect(edge.https)
    client.send(hello("a.example.com"))
    until(lambda: edge.metrics().total("edgemux_connections_active") == 1, "it is there")
    client.send(b"and more")
    client.reset()
    edge.wait_access(kind="connection", reason="client_reset")


@pytest.mark.sanitizer
def test_what_the_end_of_a_drain_cuts_is_reset(edge, pair):
    client, backend = pair(timeouts={"drain": "300ms"})
    client.send(b"half of it")
    assert backend.take(10) == b"half of it"
    edge.signal(signal.SIGTERM)
    assert is_reset(backend) and is_reset(client)
    assert edge.wait_exit() == 3


def test_what_a_half_closed_tunnel_still_owes_is_cut_by_a_reset(pair):
    client, backend = pair(timeouts={"half_closed": "300ms"})
    client.send(b"all of it")
    client.finish()
    assert backend.take_rest() == b"all of it"
    assert is_reset(client)


def test_silence_ends_a_tunnel_in_good_order(pair):
    client, backend = pair(timeouts={"tunnel_idle": "300ms"})
    assert client.take_rest() == b"" and backend.take_rest() == b""


def test_silence_with_bytes_on_their_way_is_a_cut(pair):
    client, backend = pair(timeouts={"tunnel_idle": "1s"})
    fill(client)
    backend.sock.settimeout(15)
    until(lambda: timers(backend.sock.getsockname()[1]) == set(), "it is over")
    assert is_reset(backend)


@pytest.mark.sanitizer
def test_rules_by_upgrade_see_websockets_over_http2_too(site, h2):
    sockets = {"match": {"path": "/", "headers": {"upgrade": "websocket", "connection": "Upgrade"}}, "respond": {"status": 403}}
    site.start(site.route(sockets, {"path": "/", "respond": {"status": 404}}))
    client = h2()
    client.until(lambda: client.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), "RFC 8441 is offered")
    socket_stream = client.ask("/", method="CONNECT", pseudo=[(":protocol", "websocket")], end=False,
                               headers=[("sec-websocket-version", "13")])
    client.until(lambda: client.streams[socket_stream].headers, "an answer")
    assert client.streams[socket_stream].status == 403
    assert site.ask("/").status == 404
