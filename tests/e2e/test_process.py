"""The program itself: check and version, clear messages, signals, systemd, probes, metrics, logs."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest
from support.hello import hello
from support.proxy import BINARY, edgemux
from support.site import HOST
from support.waiting import patience, until
from support.wire import Wire, request

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs")


def says(text, host=HOST, **more):
    return {"host": host, "on_http": "serve", "rules": [{"path": "/", "respond": {"status": 200, "body": text}}], **more}


def check(edge, config, *arguments):
    edge.write(config)
    return edgemux("check", "--config", edge.path, *arguments)


# check and version

def test_version(edge):
    done = edgemux("version")
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout)


def test_unknown_commands_and_missing_files_are_explained(edge):
    assert edgemux("nonsense").returncode != 0
    assert edgemux().returncode != 0
    for command in ("run", "check"):
        done = edgemux(command, "--config", edge.folder / "missing.yaml")
        assert done.returncode == 1 and "missing.yaml" in done.stdout + done.stderr
    assert "--config" in edgemux("run", "--help").stdout


@pytest.mark.sanitizer
def test_check_is_content_with_a_good_file(edge, authority):
    pair = authority.issue(HOST)
    done = check(edge, edge.base(routes=[says("x")], certificates=[{"cert": str(pair.cert), "key": str(pair.key)}]))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.sanitizer
def test_check_lists_every_problem_at_once(edge):
    text = f"""version: 1
listenrs: []
listeners:
  - {{ name: http, bind: ["127.0.0.1:{edge.http}"], protocol: http }}
  - {{ name: https, bind: ["127.0.0.1:{edge.https}"], protocol: tsl }}
timeouts: {{ idle: soon }}
routes:
  - host: a.example.com
    pasthrough: 127.0.0.1:9
  - host: b..example.com
    passthrough: 127.0.0.1:9
