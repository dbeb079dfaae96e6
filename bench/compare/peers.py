"""The proxies under comparison and the origins behind them: how each is started, and whether it answers as it should."""

import contextlib
import getpass
import http.client
import os
import pathlib
import re
import shutil
import ssl
import subprocess

from processes import Failure, port_is_free, start, stop, wait_for_port
from rows import LARGE, MEDIUM, SMALL

CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"
PORTS = ("HTTP", "TLS", "PASS", "BULK")
PROXY_CPU, OTHER_CPU = 0, 1

# Kind -> (configuration, command after the binary, ports that it serves, how it tells its version).
KINDS = {
    "edgemux": ("edgemux.yaml", ["run", "--config", "@CONFIG@"], PORTS, ["version"]),
    "haproxy": ("haproxy.cfg", ["-db", "-f", "@CONFIG@"], PORTS, ["-v"]),
    "nginx": ("nginx.conf", ["-p", "@DIR@", "-c", "@CONFIG@"], PORTS, ["-v"]),
    "nghttpx": ("nghttpx.conf", ["--conf=@CONFIG@"], ("HTTP", "TLS"), ["--version"]),
    "caddy": ("caddy.json", ["run", "--config", "@CONFIG@"], ("HTTP", "TLS"), ["version"]),
    "sniproxy": ("sniproxy.conf", ["-f", "-c", "@CONFIG@"], ("PASS", "BULK"), ["-V"]),
    "floor": (None, None, ("HTTP", "PASS", "BULK"), None),
}


