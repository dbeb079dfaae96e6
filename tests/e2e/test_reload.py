"""Reloads of every kind of change to files, under load: what is new holds at once, what was stays whole."""

import contextlib
import os
import re
import signal
import socket
import threading
from collections import Counter

import pytest
from support.broken import broken_configurations, good_text
from support.hello import hello
from support.load import Load
from support.ports import free_port
from support.proxy import edgemux, sanitized
from support.site import HOST
from support.waiting import SLOW, until
from support.wire import Wire
from support.written import as_yaml


def says(text, host=HOST, **more):
    return {"host": host, "on_http": "serve", "rules": [{"path": "/", "respond": {"status": 200, "body": text}}], **more}


def answer(edge, host=HOST, port=None):
    with Wire.connect(port or edge.http) as wire:
        return wire.ask("/", host).body.decode()


def under_load(site, nginx, wrk, taps, counts, seconds):
    """So many reloads while six wrk run against four workers, one tunnel opened at each and held; then a rest. And again, for
    each of `counts`. Yields the runs' reports, and the memory in KiB after every reload and, last, at rest."""
    behind = nginx("behind")
    through = nginx("through", site.authority.issue("through.example.com"))
    turns = [taps(), taps()]
    others = [says(f"host {n}", f"h{n}.others.example.com") for n in range(500)]

    def routes(number):
        return [
            site.route({"path": "/", "upstream": behind.address},
                       {"exact_path": "/turn", "respond": {"status": 200, "body": str(number)}}),
            {"host": "through.example.com", "passthrough": through.address},
            {"host": "turn.example.com", "passthrough": turns[number % 2].address},
            *others, says(f"gone {number}", f"only-{number}.example.com"),
        ]

    edge = site.edge
    site.start(*routes(0), workers=4)
    first, done = edge.generation(), 0
    for count in counts:
        yield one_load(site, wrk, turns, routes, first, range(done + 1, done + count + 1), seconds)
        done += count


def one_load(site, wrk, turns, routes, first, numbers, seconds):
    edge, loads = site.edge, {}
    for scheme, port, host in (("http", edge.http, HOST), ("https", edge.https, HOST),
                               ("https", edge.https, "through.example.com")):
        for connection in ("keep-alive", "close"):
            loads[f"{scheme} {host} {connection}"] = wrk(
                f"{scheme}://{host}:{{port}}/", port, seconds, connections=4, headers=[f"Connection: {connection}"])
    held, weight = [], []
    for number in numbers:
        edge.write(edge.base(certificates=site.certificates, routes=routes(number), workers=4))
        edge.wait_generation(first + number)
        assert edge.generation() == first + number
        assert site.ask("/turn").body == str(number).encode()
        assert site.ask("/", host=f"only-{number}.example.com").status == 200
        assert site.ask("/", host=f"only-{number - 1}.example.com").status == 404
        data = hello("turn.example.com")
        client = Wire.connect(edge.https)
        client.send(data)
        backend = turns[number % 2].accept()
        assert backend.take(len(data)) == data
        held.append((client, backend))
        weight.append(edge.pss())
    assert all(load.running() for load in loads.values()), "the load ended before the reloads"
    for client, backend in held:  # what was opened under an old table still stands
        client.send(b"still")
        assert backend.take(5) == b"still"
        backend.send(b"there")
        assert client.take(5) == b"there"
        client.close()
        backend.close()
    for load in loads.values():
        load.interrupt()
    reports = {name: load.result() for name, load in loads.items()}
    until(lambda: edge.metrics().total("edgemux_connections_active") == 0, "all clients are gone")
    weight.append(edge.pss())
    return reports, weight


def nothing_failed(reports):
    for name, report in reports.items():
        assert report.requests > 0, f"{name}: {report.text}"
        assert (report.errors, report.non_2xx) == (0, 0), f"{name}: {report.text}"