"""
    done = check(edge, text)
    out = done.stdout + done.stderr
    assert done.returncode == 1
    for line, word in ((2, "listenrs"), (5, "tsl"), (6, "soon"), (9, "pasthrough"), (10, "b..example.com")):
        assert re.search(rf"edgemux\.yaml:{line}:\d+.*{re.escape(word)}", out), (line, word, out)
    assert "did you mean" in out and "'passthrough'" in out


def test_check_format_json(edge):
    done = check(edge, "version: 1\nlistenrs: []\n", "--format", "json")
    assert done.returncode == 1
    problems = json.loads(done.stdout)
    text = json.dumps(problems)
    assert "listenrs" in text and '"line": 2' in text
    good = check(edge, edge.base(routes=[says("x")]), "--format", "json")
    assert good.returncode == 0
    json.loads(good.stdout)


LISTEN = 'listeners:\n  - { name: http, bind: ["127.0.0.1:1"], protocol: http }\n  - { name: https, bind: ["127.0.0.1:2"], protocol: tls }\n'

MESSAGES = {
    "same host twice": (
        f"version: 1\n{LISTEN}routes:\n  - host: a.example.com\n    passthrough: 127.0.0.1:9\n  - host: A.example.com\n"
        "    passthrough: 127.0.0.1:9\n",
        [r"edgemux\.yaml:8:\d+.*a\.example\.com", r"edgemux\.yaml:6:\d+"]),
    "endpoint without port": (
        f"version: 1\n{LISTEN}routes:\n  - host: a.example.com\n    passthrough: {{ endpoints: [10.0.0.1] }}\n",
        [r"edgemux\.yaml:7:\d+.*port"]),
    "empty file": ("", [r"edgemux\.yaml.*empty"]),
    "only comments": ("# nothing here\n", [r"edgemux\.yaml.*empty"]),
    "tabs": (f"version: 1\n{LISTEN}routes:\n\t- host: a.example.com\n", [r"edgemux\.yaml:6:\d+.*tab"]),
    "duplicate key": (f"version: 1\n{LISTEN}workers: 1\nworkers: 2\n", [r"edgemux\.yaml:6:\d+.*workers"]),
    "no listeners": ("version: 1\nroutes: []\n", [r"edgemux\.yaml.*listeners"]),
    "version 2": (f"version: 2\n{LISTEN}", [r"edgemux\.yaml:1:\d+.*version"]),
    "unknown listener": (
        f"version: 1\n{LISTEN}routes:\n  - {{ host: a.example.com, listeners: [htps], passthrough: '127.0.0.1:9' }}\n",
        [r"edgemux\.yaml:6:\d+.*htps"]),
    "unknown upstream": (
        f"version: 1\n{LISTEN}routes:\n  - {{ host: a.example.com, rules: [ {{ path: /, upstream: ap }} ] }}\n",
        [r"edgemux\.yaml:6:\d+.*'?ap'?"]),
    "two listeners on one port": (
        'version: 1\nlisteners:\n  - { name: a, bind: ["127.0.0.1:1"], protocol: http }\n'
        '  - { name: b, bind: ["127.0.0.1:1"], protocol: tls }\n',
        [r"edgemux\.yaml:4:\d+.*127\.0\.0\.1:1"]),
    "both kinds of route": (
        f"version: 1\n{LISTEN}routes:\n  - host: a.example.com\n    passthrough: 127.0.0.1:9\n    rules: []\n",
        [r"edgemux\.yaml:\d+:\d+.*(passthrough|rules)"]),
    "bad network": (
        f"version: 1\n{LISTEN}routes:\n  - host: a.example.com\n    allow: [10.0.0.0/33]\n    passthrough: 127.0.0.1:9\n",
        [r"edgemux\.yaml:7:\d+.*10\.0\.0\.0/33"]),
    "missing certificate": (
        f"version: 1\n{LISTEN}certificates:\n  - {{ cert: none.pem, key: none.key }}\n", [r"edgemux\.yaml:6:\d+.*none\.pem"]),
}


@pytest.mark.sanitizer
@pytest.mark.parametrize("name", MESSAGES)
def test_messages_of_check(edge, name):
    text, patterns = MESSAGES[name]
    done = check(edge, text)
    out = done.stdout + done.stderr
    assert done.returncode == 1, out
    for pattern in patterns:
        assert re.search(pattern, out, re.IGNORECASE), (pattern, out)


def test_what_belongs_to_later_versions_is_refused_by_name(edge):
    done = check(edge, "version: 1\n" + LISTEN + "admin: { bind: '127.0.0.1:9000' }\n")
    out = done.stdout + done.stderr
    assert done.returncode == 1 and re.search(r"edgemux\.yaml:5:\d+.*not supported yet", out), out


# keys, ports and permissions

def test_a_key_that_does_not_match(edge, authority):
    one, two = authority.issue("a.example.com"), authority.issue("b.example.com")
    done = check(edge, edge.base(certificates=[{"cert": str(one.cert), "key": str(two.key)}]))
    out = done.stdout + done.stderr
    assert done.returncode == 1 and "match" in out and two.key.name in out and one.cert.name in out


@pytest.fixture
def as_nobody(edge, authority):
    """The configuration in a folder that user nobody can read; the program run as that user."""
    assert os.geteuid() == 0, "these tests change to another user: they need root"
    edge.short.chmod(0o755)
    edge.path = edge.short / "edgemux.yaml"
    edge.access_path = edge.short / "access.log"
    binary = edge.short / "edgemux"

    def run(*arguments, within=20.0, limits=()):
        shutil.copy(BINARY, binary)
        binary.chmod(0o755)
        return subprocess.run([*NOBODY, *limits, str(binary), *map(str, arguments)], capture_output=True, text=True,
                              timeout=patience(within), cwd=edge.short)

    return run


def test_an_unreadable_key(edge, authority, as_nobody):
    pair = authority.issue("a.example.com")
    cert, key = edge.short / "a.pem", edge.short / "a.key"
    pair.install(cert, key)
    cert.chmod(0o644)
    edge.write(edge.base(certificates=[{"cert": str(cert), "key": str(key)}], state_dir=str(edge.short / "state"),
                         admin={"probes": f"127.0.0.1:{edge.probes}"}))
    done = as_nobody("check", "--config", edge.path)
    out = done.stdout + done.stderr
    assert done.returncode == 1 and "a.key" in out and re.search(r"permission|read", out, re.IGNORECASE), out


def test_a_port_below_1024_without_the_capability(edge, as_nobody):
    config = edge.base(state_dir=None, admin={"probes": f"127.0.0.1:{edge.probes}"}, log={"access": {"format": "off"}})
    config["listeners"] = [{"name": "low", "bind": ["127.0.0.1:83"], "protocol": "http"}]
    edge.write(config)
    done = as_nobody("run", "--config", edge.path)
    out = done.stdout + done.stderr
    assert done.returncode == 1 and "127.0.0.1:83" in out and "CAP_NET_BIND_SERVICE" in out, out


def test_a_port_in_use(edge, tap):
    config = edge.base(routes=[says("x")])
    config["listeners"].append({"name": "taken", "bind": [f"127.0.0.1:{tap.port}"], "protocol": "http"})
    edge.start(wait=False, **config)
    assert edge.wait_exit() == 1
    assert re.search(rf"127\.0\.0\.1:{tap.port}.*in use", edge.log()), edge.log()
    assert "taken" in edge.log()


def test_a_broken_main_file_is_exit_1_at_start(edge):
    edge.start("version: 1\nlisteners: [\n", wait=False)
    assert edge.wait_exit() == 1
    assert re.search(r"edgemux\.yaml:\d+:\d+", edge.log())


def test_a_config_that_everybody_may_write_is_refused(edge):
    edge.write(edge.base(routes=[says("x")]))
    edge.path.chmod(0o666)
    edge.spawn()
    assert edge.wait_exit() == 1
    assert re.search(r"writable|may write", edge.log())


# signals

def refused(port):
    try:
        Wire.connect(port).close()
        return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it came in the moment between the last accept and the close
        return False


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_sigterm_drains(site, tap, transport):
    """What is under way finishes, what is idle is closed, what is new is refused; then it is over."""
    site.start(site.route(), {"host": "through.example.com", "passthrough": tap.address}, timeouts={"drain": "20s"})
    idle = site.wire(transport)
    idle.ask("/bytes/1", HOST)
    busy = site.wire(transport)
    busy.send(request("/gate/hold", HOST))
    site.origin.wait_for_requests(2)
    began = time.monotonic()
    site.edge.signal(signal.SIGTERM)
    assert idle.rest_or_reset() == b""
    until(lambda: refused(site.edge.http) and refused(site.edge.https), "new connections are refused")
    assert site.edge.process.poll() is None, "it waits for the exchange under way"
    site.origin.gate("hold").set()
    answer = busy.response()
    assert answer.body == b"through hold\n" and answer.get("connection") == "close"
    assert busy.rest_or_reset() == b""
    assert site.edge.wait_exit() == 0
    assert time.monotonic() - began < patience(15), "it waited although nothing was left"


@pytest.mark.sanitizer
def test_the_drain_has_an_end(site, tap):
    site.start({"host": "through.example.com", "passthrough": tap.address}, timeouts={"drain": "700ms"})
    data = hello("through.example.com")
    with Wire.connect(site.edge.https) as client:
        client.send(data)
        tap.accept().take(len(data))
        began = time.monotonic()
        site.edge.signal(signal.SIGTERM)
        assert client.rest_or_reset() == b""
        assert site.edge.wait_exit() in (0, 3)
        assert 0.5 < time.monotonic() - began < patience(10)
    lines = site.edge.wait_access(sni="through.example.com")
    assert lines[0]["reason"] == "drain_timeout"


def test_what_the_end_of_a_drain_cuts_is_logged_and_what_was_at_rest_is_not_cut(site):
    """However few of the lines are written that went well."""
    site.start(timeouts={"drain": "300ms"}, log={"access": {"path": str(site.edge.access_path), "sample": 1000}})
    assert site.ask("/bytes/1").status == 200  # the one of a thousand
    with site.wire() as busy, site.wire() as silent:
        busy.send(request("/gate/never", HOST))
        site.origin.wait_for_requests(2)
        site.edge.signal(signal.SIGTERM)
        assert silent.rest_or_reset() == b""
        assert site.edge.wait_exit() == 3
    cut, = site.edge.wait_access(path="/gate/never")
    assert cut["reason"] == "drain_timeout"
    assert [line["reason"] for line in site.edge.access() if line["kind"] == "connection" and line["reason"] == "drain_timeout"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_end_while_it_starts_ends(edge, number):
    """The signal waits for who takes it. What is ignored or left to the kernel is lost to process 1 of a container."""

    def held():
        status = open(f"/proc/{edge.process.pid}/status").read()
        return int(re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)[1], 16) >> (number - 1) & 1

    edge.start(wait=False, routes=[says("x", f"h{n}.example.com") for n in range(20_000)])
    until(held, "it holds signals until it can take them", every=0.001)
    edge.signal(number)
    assert edge.wait_exit() == 0
    assert re.search("told to end before it was ready|draining: ", edge.log())


@pytest.mark.sanitizer
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(site, second):
    site.start(timeouts={"drain": "60s"})
    with site.wire() as busy:
        busy.send(request("/gate/never", HOST))
        site.origin.wait_for_requests(1)
        site.edge.signal(signal.SIGTERM)
        until(lambda: refused(site.edge.http), "it drains")
        assert site.edge.process.poll() is None
        site.edge.signal(second)
        site.edge.wait_exit(10)


def test_sigusr2_is_answered_and_harms_nothing(edge):
    edge.start(routes=[says("x")])
    edge.signal(signal.SIGUSR2)
    edge.wait_log("SIGUSR2: .*not supported yet")
    with Wire.connect(edge.http) as wire:
        assert wire.ask("/", HOST).status == 200


@pytest.mark.sanitizer
def test_sigusr1_reopens_the_logs(edge):
    edge.start(routes=[says("x")])

    def ask(path):
        with Wire.connect(edge.http) as wire:
            assert wire.ask(path, HOST).status == 200

    ask("/one")
    edge.wait_access(path="/one")
    moved = edge.access_path.with_name("access.log.1")
    edge.access_path.rename(moved)
    edge.signal(signal.SIGUSR1)
    until(edge.access_path.exists, "a new file")
    asked = 0

    def lands():  # the file is there a moment before lines go to it
        nonlocal asked
        asked += 1
        ask("/two")
        return "/two" in edge.access_path.read_text()

    def lines():
        return [sum("/two" in line for line in path.read_text().splitlines()) for path in (moved, edge.access_path)]

    until(lands, "a line in the new file")
    until(lambda: sum(lines()) == asked, lambda: f"all of {asked} lines; there are {lines()}")
    assert "/one" in moved.read_text() and "/one" not in edge.access_path.read_text()


def test_sigpipe_and_clients_that_vanish_do_not_end_it(edge):
    edge.start(routes=[says("x" * 100_000)])
    edge.signal(signal.SIGPIPE)
    for _ in range(20):
        wire = Wire.connect(edge.http)
        wire.send(request("/", HOST) * 20)
        wire.reset()
    with Wire.connect(edge.http) as wire:
        assert wire.ask("/", HOST).status == 200
    assert edge.process.poll() is None


# systemd

class Notifications:
    """The datagram socket that systemd would give."""

    def __init__(self, path):
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.lines = []

    def _read(self):
        while select.select([self._socket], [], [], 0)[0]:
            self.lines += self._socket.recv(8192).decode().splitlines()

    def wait(self, line, count=1):
        def seen():
            self._read()
            return sum(1 for have in self.lines if have.startswith(line)) >= count

        until(seen, lambda: f"{count} times {line!r}; came {self.lines}")

    def close(self):
        self._socket.close()


@pytest.mark.sanitizer
def test_systemd_is_told(edge, closing):
    bus = closing(Notifications(edge.short / "notify"))
    edge.start(routes=[says("1")], env={"NOTIFY_SOCKET": str(bus.path), "WATCHDOG_USEC": "300000"})
    bus.wait("READY=1")
    bus.wait("WATCHDOG=1", 3)
    ready = bus.lines.count("READY=1")
    edge.write(edge.base(routes=[says("2")]))
    edge.signal(signal.SIGHUP)
    bus.wait("RELOADING=1")
    bus.wait("MONOTONIC_USEC=")
    bus.wait("READY=1", ready + 1)
    assert "STOPPING=1" not in bus.lines
    edge.signal(signal.SIGTERM)
    bus.wait("STOPPING=1")
    assert edge.wait_exit() == 0


def test_ready_is_not_said_before_the_ports_are_open(edge, closing, tap):
    bus = closing(Notifications(edge.short / "notify"))
    config = edge.base()
    config["listeners"].append({"name": "taken", "bind": [f"127.0.0.1:{tap.port}"], "protocol": "http"})
    edge.start(wait=False, env={"NOTIFY_SOCKET": str(bus.path)}, **config)
    assert edge.wait_exit() == 1
    bus._read()
    assert "READY=1" not in bus.lines


# probes and metrics

@pytest.mark.sanitizer
def test_probes(site):
    site.start(timeouts={"drain": "20s"})
    assert site.edge.probe("/healthz")[0] == 200 and site.edge.probe("/readyz")[0] == 200
    assert site.edge.probe("/nothing")[0] == 404
    with site.wire() as busy:
        busy.send(request("/gate/hold", HOST))
        site.origin.wait_for_requests(1)
        site.edge.signal(signal.SIGTERM)
        until(lambda: site.edge.probe("/readyz")[0] != 200, "not ready any more while it drains")
        assert site.edge.probe("/healthz")[0] == 200, "but alive"
        site.origin.gate("hold").set()
        busy.response()
    assert site.edge.wait_exit() == 0


@pytest.mark.sanitizer
def test_metrics_count(site, tap):
    site.start(site.route(), {"host": "through.example.com", "passthrough": tap.address})
    edge = site.edge
    before = edge.metrics()
    assert before.total("edgemux_config_generation") == 1
    for _ in range(3):
        site.ask("/bytes/1000", "https")
        site.ask("/status/404", "http")
    with Wire.connect(edge.https) as wire:
        wire.send(b"not tls at all, really not")
        wire.rest_or_reset()

    def grown(name, by, **labels):
        until(lambda: edge.metrics().total(name, **labels) - before.total(name, **labels) >= by,
              lambda: f"{name}{labels} grows by {by}; now {edge.metrics().total(name, **labels)}")

    grown("edgemux_connections_total", 4, listener="https")
    grown("edgemux_connections_total", 3, listener="http")
    grown("edgemux_requests_total", 3, listener="https", **{"class": "2xx"})
    grown("edgemux_requests_total", 3, listener="http", **{"class": "4xx"})
    grown("edgemux_bytes_total", 3000)
    grown("edgemux_tls_handshakes_total", 3)
    grown("edgemux_drops_total", 1, reason="not_tls")
    names = edge.metrics().names()
    assert {"edgemux_reloads_total"} <= names
    text = edge.probe("/metrics")[1]
    for name in names:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        assert f"# TYPE {name} " in text or f"# TYPE {family} " in text, name


def test_the_admin_socket_is_private(edge):
    edge.start(routes=[says("x")])
    path = edge.short / "admin.sock"
    assert path.is_socket() and path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"200" in client.recv(65536).split(b"\r\n")[0]
    edge.stop()
    assert not path.exists()


def test_it_starts_again_over_what_a_killed_one_left(edge):
    edge.start(routes=[says("x")])
    edge.process.kill()
    edge.process.wait()
    edge.spawn()
    edge.wait_ready()
    with Wire.connect(edge.http) as wire:
        assert wire.ask("/", HOST).status == 200


# Not with sanitizers, which need descriptors to look at memory.
def test_too_few_fds_for_a_start_are_an_error_that_says_so(edge):
    """Wherever it runs out: at the configuration, the loops, the sockets, the admin socket."""
    admin = edge.short / "few.sock"
    edge.write(edge.base(routes=[says("x")], workers=2, admin={"bind": f"unix:{admin}", "probes": "off"}))
    failed = set()
    for most in range(8, 200, 2):
        command = ("prlimit", f"--nofile={most}:{most}", BINARY, "run", "--config", edge.path)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            lines = []
            for line in process.stderr:
                lines.append(line)
                if " is ready" in line:
                    process.terminate()
            status = process.wait(timeout=patience(20))
        assert not admin.exists()
        if any(" is ready" in line for line in lines):
            break
        assert status == 1 and f"raise LimitNOFILE (ulimit -n), which is {most}\n" in lines[-1], (most, status, lines)
        failed.add(re.search("event loop|cannot listen|cannot read|$", "".join(lines))[0])
    assert status == 0 and failed >= {"event loop", "cannot listen"}, (most, failed)


def test_too_few_threads_for_a_start_are_an_error_that_says_so(edge, as_nobody):
    edge.write(edge.base(routes=[says("x")], state_dir=None, admin=None))
    done = as_nobody("run", "--config", edge.path, limits=("prlimit", "--nproc=2:2"))
    assert done.returncode == 1 and "LimitNPROC" in done.stderr.splitlines()[-1], done.stderr


def test_fds_run_out_and_come_back(site):
    """Accepting stops before descriptors run out, so that probes still answer; then it goes on."""
    site.edge.start(certificates=site.certificates, routes=[site.route()],
                    prefix=("prlimit", "--nofile=120:120"), limits={"connections": "auto"})
    kept = []
    for _ in range(200):
        wire = Wire.connect(site.edge.http)
        kept.append(wire)
    assert site.edge.probe("/healthz")[0] == 200
    answers = 0
    with pytest.raises((OSError, AssertionError)):
        for wire in kept:
            wire.sock.settimeout(patience(2))
            answers += wire.ask("/bytes/1", HOST).status == 200
    for wire in kept:
        wire.close()

    def works():
        try:
            return site.ask("/bytes/1").status == 200
        except (OSError, AssertionError):
            return False

    until(works, "it serves again")
    assert site.edge.process.poll() is None
