"""curl and openssl as clients, and wrk as the load."""

import re
import signal
import subprocess
from dataclasses import dataclass

from .waiting import patience


def curl(url, *arguments, port, ca=None, address="127.0.0.1", within=60.0):
    """Runs curl with the URL's host resolved to loopback. `url` has {port} where the port goes. Returns the process."""
    url = url.format(port=port)
    host = re.match(r"\w+://([^/:]+)", url).group(1)
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(patience(within)), "--resolve",
               f"{host}:{port}:{address}"]
    if ca is not None:
        command += ["--cacert", str(ca)]
    return subprocess.run([*command, *map(str, arguments), url], capture_output=True, timeout=patience(within + 10))


def curl_ok(url, *arguments, **kwargs):
    """The body; curl must succeed and the status be below 400."""
    done = curl(url, "--fail-with-body", *arguments, **kwargs)
    assert done.returncode == 0, f"curl {done.returncode}: {done.stderr.decode()} {done.stdout[:500]!r}"
    return done.stdout


def s_client(port, *arguments, name=None, text=b"", within=20.0):
    """openssl s_client to a port; `text` is sent, then end of input. Returns the process."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"]
    command += ["-servername", name] if name else ["-noservername"]
    return subprocess.run([*command, *map(str, arguments)], input=text, capture_output=True, timeout=patience(within))


@dataclass
class Load:
    """What a wrk run reported."""

    requests: int
    errors: int
    non_2xx: int
    text: str


class Wrk:
    """wrk in the background. The URL's host is what it asks for and what SNI says; it connects to 127.0.0.1."""

    def __init__(self, folder, url, port, seconds, connections=8, headers=(), name="wrk", latency=False):
        script = folder / f"{name}.lua"
        script.write_text(f'wrk.resolve = function() wrk.addrs = wrk.lookup("127.0.0.1", "{port}") end\n')
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{patience(10):.0f}s",
                   "-s", str(script)]
        if latency:
            command.append("--latency")
        for header in headers:
            command += ["-H", header]
        self._process = subprocess.Popen([*command, url.format(port=port)], stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True)
        self._seconds = seconds

    def running(self):
        return self._process.poll() is None

    def interrupt(self):
        """Ends the run now; it still reports."""
        self._process.send_signal(signal.SIGINT)

    def result(self):
        text, _ = self._process.communicate(timeout=patience(self._seconds + 30))
        assert self._process.returncode == 0, text
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
        non_2xx = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        return Load(requests, errors, int(non_2xx.group(1)) if non_2xx else 0, text)

    def kill(self):
        if self.running():
            self._process.kill()
        self._process.communicate()
