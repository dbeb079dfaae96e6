"""Files that are set aside: what their last good bytes still serve, as the days go by, and what `check` and `explain` say."""

import json
import os
import shutil

import pytest
from support.hello import hello
from support.house import says
from support.proxy import Growth, edgemux
from support.waiting import until
from support.wire import Wire

BROKEN = "routes: [{ host: a.example.test, rules: [\n"


def set_aside(edge):
    return edge.metrics().total("edgemux_config_files_set_aside")


def reaches(edge, name, tap):
    """Whether a connection for this name comes to the backend."""
    with Wire.connect(edge.https) as client:
        first = hello(name)
        client.send(first)
        if tap.nobody_comes():
            assert client.rest_or_reset() == b""
            return False
        return True


@pytest.mark.sanitizer
def test_claims_and_networks_of_the_day_hold_after_a_restart_too(house, tap):
    """What changed while nothing ran: a name went to somebody else, and a network is no more."""
    edge = house.edge
    house.write("a", [says("a.example.test", "a"), says("x.a.example.test", "x"),
                      {"host": "t.a.example.test", "passthrough": tap.address}])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    assert house.ask("x.a.example.test") == (200, "x")
    assert reaches(edge, "t.a.example.test", tap)
    edge.stop()
    house.write("a", BROKEN)
    house.tenants["b"]["hosts"].append("x.a.example.test")
    house.tenants["a"]["networks"] = ["10.0.0.0/8"]
    house.certify("b", "x.a.example.test", stem="won")
    house.write("b", [says("b.example.test", "b"), says("x.a.example.test", "taken over")])
    edge.write(edge.base(**house.config()))
    edge.spawn()
    edge.wait_ready()
    assert set_aside(edge) == 1
    assert house.ask("a.example.test") == (200, "a"), "its last good bytes serve"
    assert house.ask("x.a.example.test") == (200, "taken over"), "and nothing that is not its own any more"
    assert not reaches(edge, "t.a.example.test", tap), "nor from where it may not go any more"
    assert "in the last good version: host 'x.a.example.test' belongs to tenant 'b'" in edge.log()
    done = edgemux("explain", "--config", edge.path, "--running", "https://a.example.test" + f":{edge.https}/")
    assert "this route is from the last good version of its file, which is set aside" in done.stdout, done


def test_a_file_that_vanishes_while_it_is_set_aside_is_gone_for_good(house):
    """Deleted is removed, whatever it was; a broken one that comes back later has no past."""
    edge = house.edge
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    house.write("a", BROKEN)
    until(lambda: set_aside(edge) == 1, "the file is set aside")
    assert house.ask("a.example.test") == (200, "a")
    (house.folder("a") / "routes.yaml").unlink()
    until(lambda: house.ask("a.example.test") is None and set_aside(edge) == 0, "its hosts are gone with it")
    house.write("a", BROKEN)
    until(lambda: set_aside(edge) == 1, "it is set aside again")
    assert house.ask("a.example.test") is None
    house.restart()
    assert house.ask("a.example.test") is None
    assert house.ask("b.example.test") == (200, "b")


def test_a_file_that_vanished_while_nothing_ran_is_gone_for_good(house):
    edge = house.edge
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    edge.stop()
    (house.folder("a") / "routes.yaml").unlink()
    edge.spawn()
    edge.wait_ready()
    assert house.ask("a.example.test") is None
    house.write("a", BROKEN)
    until(lambda: set_aside(edge) == 1, "the file is set aside")
    assert house.ask("a.example.test") is None


@pytest.mark.sanitizer
def test_a_folder_that_cannot_be_looked_into_loses_no_host(house):
    """As root there is nothing that may not be read: a loop of links stands for it."""
    edge = house.edge
    house.write("a", [says("a.example.test", "a")], file="x.yaml")
    house.write("b", [says("b.example.test", "b")])
    house.certify("a", "a.example.test")
    for name in ("a", "b"):  # certificates and tokens elsewhere than in the folder that goes
        kept = edge.folder / "kept" / name
        shutil.copytree(house.folder(name) / "certs", kept)
        house.tenants[name]["certificates"] = [{"directory": str(kept)}]
        del house.tenants[name]["tokens_dir"]
    house.start()
    assert house.ask("a.example.test") == (200, "a")
    folder, away = house.folder("a"), edge.folder / "away"
    folder.rename(away)
    folder.symlink_to("a")
    edge.wait_log(r"cannot list .*tenants\.d/a: Too many levels of symbolic links")
    for turn in range(2):
        until(lambda: set_aside(edge) == 1, "its file is set aside")
        assert house.ask("a.example.test") == (200, "a"), turn
        house.write("b", [says("b.example.test", f"b{turn}")])
        until(lambda: house.ask("b.example.test") == (200, f"b{turn}"), "others change")
        if turn == 0:
            house.restart()
    folder.unlink()
    away.rename(folder)
    until(lambda: set_aside(edge) == 0, "it is read again")
    assert house.ask("a.example.test") == (200, "a")


def link_to(target):
    return lambda path: os.symlink(target, path)


def content(data, mode=0o644):
    def put(path):
        path.write_bytes(data)
        path.chmod(mode)
    return put