@pytest.mark.sanitizer
def test_reloads_under_load(site, nginx, wrk, taps):
    [(reports, weight)] = under_load(site, nginx, wrk, taps, [8 if sanitized() else 25], int(120 * SLOW))
    nothing_failed(reports)
    if not sanitized():
        # Twenty tables of 500 hosts would be pinned by the tunnels since, if a tunnel could pin one.
        assert weight[-2] - weight[4] < 6 * 1024, weight


@pytest.mark.full
def test_1000_reloads_under_load(site, nginx, wrk, taps):
    """And memory is back where it was: at rest after twenty reloads, and after a thousand more."""
    (few, before), (reports, weight) = under_load(site, nginx, wrk, taps, [20, 1000], int(1800 * SLOW))
    nothing_failed(few)
    nothing_failed(reports)
    if not sanitized():
        assert weight[-2] - weight[250] < 16 * 1024, weight[::50]
        assert weight[-1] - before[-1] < 4 * 1024, (before[-1], weight[-1])


@pytest.mark.sanitizer
def test_50_broken_configurations_change_nothing_and_each_is_explained(edge):
    good = good_text(edge)
    edge.start(good)
    generation = edge.generation()
    kept = Wire.connect(edge.http)
    problems, kinds, before = [], set(), ""
    for number, broken in enumerate(broken_configurations(good)):
        kinds.add(broken.kind)
        mark = len(edge.log())
        edge.write(broken.text)
        try:
            where = rf"edgemux\.yaml:{broken.line or '[0-9]+'}:[0-9]+"
            if broken.kind == "empty":
                where = r"edgemux\.yaml"
            edge.wait_log(rf"{where}.*{re.escape(broken.word)}", since=mark, within=5)
        except AssertionError as error:
            problems.append(f"{number} {broken.kind}, line {broken.line} {broken.word!r}: {str(error)[-600:]}")
        if kept.ask("/", "one.example.com").body != b"1" or answer(edge, "two.example.com") != "two":
            problems.append(f"{number} {broken.kind}: the old one does not serve any more")
        now = edge.generation()
        # A missing include harms only what it would have added, so there is a new table, a moment after its error.
        if "missing file" not in (broken.kind, before) and now != generation:
            problems.append(f"{number} {broken.kind}: generation {now}")
        generation, before = now, broken.kind
    assert number == 49 and len(kinds) == 10
    assert not problems, "\n\n".join(problems)
    edge.write(good_text(edge, "2"))
    until(lambda: answer(edge, "one.example.com") == "2", "the good one is in force")
    # The old connection may be another worker's, which takes the table over a moment later.
    until(lambda: kept.ask("/", "one.example.com").body == b"2", "it is in force for the old connection too")


def test_reloads_are_counted_by_result(edge):
    edge.start(routes=[says("1")])

    def by_result():
        return {dict(labels).get("result"): value for (name, labels), value in edge.metrics().items()
                if name == "edgemux_reloads_total" and value}

    before = by_result()
    edge.reload(routes=[says("2")])
    after = by_result()
    assert sum(after.values()) == sum(before.values()) + 1
    edge.write("nonsense")
    until(lambda: sum(by_result().values()) > sum(after.values()), "the failure is counted")
    failed = by_result()
    assert any(failed.get(k, 0) > after.get(k, 0) for k in failed if "ok" not in k and "success" not in k), failed


@pytest.mark.sanitizer
def test_the_probes_may_move_to_another_address_of_their_port(edge):
    """As a balancer in front needs it, by a reload alone; and the admin socket comes back where somebody removed it."""
    edge.start(routes=[])
    door = edge.short / "admin.sock"

    def admin(probes):
        return {"bind": f"unix:{door}", "probes": probes}

    door.unlink()
    edge.reload(routes=[], admin=admin(f"0.0.0.0:{edge.probes}"))
    until(lambda: edge.probe("/healthz")[0] == 200, "the probes answer")
    with open("/proc/net/tcp") as table:
        listening = table.read()
    assert f"00000000:{edge.probes:04X} 00000000:0000 0A" in listening and f"0100007F:{edge.probes:04X} 00000000:0000 0A" not in listening
    assert "stays as it was" not in edge.log()
    assert edgemux("status", "--socket", door).returncode == 0
    edge.reload(routes=[], admin=admin(f"127.0.0.1:{edge.probes}"))
    until(lambda: edge.probe("/healthz")[0] == 200, "and back")
    # An address that is not ours costs nothing.
    edge.reload(routes=[], admin=admin(f"192.0.2.1:{edge.probes}"))
    edge.wait_log("admin stays as it was: admin.probes: .*192.0.2.1")
    until(lambda: edge.probe("/healthz")[0] == 200, "they are where they were")


