"""The proxy under test as a process: its configuration, its start and end, its logs, metrics and memory."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from functools import lru_cache
from pathlib import Path


from .ports import free_port
from .waiting import patience, until
from .written import as_yaml

BINARY = Path(os.environ.get("EDGEMUX_BIN", Path(__file__).resolve().parents[3] / "build/release/edgemux"))

_REPORT = re.compile(r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:")


@lru_cache(maxsize=None)
def sanitized():
    """True for an asan or tsan build: figures of memory mean nothing there."""
    content = BINARY.read_bytes()
    return b"__asan_init" in content or b"__tsan_init" in content


def edgemux(*arguments, within=30.0, **kwargs):
    """Runs the program to its end."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=patience(within), **kwargs
    )


class Sample(dict):
    """The samples of /metrics: {(name, frozenset(labels)): value}."""

    LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        super().__init__()
        for line in text.splitlines():
            if match := self.LINE.match(line):
                name, labels, value = match.groups()
                self[name, frozenset(self.LABEL.findall(labels or ""))] = float(value)

    def total(self, name, **labels):
        """The sum over all samples of the name that carry these labels."""
        wanted = set(labels.items())
        return sum(v for (n, have), v in self.items() if n == name and wanted <= have)

    def names(self):
        return {n for n, _ in self}


