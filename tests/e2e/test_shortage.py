"""No descriptor is left: what is kept for later goes first, nobody else is blamed, and the operator is told."""

import resource

import pytest
from support.house import says
from support.site import HOST
from support.waiting import patience, until
from support.wire import Wire, request

CLIENTS = 45  # under limits.connections of FEW
FEW = ("prlimit", "--nofile=160:160")


def crowd(edge, tap, host):
    """CLIENTS requests at once, each over a connection of its own on both sides; the statuses."""
    clients = [Wire.connect(edge.http) for _ in range(CLIENTS)]
    for client in clients:
        client.send(request("/", host))
    backends = [tap.accept() for _ in range(CLIENTS)]
    for backend in backends:
        backend.take_through(b"\r\n\r\n")
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    statuses = {client.response().status for client in clients}
    for client in clients:
        client.close()
    return statuses, backends


# Not with sanitizers, which need descriptors to look at memory; likewise below.
def test_kept_connections_make_room_for_those_in_use(edge, taps):
    names = [f"{letter}.test" for letter in "abc"]
    backends = [taps() for _ in names]
    edge.start(prefix=FEW, workers=2, routes=[
        {"host": name, "on_http": "serve", "rules": [{"path": "/", "upstream": tap.address}]} for name, tap in zip(names, backends)
    ])
    held = []
    for name, tap in zip(names, backends):
        statuses, connections = crowd(edge, tap, name)
        held += connections
        assert statuses == {200}, edge.log()[-2000:]
        assert edge.probe("/healthz")[0] == edge.probe("/readyz")[0] == 200
    until(lambda: edge.metrics().total("edgemux_connections_active") == 0, "the clients are gone")
    assert edge.metrics().total("edgemux_upstream_connections_idle") <= (160 - 64) / 4
    for connection in held:
        connection.close()


def test_want_of_descriptors_is_no_fault_of_endpoints(edge, origins):
    one, two = origins("one"), origins("two")
    edge.start(
        prefix=FEW, limits={"connections": 10_000},
        upstreams={"app": {
            "endpoints": [one.address, two.address],
            "outlier": {"consecutive_failures": 2, "eject_for": "60s", "max_ejected": "100%"},
            "health_check": {"interval": "100ms", "timeout": "1s", "unhealthy_after": 2, "http": "/who"},
        }},
        routes=[{"host": HOST, "on_http": "serve", "rules": [{"path": "/", "upstream": "app"}]}],
    )

    def states(state):
        return edge.metrics().total("edgemux_upstream_endpoints", upstream="app", state=state)

    until(lambda: states("healthy") == 2, "both are healthy")
    clients = [Wire.connect(edge.http) for _ in range(200)]
    until(lambda: edge.metrics().total("edgemux_accept_failures_total") > 0, "there is no descriptor left")
    edge.wait_log("no client can be accepted: Too many open files; raise LimitNOFILE")
    edge.wait_log("cannot be checked: .*Too many open files")
    for client in clients[:5]:
        client.sock.settimeout(patience(10))
        answer = client.ask("/who", HOST)
        assert answer.status == 503 and b"resources" in answer.body, answer
    lines = edge.wait_access(5, reason="out_of_resources")
    assert all(line["status"] == 503 and line["attempts"] == 1 for line in lines)
    sample = edge.metrics()
    assert sample.total("edgemux_drops_total", reason="out_of_resources") == 5
    assert sample.total("process_open_fds") > 100
    for _ in range(20):
        assert edge.probe("/healthz")[0] == 200
    assert states("healthy") == 2
    assert "ejected for" not in edge.log() and "is unhealthy" not in edge.log()
    for client in clients:
        client.close()
    until(lambda: ask(edge) == 200, "it serves again")


def test_files_that_no_descriptor_was_left_for_are_read_when_there_is_one(house):
    """Nothing tells that one is free again, and the files do not change: they are tried again by themselves."""
    edge = house.edge
    ca = house.folder("a") / "ca.pem"
    ca.write_bytes(house.authority.pem)
    house.write("a", [says("a.example.test", "a", tls={"client_ca": "ca.pem", "client_auth": "optional"})])
    house.write("b", [says("b.example.test", "old")])
    house.start()
    assert house.ask("a.example.test") == (200, "a") and house.ask("b.example.test") == (200, "old")
    most = resource.prlimit(edge.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(edge.process.pid, resource.RLIMIT_NOFILE, (3, most[1]))
    ca.touch()
    house.write("b", [says("b.example.test", "new")])
    edge.wait_log("Too many open files")
    resource.prlimit(edge.process.pid, resource.RLIMIT_NOFILE, most)
    until(lambda: house.ask("b.example.test") == (200, "new"), "what was written comes into force", within=15)
    assert house.ask("a.example.test") == (200, "a")
    until(lambda: edge.metrics().total("edgemux_config_files_set_aside") == 0, "nothing is set aside any more")


def ask(edge):
    with Wire.connect(edge.http) as client:
        return client.ask("/who", HOST).status