@pytest.mark.sanitizer
def test_a_table_that_loses_too_many_hosts_is_refused(edge):
    folder = edge.folder / "routes.d"
    folder.mkdir()
    for n in range(4):
        (folder / f"{n}.yaml").write_text(as_yaml({"routes": [says(f"{n}", f"h{n}.example.com")]}))
    whole = {"include": ["routes.d/*.yaml"], "routes": [says("main")]}
    edge.start(**whole, reload={"max_removed": "30%"})
    # The folder is not mounted.
    folder.rename(edge.folder / "away")
    folder.mkdir()
    refused = edge.wait_log(r"error: 4 of 5 hosts would be gone \(h0\.example\.com, .*reload\.max_removed is 30%").end()
    edge.signal(signal.SIGHUP)
    edge.wait_log("the configuration was refused; what is in force stays", since=refused)
    assert answer(edge, "h3.example.com") == "3" and edge.generation() == 1
    until(lambda: edge.metrics().total("edgemux_reloads_total", result="refused") >= 2, "both refusals are counted")
    told = edgemux("status", "--config", edge.path).stdout
    assert "generation 1, 5 hosts" in told and "error: 4 of 5 hosts would be gone" in told, told
    # It is mounted again, and all is well.
    folder.rmdir()
    (edge.folder / "away").rename(folder)
    edge.wait_log("solved: .*4 of 5 hosts would be gone", since=refused)
    # One host may go; or all of them, where the table that lost them says so.
    (folder / "0.yaml").unlink()
    edge.wait_generation(2)
    for path in folder.iterdir():
        path.unlink()
    edge.wait_log("error: 3 of 4 hosts would be gone", since=refused)
    edge.write(edge.base(**whole, reload={"max_removed": "off"}))
    edge.wait_generation(3)
    until(lambda: answer(edge, "h3.example.com") != "3", "they are gone")
    assert answer(edge) == "main"


@pytest.mark.sanitizer
def test_what_cannot_be_put_in_force_changes_nothing(edge):
    """Neither what else the file says, nor what later tables are held against."""
    def table(hosts, *more_binds, admin="admin"):
        http = {"name": "http", "bind": [f"127.0.0.1:{edge.http}", *more_binds], "protocol": "http"}
        return edge.base(listeners=[http], routes=[says(f"{n}", f"h{n}.example.com") for n in range(hosts)], reload={"max_removed": "20%"},
                         admin={"bind": f"unix:{edge.short}/{admin}.sock", "probes": f"127.0.0.1:{edge.probes}"})

    taken = socket.create_server(("127.0.0.1", free_port()))
    edge.start(as_yaml(table(10)))
    edge.write(table(8, f"127.0.0.1:{taken.getsockname()[1]}", admin="other"))
    refused = edge.wait_log("cannot be put in force; what was in force stays: .*in use by another process").end()
    assert answer(edge, "h9.example.com") == "9"
    assert "in use by another process" in edgemux("status", "--config", edge.path, "--socket", edge.short / "admin.sock").stdout
    assert (edge.short / "admin.sock").exists() and not (edge.short / "other.sock").exists()
    edge.write(table(7))
    edge.wait_log("error: 3 of 10 hosts would be gone", since=refused)
    assert answer(edge, "h9.example.com") == "9"
    # Once the port is free the same file is taken, with what else it says.
    edge.write(table(9, f"127.0.0.1:{taken.getsockname()[1]}", admin="other"))
    again = edge.wait_log("cannot be put in force", since=refused).end()
    taken.close()
    edge.signal(signal.SIGHUP)
    edge.wait_log("generation [0-9]+: 9 hosts", since=again)
    until(lambda: answer(edge, "h9.example.com") != "9", "it is in force")
    until((edge.short / "other.sock").exists, "its admin socket, too")


