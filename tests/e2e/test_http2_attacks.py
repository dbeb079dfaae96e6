"""HTTP/2 floods by small clients, each beside a good client that must not notice."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.attacker import DATA, FLOODS, HEADERS, RST, STREAMS, frame, head, zero_windows
from support.origin import pattern
from support.proxy import Growth, sanitized
from support.waiting import patience, until

CALM = 11
PER_ATTACKER = 256  # KiB


@pytest.mark.sanitizer
@pytest.mark.parametrize("flood", FLOODS, ids=lambda f: f.__name__)
def test_a_flood_is_cut_and_a_good_client_loses_nothing(site, attackers, good, flood):
    site.start(workers=1)
    friend = good()
    several, held = [attackers() for _ in range(8)], []
    for attacker in several:
        growth = Growth(site.edge)  # of this one: memory that the one before gave back is in it already
        began = time.monotonic()
        attacker.flood(flood)
        friend.ask()
        assert attacker.ends() in (CALM, None) and attacker.closed
        assert time.monotonic() - began < patience(2)
        held.append(growth.most())
    assert any(attacker.goaway == CALM for attacker in several), "one of them at least gets to read why"
    friend.ask()
    assert len(site.edge.wait_access(len(several), kind="connection", reason="flood")) == len(several)
    assert site.edge.metrics().total("edgemux_drops_total", reason="flood") >= len(several)
    site.edge.wait_log(r"listener https: client 127\.0\.0\.1: .*([Tt]oo many|too small|decodes to)")
    print(f"{flood.__name__}: {held} KiB")
    assert max(held) < PER_ATTACKER or sanitized()


@pytest.mark.sanitizer
def test_requests_that_are_taken_back_at_once_reach_no_upstream(site, attackers):
    """But for the first few, which anybody may take back. What is wanted is answered as before."""
    site.start(workers=1)
    client = attackers()
    client.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/taken-back")) + frame(RST, 0, 2 * i + 1, b"\0\0\0\x08") for i in range(60)))
    client.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/bytes/100")) for i in range(60, 70)))
    client.until(DATA, 10)
    assert client.goaway is None and client.refused == 0
    client.close()
    assert len(site.edge.wait_access(15)) == 15
    assert len(site.edge.wait_access(10, path="/bytes/100", status=200)) == 10
    assert len([r for r in site.origin.requests if r.target == "/taken-back"]) <= 5


@pytest.mark.sanitizer
def test_a_doubted_client_that_takes_everything_back_is_idle(site, attackers):
    """The last one too, which no upstream ever saw."""
    site.start(workers=1, timeouts={"idle": "1s"})
    client = attackers()
    for i in range(5):
        client.send(frame(HEADERS, 5, 2 * i + 1, head(b"/gate/a")) + frame(RST, 0, 2 * i + 1, b"\0\0\0\x08"))
    client.send(frame(HEADERS, 5, 11, head(b"/gate/kept")))
    until(lambda: any(r.target == "/gate/kept" for r in site.origin.requests), "one is under way")
    client.send(frame(HEADERS, 5, 13, head(b"/gate/b")) + frame(RST, 0, 11, b"\0\0\0\x08") + frame(RST, 0, 13, b"\0\0\0\x08"))
    client.ends()
    assert client.goaway == 0


ATTACKERS = 2
ROUNDS = 9  # of each; the first one warms up
REQUESTS = {"rapid_reset": STREAMS, "made_you_reset": STREAMS, "zero_windows": STREAMS, "hpack_bomb": 2}  # of an attack, else 1


@pytest.mark.full
@pytest.mark.parametrize("attack", [*FLOODS, zero_windows], ids=lambda f: f.__name__)
def test_a_good_client_keeps_its_pace_beside_attackers(site, nginx, blackhole, good, attack):
    """p99 of a good client beside attackers who come again as soon as they are cut, and in turns, as the baseline, beside as
    many visitors per second who do no harm: they ask for as many answers as the attack does, and take them. Whoever comes
    costs the only worker a handshake, and this machine the work of his own end; that is nobody's attack. What is compared is
    what attackers cost beyond it. Needs a quiet machine. All parties are processes of their own, so that the clock measures
    the proxy and not this interpreter."""
    backend = nginx("pace")
    (backend.root / "bytes").mkdir()
    for size in (1000, 100_000):
        (backend.root / "bytes" / str(size)).write_bytes(pattern(size))
    site.start(site.route({"path": "/upload", "upstream": blackhole.address}, {"path": "/", "upstream": backend.address}), workers=1)
    friend = good()
    lasts = 3.5 if attack is zero_windows else 1  # seconds: several waves of those that wait to be cut
    requests = REQUESTS.get(attack.__name__, 1)

    def beside(name, every):
        """p99 in seconds, how many of the others came, and how many a second."""
        others = [subprocess.Popen([sys.executable, "-m", "support.attacker", str(site.edge.https), str(site.authority.path), name,
                                    str(requests), str(every)], cwd=Path(__file__).parent, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True) for _ in range(ATTACKERS)]
        there = site.edge.metrics().total("edgemux_connections_total", listener="https")
        until(lambda: site.edge.metrics().total("edgemux_connections_total", listener="https") > there + ATTACKERS, "they are there")
        times, began = [], time.perf_counter()
        while len(times) < 1000 or time.perf_counter() - began < lasts:
            asked = time.perf_counter()
            friend.ask()
            times.append(time.perf_counter() - asked)
        came = sum(int(other.communicate("", timeout=patience(20))[0]) for other in others)
        return sorted(times)[-len(times) // 100 - 1], came, came / (time.perf_counter() - began)

    attacked, visited = [], []
    for _ in range(ROUNDS):
        cut = site.edge.metrics().total("edgemux_drops_total", reason="flood")
        p99, came, rate = beside(attack.__name__, 0)
        cuts = site.edge.metrics().total("edgemux_drops_total", reason="flood") - cut
        assert min(came, cuts) >= 20, (came, cuts)
        attacked.append(p99)
        visited.append(beside("visit", ATTACKERS / rate)[0])
    here, there = statistics.median(attacked) * 1000, statistics.median(visited) * 1000
    print(f"\n{attack.__name__}: p99 {here:.2f} ms beside {rate:.0f} attacks a second, {there:.2f} ms beside as many visits, "
          f"ratio {here / there:.2f}")
    assert here <= 1.3 * there