class Edgemux:
    """Ports are taken at once, so that a configuration can name them; `start` writes the file and runs the program."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "edgemux.yaml"
        self.http, self.https, self.kube, self.probes = (free_port() for _ in range(4))
        self.access_path = self.folder / "access.log"
        self.error_path = self.folder / "stderr.log"
        # A Unix socket's path is at most 107 bytes: pytest's folders can be too deep.
        self.short = Path(tempfile.mkdtemp(prefix="emx"))
        self.process = None
        self.config = None

    # configuration

    def base(self, **over):
        """The usual three listeners, logs into files, probes; keys given replace whole top-level keys, `None` removes."""
        config = {
            "version": 1,
            "listeners": [
                {"name": "http", "bind": [f"127.0.0.1:{self.http}"], "protocol": "http", "redirect_port": self.https},
                {"name": "https", "bind": [f"127.0.0.1:{self.https}"], "protocol": "tls"},
                {"name": "kube-api", "bind": [f"127.0.0.1:{self.kube}"], "protocol": "tls"},
            ],
            "workers": 2,
            "state_dir": str(self.folder / "state"),
            "timeouts": {"drain": "3s"},
            "log": {"level": "info", "access": {"path": str(self.access_path), "format": "json"}},
            "admin": {"bind": f"unix:{self.short}/admin.sock", "probes": f"127.0.0.1:{self.probes}"},
            "routes": [],
        }
        timeouts = over.pop("timeouts", {})
        config["timeouts"] = {**config["timeouts"], **timeouts}
        config.update(over)
        return {k: v for k, v in config.items() if v is not None}

    def write(self, config):
        """A new main file in one rename. A dict becomes YAML, a text or bytes is taken as it is."""
        if isinstance(config, dict):
            self.config = config
            config = as_yaml(config)
        fresh = self.path.with_name(".edgemux.yaml.new")
        fresh.write_bytes(config.encode() if isinstance(config, str) else config)
        fresh.chmod(0o644)
        os.replace(fresh, self.path)

    # life

    def start(self, text=None, *, env=None, arguments=(), prefix=(), wait=True, **over):
        """Writes base(**over), or `text`, and starts; returns when /readyz says so."""
        if self.process is not None:
            assert self.process.poll() is not None, "it runs already"
        self.write(self.base(**over) if text is None else text)
        self.spawn(env=env, arguments=arguments, prefix=prefix)
        if wait:
            self.wait_ready()
        return self

    def spawn(self, env=None, arguments=(), prefix=()):
        self._stderr = open(self.error_path, "ab")
        self.process = subprocess.Popen(
            [*prefix, str(BINARY), "run", "--config", str(self.path), *arguments],
            stdout=self._stderr, stderr=self._stderr, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})}, cwd=self.folder,
        )

    def wait_ready(self, within=20.0):
        def ready():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
            return self.probe("/readyz")[0] == 200

        until(ready, lambda: f"/readyz is 200; the log:\n{self.log()}", within)

    def wait_exit(self, within=20.0):
        """The exit code."""
        try:
            return self.process.wait(patience(within))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end:\n{self.log()[-4000:]}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, codes=(0, 3)):
        """SIGTERM, and it must end in time, drained (0) or cut short with connections open (3), and without a report."""
        if self.process is not None:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            try:
                got = self.wait_exit(40)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
                    self.process.wait()
                self._stderr.close()
            self.process = None
            assert got in codes, f"it ended with {got}:\n{self.log()[-6000:]}"
        self.check_reports()

    def discard(self):
        """After the test: whatever still runs is stopped, reports are looked for, folders removed."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
            self.check_reports()
        finally:
            shutil.rmtree(self.short, ignore_errors=True)

    def check_reports(self):
        log = self.log()
        if match := _REPORT.search(log):
            raise AssertionError("a sanitizer reports:\n" + log[max(0, match.start() - 200) : match.start() + 8000])

    # reading it

    def log(self):
        return self.error_path.read_text(errors="replace") if self.error_path.exists() else ""

    def wait_log(self, pattern, within=10.0, since=0):
        """Waits for a regular expression in the log after the mark `since` (a length of log()); returns the match."""
        expression = re.compile(pattern)
        return until(lambda: expression.search(self.log()[since:]),
                     lambda: f"the log says {pattern!r}; it says:\n{self.log()[since:][-3000:]}", within)

    def probe(self, path):
        """(status, body) of the probe listener; (0, "") where nothing answers."""
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{self.probes}{path}", timeout=patience(10)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self):
        status, text = self.probe("/metrics")
        assert status == 200, f"/metrics: {status}"
        return Sample(text)

    def generation(self):
        return int(self.metrics().total("edgemux_config_generation"))

    def access(self):
        """The lines of the access log; a last one without its newline is left for the next time."""
        if not self.access_path.exists():
            return []
        text = self.access_path.read_text(errors="replace")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def wait_access(self, count=1, within=10.0, **fields):
        """Waits for `count` lines that carry these fields; a callable is asked, anything else compared."""

        def fits(line):
            return all(v(line.get(k)) if callable(v) else line.get(k) == v for k, v in fields.items())

        def enough():
            lines = [line for line in self.access() if fits(line)]
            return lines if len(lines) >= count else None

        return until(enough, lambda: f"{count} access lines with {fields}; there are: {self.access()[-10:]}", within)

    def pss(self, kind="Pss"):
        """Proportional set size in KiB; Pss_Anon leaves out what is shared through files, and so changes with others."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(kind + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {kind}")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    # reloading

    def wait_generation(self, number, within=10.0):
        until(lambda: self.generation() >= number,
              lambda: f"generation {number}, it is {self.generation()}; the log:\n{self.log()[-3000:]}", within)

    def reload(self, **over):
        """Writes base(**over) and waits until it is in force; returns the generation."""
        before = self.generation()
        self.write(self.base(**over))
        self.wait_generation(before + 1)
        return self.generation()


class Growth:
    """The memory that a process needs at most from now on, in KiB; pages of its file left out."""

    def __init__(self, edge):
        self.folder = Path(f"/proc/{edge.process.pid}")
        (self.folder / "clear_refs").write_text("5")  # VmHWM begins anew
        self.before = self._read()

    def _read(self):
        lines = (self.folder / "status").read_text().splitlines()
        return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}

    def most(self):
        now = self._read()
        return now["VmHWM"] - self.before["VmRSS"] - (now["RssFile"] - self.before["RssFile"])