@pytest.mark.sanitizer
def test_what_cannot_be_put_in_force_judges_no_endpoint(edge, origin):
    """A tenant's endpoint is no listener as long as that is not listened on, and one that is listened on stays refused."""
    own = free_port()

    def table(bind):
        listeners = [{"name": "http", "bind": [f"127.0.0.1:{edge.http}"], "protocol": "http"},
                     {"name": "own", "bind": [bind], "protocol": "http"}]
        tenants = {name: {"hosts": [f"{name}.example.com"], "networks": ["127.0.0.0/8"]} for name in ("good", "loop")}
        return edge.base(listeners=listeners, tenants=tenants, routes=[
            {"host": "good.example.com", "tenant": "good", "on_http": "serve", "rules": [{"upstream": f"127.0.0.1:{origin.port}"}]},
            {"host": "loop.example.com", "tenant": "loop", "on_http": "serve", "rules": [{"upstream": f"127.0.0.1:{own}"}]}])

    def statuses():
        with Wire.connect(edge.http) as wire:
            return [wire.ask("/echo", f"{name}.example.com").status for name in ("good", "loop")]

    edge.start(as_yaml(table(f"127.0.0.1:{own}")))
    assert statuses() == [200, 503]
    edge.write(table(f"127.0.0.1:{origin.port}"))
    mark = edge.wait_log("cannot be put in force").end()
    assert statuses() == [200, 503]
    edge.signal(signal.SIGHUP)
    edge.wait_log("cannot be put in force", since=mark)
    assert statuses() == [200, 503]
    moved = free_port()
    edge.write(table(f"127.0.0.1:{moved}"))
    edge.wait_log(f"own: .*{moved}|generation 2")
    until(lambda: statuses() == [200, 502], "nobody listens there any more")


def test_a_bind_beside_that_of_another_process_is_refused(edge):
    """Also where a socket of ours has the same port on another address, and theirs would share it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.2", edge.http))
        other.listen()
        http = {"name": "http", "bind": [f"127.0.0.1:{edge.http}", f"127.0.0.2:{edge.http}"], "protocol": "http"}
        edge.start(as_yaml(edge.base(listeners=[http], routes=[says("1")])), wait=False)
        assert edge.wait_exit() == 1
        assert "in use by another process" in edge.log()


def test_a_bind_is_widened_and_narrowed(edge):
    """From one address to all and back, or both: no other process is in the way, only we."""
    def table(text, *addresses):
        http = {"name": "http", "bind": [f"{address}:{edge.http}" for address in addresses], "protocol": "http"}
        return edge.base(listeners=[http], routes=[says(text)])

    edge.start(as_yaml(table("1", "127.0.0.1")))
    for generation, addresses in enumerate([("",), ("127.0.0.1",), ("", "127.0.0.1"), ("0.0.0.0",)], 2):
        edge.write(table(str(generation), *addresses))
        edge.wait_generation(generation)
        assert answer(edge) == str(generation)
    # The sockets that went are closed once nobody's handshake can be under way there.
    until(lambda: listening(edge.http) == 2, lambda: f"{listening(edge.http)} sockets, not one for each worker", within=20)


def listening(port):
    """How many sockets listen on this port, at IPv4 and IPv6 addresses."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in open(f"/proc/net/{name}").read().splitlines()[1:]]
    return sum(row[3] == "0A" and row[1].endswith(f":{port:04X}") for row in rows)


