"""The quickstart: what `./dev run` starts after the build, and the lines that it prints to try, run as printed."""

import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.ports import free_port
from support.proxy import BINARY
from support.waiting import until

SOURCE = Path(__file__).resolve().parents[2] / "deploy/quickstart"


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Quickstart:
    """A copy of the folder, two below a top of its own where .state goes; every port replaced by a free one."""

    def __init__(self):
        self.top = Path(tempfile.mkdtemp(prefix="emx"))  # short: the admin socket's path has 107 bytes at most
        self.folder = self.top / "deploy/quickstart"
        shutil.copytree(SOURCE, self.folder)
        config = self.folder / "edgemux.yaml"
        text = config.read_text()
        self.ports = {old: free_port() for old in ("8080", "8443", "8643", "9902")}
        for old, new in self.ports.items():
            text, count = re.subn(rf"\b{old}\b", str(new), text)
            assert count > 0, old
        config.write_text(text)
        self.process = None

    def start(self):
        self.output = open(self.top / "output", "w+b")
        self.process = subprocess.Popen([self.folder / "start", BINARY], stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT, cwd=self.top)
        until(lambda: self.process.poll() is None and all(map(listens, self.ports.values())),
              lambda: f"the quickstart listens; it says:\n{self.says()}", 20)

    def says(self):
        return (self.top / "output").read_text(errors="replace")

    def commands(self):
        return [line.strip() for line in self.says().splitlines() if line.startswith("  curl ")]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(40)
        self.output.close()
        return code

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.top, ignore_errors=True)


@pytest.fixture
def quickstart(closing):
    return closing(Quickstart())


def try_line(line, where):
    """Runs a printed line in a shell, as a reader would, but for the noise of curl's progress and a machine's proxy."""
    assert line.startswith("curl ")
    done = subprocess.run("curl -sS --noproxy '*' " + line.removeprefix("curl "), shell=True, cwd=where, capture_output=True,
                          text=True, timeout=30)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def test_the_three_printed_lines_work(quickstart):
    quickstart.start()
    redirect, greeting, token = quickstart.commands()

    answer = try_line(redirect, quickstart.top)
    assert answer.splitlines()[0].split()[1] == "301"
    assert f"location: https://hello.localhost:{quickstart.ports['8443']}/" in answer.lower().splitlines()

    assert try_line(greeting, quickstart.top) == "Hello from edgemux.\n"

    answer = try_line(token, quickstart.top)
    assert answer.splitlines()[0].split()[1] == "404"
    assert "location:" not in answer.lower()
    assert quickstart.stop() == 0


def test_every_host_of_the_quickstart_answers(quickstart):
    quickstart.start()
    certificate = quickstart.top / ".state/certs/quickstart.pem"
    plain, api = quickstart.ports["8080"], quickstart.ports["8643"]
    assert try_line(f"curl http://plain.localhost:{plain}/", quickstart.top) == "Plain HTTP is fine here.\n"
    assert try_line(f"curl --cacert {certificate} https://api.localhost:{api}/", quickstart.top) == '{"kind": "Status"}\n'


def test_the_certificate_is_made_once_and_its_key_is_private(quickstart):
    quickstart.start()
    certificate = quickstart.top / ".state/certs/quickstart.pem"
    first = certificate.read_bytes()
    assert stat.S_IMODE(certificate.with_suffix(".key").stat().st_mode) == 0o600
    quickstart.stop()
    quickstart.start()
    assert certificate.read_bytes() == first


def test_a_token_put_into_the_folder_is_answered(quickstart):
    quickstart.start()
    (quickstart.top / ".state/acme-challenges/tok-1").write_text("tok-1.thumb")
    line = f"curl http://hello.localhost:{quickstart.ports['8080']}/.well-known/acme-challenge/tok-1"
    assert try_line(line, quickstart.top).strip() == "tok-1.thumb"