ODD = {
    "a FIFO": (os.mkfifo, r"cannot read .*routes\.yaml: it is not a regular file"),
    "a loop of links": (link_to("routes.yaml"), r"cannot read .*routes\.yaml: Too many levels of symbolic links"),
    "everybody's": (content(b"routes: []\n", 0o666), r"everybody may write to it, so it is not trusted; run chmod o-w"),
    "too large": (lambda path: (path.touch(), os.truncate(path, 65 << 20)), r"routes\.yaml: error: the files of tenant 'a' take more than 16MiB together with this one; make them"),
    "a device": (link_to("/dev/zero"), r"cannot read .*routes\.yaml: it is a link that leads out of the folder"),
    "nothing": (content(b""), r"the file is empty; a file without routes says 'routes: \[\]'"),
    "UTF-16": (content("\ufeffroutes: []\n".encode("utf-16-le")), r":1:1: error: the file is not valid UTF-8; save it"),
    "NUL": (content(b"routes:\r\n  - \0\r\n"), r":2:5: error: the file holds a NUL byte"),
    "an anchor in itself": (content(b"routes: &a [*a]\n"), r":1:13: error: unknown alias 'a'"),
    "a key twice": (content(b"\xef\xbb\xbfroutes: []\r\nroutes: []\r\n"), r":2:1: error: duplicate key 'routes'"),
    "deep": (content(b"routes: " + b"[" * 10_000), r":1:40: error: nested deeper than 32 levels"),
    "a long line": (content(b"routes: [" + b"{ host: q q, rules: [] }, " * 10_000 + b"]"), r":1:30: error: 'rules' must not be empty"),
    "a port": (content(b"routes: [{ host: 'a.example.test:443', rules: [] }]"), r":1:18: error: .* write the name without a port"),
    "Unicode": (content("routes: [{ host: bücher.example.test, rules: [] }]".encode()), r":1:18: error: .* like xn--bcher-kva"),
    "a directory": (os.mkdir, r"cannot read .*routes\.yaml: it is a directory"),
}


@pytest.mark.sanitizer
def test_odd_files_lose_nothing_and_are_explained(house):
    """Whatever lies in the place of a tenant's file: the log and `check` say where and what, what was served is."""
    edge = house.edge
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    path = house.folder("a") / "routes.yaml"

    problems = []
    for name, (put, words) in ODD.items():
        mark = len(edge.log())
        odd = path.with_name(".odd")
        put(odd)
        if path.is_dir():
            path.rmdir()
        elif odd.is_dir():
            path.unlink()
        os.rename(odd, path)
        try:
            edge.wait_log(words, since=mark)
        except AssertionError as error:
            problems.append(f"{name}: {str(error)[-600:]}")
        # A directory cannot take a file's place in one step: it may be seen to be deleted, which is meant.
        if house.ask("a.example.test") not in ((200, "a"), None if name == "a directory" else (200, "a")):
            problems.append(f"{name}: {house.ask('a.example.test')}")
        if house.ask("b.example.test") != (200, "b"):
            problems.append(f"{name}: b is harmed")
        done = edgemux("check", "--config", edge.path, "--format", "json")
        told = json.loads(done.stdout)
        if done.returncode != 1 or not any(d["file"].endswith("a/routes.yaml") and d["severity"] == "error"
                                           for d in told["diagnostics"]):
            problems.append(f"{name}: check says {done.stdout[-600:]}")
        if edgemux("explain", "--config", edge.path, "https://b.example.test/").returncode not in (0, 1):
            problems.append(f"{name}: explain")
    assert not problems, "\n\n".join(problems)


def test_a_tenant_cannot_fill_the_memory_with_its_files(house):
    edge = house.edge
    house.tenants["a"]["limits"] = {"config_size": "256KiB"}
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [says("b.example.test", "b")])
    house.start()

    growth = Growth(edge)
    flood = b"routes:\n  - host: a.example.test\n    rules:\n" + b"      - { path: /x, respond: { status: 200 } }\n" * 90_000
    for n in range(16):
        odd = house.folder("a") / f".{n}"
        odd.write_bytes(flood)
        odd.rename(house.folder("a") / f"z{n}.yaml")
    edge.wait_log(r"z9\.yaml: error: the files of tenant 'a' take more than 256KiB together with this one; make them smaller")
    house.write("b", [says("b.example.test", "b2")])
    until(lambda: house.ask("b.example.test") == (200, "b2"), "others change")
    assert house.ask("a.example.test") == (200, "a"), "what fits is served"
    assert set_aside(edge) == 16
    assert growth.most() < 16 << 10, "64 MiB were written"
    house.restart()
    assert house.ask("a.example.test") == (200, "a")
    assert set_aside(edge) == 16


def test_check_tells_of_it_and_leaves_the_state_alone(house):
    edge = house.edge
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [])
    house.start()
    edge.stop()

    def state():
        return {str(at): at.read_bytes() for at in (edge.folder / "state").rglob("*") if at.is_file()}

    before = state()
    assert before
    house.write("a", BROKEN)
    done = edgemux("check", "--config", edge.path, "--format", "json")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and not told["ok"]
    first = next(d for d in told["diagnostics"] if d["severity"] == "error")
    assert first["tenant"] == "a" and first["file"].endswith("tenants.d/a/routes.yaml")
    os.unlink(house.folder("a") / "routes.yaml")
    assert edgemux("check", "--config", edge.path).returncode == 0
    assert state() == before, "asking changes nothing"