def test_who_waits_at_a_socket_that_goes_is_served(site):
    """Sockets come and go under new clients: whoever is in the queue of one is taken before it is closed."""
    edge = site.edge
    site.start(says("here"), workers=2)
    with Load(site, connections=8, fresh=True) as load:
        for number in range(20):
            bind = f"127.0.0.1:{edge.http}" if number % 2 else f":{edge.http}"
            generation = edge.generation()
            edge.write(edge.base(listeners=[{"name": "http", "bind": [bind], "protocol": "http"}], routes=[says("here")]))
            edge.wait_generation(generation + 1)
            load.more(50)
    assert load.bad == []


def test_who_waits_at_a_socket_that_goes_gets_the_listener_of_their_address(site):
    """One bind for all addresses becomes two listeners: nobody comes to the one at an address that they did not ask."""
    edge = site.edge

    def table(split):
        inner = {"name": "inner", "bind": [f"127.0.0.1:{edge.http}"], "protocol": "http"}
        outer = {"name": "outer", "bind": [f"127.0.0.2:{edge.http}" if split else f"0.0.0.0:{edge.http}"], "protocol": "http"}
        routes = [says("outer", listeners=["outer"]), says("inner", listeners=["inner"])]
        return edge.base(listeners=[inner, outer] if split else [outer], routes=routes if split else routes[:1])

    edge.start(as_yaml(table(False)))
    seen, stop = Counter(), threading.Event()

    def ask():
        while not stop.is_set():
            with contextlib.suppress(OSError, AssertionError):
                with Wire.connect(edge.http, host="127.0.0.2") as wire:
                    seen[wire.ask("/", HOST).body] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            generation = edge.generation()
            edge.write(table(number % 2 == 0))
            edge.wait_generation(generation + 1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {b"outer"} and seen[b"outer"] > 100


def test_a_port_goes_from_the_probes_to_a_listener(edge):
    edge.start(routes=[says("1")])
    fresh = free_port()
    http = {"name": "http", "bind": [f"127.0.0.1:{edge.http}", f"127.0.0.1:{edge.probes}"], "protocol": "http"}
    edge.write(edge.base(listeners=[http], routes=[says("2")],
                         admin={"bind": f"unix:{edge.short}/admin.sock", "probes": f"127.0.0.1:{fresh}"}))
    edge.wait_log("generation 2: 1 hosts")
    until(lambda: answer(edge, port=edge.probes) == "2", "the listener has it")
    with Wire.connect(fresh) as wire:
        assert wire.ask("/healthz", "localhost").status == 200


def test_a_port_goes_from_a_listener_to_the_probes(edge):
    other = free_port()
    http = {"name": "http", "bind": [f"127.0.0.1:{edge.http}", f"127.0.0.1:{other}"], "protocol": "http"}
    edge.start(as_yaml(edge.base(listeners=[http], routes=[says("1")])))
    assert answer(edge, port=other) == "1"
    edge.write(edge.base(routes=[says("2")], admin={"bind": f"unix:{edge.short}/admin.sock", "probes": f"127.0.0.1:{other}"}))

    def healthy():
        with contextlib.suppress(OSError), Wire.connect(other) as wire:
            return wire.ask("/healthz", "localhost").status == 200

    until(healthy, "the probes have it")


@pytest.mark.sanitizer
def test_an_in_place_write_is_taken(edge):
    edge.start(routes=[says("1")])
    for number in range(2, 6):
        edge.path.write_text(as_yaml(edge.base(routes=[says(str(number))])))
        until(lambda n=number: answer(edge) == str(n), f"answer {number}")


@pytest.mark.sanitizer
def test_a_half_written_file_is_never_taken_for_a_smaller_table(edge):
    """The writer stops at a place where the text so far is a whole configuration of fewer hosts."""
    config = edge.base(routes=[says("1", f"h{n}.example.com") for n in range(20)], reload={"settle": "400ms"})
    text = as_yaml({**{k: v for k, v in config.items() if k != "routes"}, "routes": config["routes"]})
    edge.start(text)
    generation = edge.generation()
    changed = text.replace("body: '1'", "body: '2'")
    cut = changed.index("- host: h10.example.com")
    with open(edge.path, "r+") as file:
        file.truncate(0)
        for piece in (changed[:cut], changed[cut : cut + 300], changed[cut + 300 :]):
            file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    edge.wait_generation(generation + 1)
    until(lambda: answer(edge, "h19.example.com") == "2", "the whole of it is in force")
    # It settled once: no table in between was published.
    assert edge.generation() == generation + 1


@pytest.mark.sanitizer
def test_rename_over_and_links(edge, tmp_path):
    edge.start(routes=[says("1")])
    edge.reload(routes=[says("2")])
    assert answer(edge) == "2"
    # The main file becomes a link, the target changes, and then the link.
    for number in (3, 4):
        target = tmp_path / f"real-{number}.yaml"
        target.write_text(as_yaml(edge.base(routes=[says(str(number))])))
        link = edge.folder / "link"
        link.symlink_to(target)
        os.replace(link, edge.path)
        until(lambda n=number: answer(edge) == str(n), f"answer {number}")
    target.write_text(as_yaml(edge.base(routes=[says("5")])))
    until(lambda: answer(edge) == "5", "a change of the link's target")


@pytest.mark.sanitizer
def test_a_config_map_swap(edge, tmp_path):
    """Kubernetes: files are links into ..data, which is a link that is turned in one rename."""
    mount = edge.folder / "mount"
    mount.mkdir()

    def publish(number):
        day = mount / f"..day{number}"
        day.mkdir()
        (day / "edgemux.yaml").write_text(as_yaml(edge.base(include=["routes-*.yaml"])))
        (day / "routes-a.yaml").write_text(as_yaml({"routes": [says(str(number))]}))
        (mount / "..data_tmp").symlink_to(day.name)
        os.replace(mount / "..data_tmp", mount / "..data")
        old = mount / f"..day{number - 1}"
        if old.exists():
            for file in old.iterdir():
                file.unlink()
            old.rmdir()

    publish(1)
    for name in ("edgemux.yaml", "routes-a.yaml"):
        (mount / name).symlink_to(f"..data/{name}")
    edge.path = mount / "edgemux.yaml"
    edge.spawn()
    edge.wait_ready()
    assert answer(edge) == "1"
    for number in (2, 3, 4):
        publish(number)
        until(lambda n=number: answer(edge) == str(n), f"answer {number}")


def includes(edge, **files):
    """Writes include files, each in one rename; None removes."""
    folder = edge.folder / "routes.d"
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / f"{name}.yaml"
        if content is None:
            path.unlink()
            continue
        fresh = folder / f".{name}.new"
        fresh.write_text(content if isinstance(content, str) else as_yaml({"routes": content}))
        os.replace(fresh, path)


@pytest.mark.sanitizer
def test_a_broken_include_keeps_its_last_good_bytes(edge):
    includes(edge, a=[says("a1", "a.example.com")], b=[says("b1", "b.example.com")])
    edge.start(include=["routes.d/*.yaml"], routes=[says("main")])
    assert [answer(edge, h) for h in (HOST, "a.example.com", "b.example.com")] == ["main", "a1", "b1"]
    mark = len(edge.log())
    includes(edge, a="routes:\n  - host: a.example.com\n    pasthrough: 127.0.0.1:9\n")
    edge.wait_log(r"routes\.d/a\.yaml:3:5.*pasthrough", since=mark)
    assert answer(edge, "a.example.com") == "a1"
    # Everything else goes on changing.
    includes(edge, b=[says("b2", "b.example.com")], c=[says("c1", "c.example.com")])
    until(lambda: answer(edge, "b.example.com") == "b2" and answer(edge, "c.example.com") == "c1", "b and c change")
    assert answer(edge, "a.example.com") == "a1"
    # Over a restart as well: the last good bytes are kept in state_dir.
    edge.stop()
    edge.spawn()
    edge.wait_ready()
    assert answer(edge, "a.example.com") == "a1" and answer(edge, "b.example.com") == "b2"
    includes(edge, a=[says("a2", "a.example.com")])
    until(lambda: answer(edge, "a.example.com") == "a2", "a is good again")
    includes(edge, a=None)
    until(lambda: Wire.connect(edge.http).ask("/", "a.example.com").status == 404, "deleted is removed")
    assert answer(edge, "b.example.com") == "b2"


def test_a_first_bad_include_is_left_out(edge):
    includes(edge, a="routes: [ {host: a.example.com", b=[says("b1", "b.example.com")])
    edge.start(include=["routes.d/*.yaml"])
    edge.wait_log(r"routes\.d/a\.yaml:[0-9]+:[0-9]+")
    assert answer(edge, "b.example.com") == "b1"


@pytest.mark.sanitizer
def test_listeners_come_and_go_without_touching_the_others(edge, tap):
    routes = [says("x"), {"host": "through.example.com", "passthrough": tap.address}]
    edge.start(routes=routes)
    kept = Wire.connect(edge.http)
    kept.ask("/", HOST)
    data = hello("through.example.com")
    tunnel = Wire.connect(edge.https)
    tunnel.send(data)
    backend = tap.accept()
    backend.take(len(data))

    new = free_port()
    listeners = edge.base()["listeners"]
    edge.reload(routes=routes, listeners=[*listeners, {"name": "more", "bind": [f"127.0.0.1:{new}"], "protocol": "http"}])
    assert answer(edge, port=new) == "x"
    # The port of kube-api goes; the others and what stands on them stay.
    edge.reload(routes=routes, listeners=listeners[:2])

    def refused(port):
        try:
            Wire.connect(port).close()
            return False
        except ConnectionRefusedError:
            return True

    until(lambda: refused(edge.kube) and refused(new), "the removed ports are closed")
    assert kept.ask("/", HOST).body == b"x"
    backend.send(b"here")
    assert tunnel.take(4) == b"here"
    # One listener moves to another port.
    moved = [dict(listeners[0], bind=[f"127.0.0.1:{new}"]), listeners[1]]
    edge.reload(routes=routes, listeners=moved)
    assert answer(edge, port=new) == "x"
    until(lambda: refused(edge.http), "the old port is closed")


def test_a_listener_whose_port_is_taken_does_not_harm_the_rest(edge, tap):
    edge.start(routes=[says("1")])
    listeners = edge.base()["listeners"]
    taken = {"name": "taken", "bind": [f"127.0.0.1:{tap.port}"], "protocol": "http"}
    mark = len(edge.log())
    edge.write(edge.base(routes=[says("2")], listeners=[*listeners, taken]))
    edge.wait_log(str(tap.port), since=mark)
    assert answer(edge) in ("1", "2")
    edge.reload(routes=[says("3")])
    until(lambda: answer(edge) == "3", "it goes on")


@pytest.mark.sanitizer
def test_sighup_reloads_at_once(edge):
    edge.start(routes=[says("1")], reload={"settle": "30s"})
    edge.write(edge.base(routes=[says("2")], reload={"settle": "30s"}))
    edge.signal(signal.SIGHUP)
    until(lambda: answer(edge) == "2", "the change is in force long before it has settled", within=10)
    assert edge.process.poll() is None


@pytest.mark.sanitizer
def test_connections_under_way_keep_what_they_had(site, origins):
    new = origins("new")
    site.start(site.route({"path": "/", "upstream": site.origin.address}))
    with site.wire() as wire:
        wire.send(b"GET /gate/hold HTTP/1.1\r\nHost: own.example.com\r\n\r\n")
        site.origin.wait_for_requests(1)
        site.edge.reload(certificates=site.certificates, routes=[site.route({"path": "/", "upstream": new.address})])
        site.origin.gate("hold").set()
        assert wire.response().body == b"through hold\n"  # the exchange under way ends where it began
        assert wire.ask("/x", HOST).body == b"new /x\n"  # the next one on the same connection is new


def test_many_quick_changes_end_in_the_last_one(edge):
    edge.start(routes=[says("0")])
    for number in range(1, 100):
        edge.write(edge.base(routes=[says(str(number))]))
    until(lambda: answer(edge) == "99", "the last change is in force")
    assert edge.generation() <= 100