def body(size):
    """What the origin answers with: no byte order that a proxy could keep by chance."""
    line = b"".join(b"%05d " % (i * 7919 % 100000) for i in range(1000))
    return (line * (size // len(line) + 1))[:size]


def certificate(directory, name):
    """A self-signed ECDSA certificate of that name; returns (certificate, key)."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    (directory / f"{name}.both.pem").write_text(cert.read_text() + key.read_text())
    return cert, key


def fill(template, values, log):
    kept = "@log@" if log else "@nolog@"
    lines = [re.sub(f"^{kept}", "", line) for line in (CONFIGS / template).read_text().splitlines()]
    text = "\n".join(line for line in lines if not re.match("@(no)?log@", line)) + "\n"
    return re.sub("@([A-Z_]+)@", lambda match: str(values[match[1]]), text)


class Origins:
    """compare_origin for HTTP and behind tunnels, nginx where a tunnel is to carry real TLS; on the core that the client has, too."""

    def __init__(self, directory, programs, base_port):
        self.directory = directory / "origin"
        self.directory.mkdir()
        self.cert, key = certificate(self.directory, "real.test")
        self.ports = {name: base_port + i for i, name in enumerate(("ORIGIN_HTTP", "ORIGIN_TLS", "ORIGIN_RAW"))}
        self.programs = programs
        (self.directory / "bodies").mkdir()
        for size in (SMALL, MEDIUM, LARGE):
            (self.directory / "bodies" / str(size)).write_bytes(body(size))
        self.config = self.directory / "nginx.conf"
        self.config.write_text(fill("origin.nginx.conf", {**self.ports, "DIR": self.directory, "CERT": self.cert, "KEY": key}, False))
        self.processes = []
        self.quick = None
        # What compare_origin serves, and compare_load in its place.
        self.served = f"{self.ports['ORIGIN_HTTP']}:{self.ports['ORIGIN_RAW']}:{self.directory / 'bodies'}"

    def start(self):
        busy = [port for port in self.ports.values() if not port_is_free(port)]
        if busy:
            raise Failure(f"ports {busy} are in use; --base-port chooses others")
        log = self.directory / "output.log"
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        nginx = start([shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.directory, "-c", self.config, *user], OTHER_CPU, log)
        self.processes.append(nginx)
        wait_for_port(self.ports["ORIGIN_TLS"], nginx, log)
        self.start_quick()

    def start_quick(self):
        log = self.directory / "output.log"
        self.quick = start([self.programs / "bench/compare/compare_origin", self.served], OTHER_CPU, log)
        for port in ("ORIGIN_HTTP", "ORIGIN_RAW"):
            wait_for_port(self.ports[port], self.quick, log)

    def stop_quick(self):
        if self.quick is not None:
            stop(self.quick)
        self.quick = None

    @contextlib.contextmanager
    def left_to_the_client(self):
        """compare_load serves them meanwhile, if it is told to."""
        self.stop_quick()
        try:
            yield
        finally:
            self.start_quick()

    def stop(self):
        self.stop_quick()
        for process in self.processes:
            stop(process)


class Peer:
    """One proxy: `kind` says how it is configured, `name` is what the tables call it. `workers` is for edgemux alone."""

    def __init__(self, name, kind, binary, directory, base_port, origins, log=False, workers=1):
        self.name, self.kind, self.binary, self.origins = name, kind, binary, origins
        self.log = log
        self.workers = workers
        self.directory = directory / name
        self.directory.mkdir()
        self.output = self.directory / "output.log"
        self.ports = {port: base_port + i for i, port in enumerate((*PORTS, "PROBES"))}
        self.serves = KINDS[kind][2]
        self.cert, self.key = certificate(self.directory, "term.test")
        self.processes = []
        self.prefix = []  # what runs it: nothing, or a profiler

    def version(self):
        if self.kind == "floor":
            return "a relay that parses nothing"
        done = subprocess.run([self.binary, *KINDS[self.kind][3]], capture_output=True, text=True, errors="replace", check=False)
        return (done.stdout + done.stderr).strip().split("\n")[0]

    def start(self, patience=10):
        if self.binary is None or not os.access(self.binary, os.X_OK):
            raise Failure("not installed" if self.binary is None else f"{self.binary} is not there")
        busy = [self.ports[port] for port in self.serves if not port_is_free(self.ports[port])]
        if busy:
            raise Failure(f"ports {busy} are in use; --base-port chooses others")
        if self.kind == "floor":
            self._start_floor()
        else:
            self._start_proxy()
        for port in self.serves:
            wait_for_port(self.ports[port], self.processes[-1], self.output, patience)

    def _start_proxy(self):
        template, arguments, _, _ = KINDS[self.kind]
        config = self.directory / template
        values = {**self.ports, **self.origins.ports, "DIR": self.directory, "CERT": self.cert, "KEY": self.key,
                  "PEM": self.directory / "term.test.both.pem", "WORKERS": self.workers, "USER": getpass.getuser()}
        config.write_text(fill(template, values, self.log))
        arguments = [a.replace("@CONFIG@", str(config)).replace("@DIR@", str(self.directory)) for a in arguments]
        if self.kind == "nginx" and os.geteuid() == 0:
            arguments += ["-g", "user root;"]
        environment = {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory)}
        self.processes = [start([*self.prefix, self.binary, *arguments], PROXY_CPU, self.output, environment)]

    def _start_floor(self):
        for port, origin, more in (("HTTP", "ORIGIN_HTTP", []), ("PASS", "ORIGIN_RAW", []), ("BULK", "ORIGIN_RAW", ["--splice"])):
            self.processes.append(start([self.binary, "--listen", str(self.ports[port]), "--upstream",
                                         f"127.0.0.1:{self.origins.ports[origin]}", *more], PROXY_CPU, self.output))

    def stop(self):
        for process in self.processes:
            stop(process)
        self.processes = []

    @property
    def pids(self):
        dead = [process for process in self.processes if process.poll() is not None]
        if dead or not self.processes:
            raise Failure("it is not running any more")
        return [process.pid for process in self.processes]

    def verify(self):
        """Every path answers with the right bytes, under the right certificate, as TLS 1.3 with the one cipher."""
        for size in (SMALL, MEDIUM, LARGE):
            if "HTTP" in self.serves:
                self._ask("HTTP", "term.test", size, None)
            if "TLS" in self.serves:
                self._ask("TLS", "term.test", size, self.cert)
            if "PASS" in self.serves and self.kind != "floor":
                self._ask("PASS", "real.test", size, self.origins.cert)

    def _ask(self, port, host, size, ca):
        where = f"{port.lower()} /{size}"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=10)
            connection.connect()
            if ca is not None:
                context = ssl.create_default_context(cafile=ca)
                connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
                if connection.sock.version() != "TLSv1.3":
                    raise Failure(f"{where}: {connection.sock.version()}")
            connection.request("GET", f"/{size}", headers={"Host": host})
            answer = connection.getresponse()
            got = answer.read()
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"{where}: {error or type(error).__name__}") from error
        if answer.status != 200 or got != body(size):
            raise Failure(f"{where}: status {answer.status}, {len(got)} bytes, not what the origin sent")


def find_binary(kind, programs):
    if kind == "edgemux":
        return programs / "edgemux"
    if kind == "floor":
        return programs / "bench/floor/floor_relay"
    return shutil.which(kind, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
