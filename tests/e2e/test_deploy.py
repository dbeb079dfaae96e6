"""What deploy/ holds: the systemd unit as systemd itself judges it, the example configuration, the container's recipe."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.proxy import BINARY, edgemux

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy/edgemux.service"


def settings(text):
    """{key: [values]} of a unit file."""
    found = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)?", text).groups()
    return int(number) * (60 if unit == "m" else 1)


@pytest.fixture
def unit(tmp_path):
    """The unit with a binary that exists, since verify wants to see one."""
    copy = tmp_path / "edgemux.service"
    copy.write_text(UNIT.read_text().replace("/usr/bin/edgemux", str(BINARY)))
    return copy


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_systemd_accepts_the_unit(unit):
    done = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_rejects_a_spoilt_unit(unit):
    unit.write_text(unit.read_text().replace("WatchdogSec=30s", "WatchdogSec=often"))
    done = analyze("verify", "--man=no", "--recursive-errors=no", unit)
    assert (done.returncode, "often" in done.stderr) == (1, True)


def test_the_unit_is_hardened(unit):
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", unit)
    exposure = re.search(r"Overall exposure level for edgemux.service: ([\d.]+)", done.stdout)
    assert exposure and float(exposure.group(1)) <= 2.0, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_unit_lets_the_machine_tell_its_addresses():
    """getifaddrs() asks for them over netlink; without them nobody knows which endpoint is a listener of our own."""
    assert "AF_NETLINK" in settings(UNIT.read_text())["RestrictAddressFamilies"][0].split()


def test_the_stop_timeout_is_longer_than_the_drain():
    drain = re.search(r"drain: (\w+)", (ROOT / "deploy/edgemux.example.yaml").read_text()).group(1)
    assert seconds(settings(UNIT.read_text())["TimeoutStopSec"][0]) > seconds(drain)


def test_a_drain_that_cuts_somebody_off_is_an_ordinary_stop():
    assert settings(UNIT.read_text())["SuccessExitStatus"] == ["3"]


def test_the_journal_drops_no_lines():
    assert settings(UNIT.read_text())["LogRateLimitIntervalSec"] == ["0"]


def test_logrotate_accepts_its_file(tmp_path):
    text = (ROOT / "deploy/edgemux.logrotate").read_text()
    assert "USR1 edgemux.service" in text and "\n/var/log/edgemux/*.log {\n" in text
    if shutil.which("logrotate"):
        copy = tmp_path / "edgemux"
        copy.write_text(text)
        copy.chmod(0o644)
        done = subprocess.run(["logrotate", "--debug", "--state", tmp_path / "state", copy], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "error:" not in done.stderr, done.stderr


def test_the_example_configuration_passes_check(tmp_path):
    shutil.copy(ROOT / "deploy/edgemux.example.yaml", tmp_path / "edgemux.yaml")
    done = edgemux("check", "--config", tmp_path / "edgemux.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_runtime_packages_are_those_of_the_libraries_that_the_binary_loads():
    """The container installs the group `runtime`; a library whose package is not listed would keep it from starting."""
    group = (ROOT / "deploy/packages").read_text().split("[runtime]\n")[1].split("\n[")[0]
    listed = {line for line in group.splitlines() if line and not line.startswith("#")}
    always_there = {"libc6", "libstdc++6", "libgcc-s1"}
    needed = subprocess.run(["readelf", "-d", BINARY], capture_output=True, text=True, check=True).stdout
    sonames = [name for name in re.findall(r"Shared library: \[(.+?)\]", needed) if "san.so" not in name]
    loaded = {}
    for line in subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout.splitlines():
        if match := re.match(r"\s*(\S+) => (/\S+)", line):
            loaded[match.group(1)] = match.group(2)
    missing = []
    for soname in sonames:
        if soname.startswith("ld-linux"):
            continue
        found = subprocess.run(["dpkg-query", "-S", f"*/{Path(loaded[soname]).name}"], capture_output=True, text=True, check=True)
        packages = {line.split(":")[0] for line in found.stdout.splitlines()}
        if not packages & (listed | always_there):
            missing.append((soname, packages))
    assert not missing
