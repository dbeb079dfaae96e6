"""HTTP/2 floods by small clients, each beside a good client that must not notice."""

import contextlib
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.attacker import FLOODS
from support.origin import pattern
from support.proxy import Edgemux, Growth, sanitized
from support.site import Site
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


@pytest.mark.full
@pytest.mark.parametrize("flood", FLOODS[:5], ids=lambda f: f.__name__)
def test_a_good_client_keeps_its_pace_beside_attackers(site, nginx, good, flood, tmp_path):
    """p99 of a good client of the proxy that is attacked, and in turns, as the baseline, while the same attacker attacks
    another proxy beside it: what the attacker itself takes of this machine is the same. Needs a quiet machine. Attacker and
    origin are processes of their own, so that the clock measures the proxy and not this interpreter."""
    backend = nginx("pace")
    (backend.root / "bytes").mkdir()
    for size in (1000, 100_000):
        (backend.root / "bytes" / str(size)).write_bytes(pattern(size))
    other = Site(Edgemux(tmp_path / "other"), site.origin, site.authority)
    sites = (other, site)
    with contextlib.ExitStack() as stack:
        stack.callback(other.edge.discard)
        for one in sites:
            one.start(one.route({"path": "/", "upstream": backend.address}))
        friend = good()

        def p99():
            times = []
            for _ in range(1000):
                began = time.perf_counter()
                friend.ask()
                times.append(time.perf_counter() - began)
            return sorted(times)[-11]

        def attacked(one):
            attack = subprocess.Popen([sys.executable, "-m", "support.attacker", str(one.edge.https),
                                       str(one.authority.path), flood.__name__], cwd=Path(__file__).parent,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            cut = one.edge.metrics().total("edgemux_drops_total", reason="flood")
            until(lambda: one.edge.metrics().total("edgemux_drops_total", reason="flood") > cut, "the attack goes on")
            took = p99()
            return took, int(attack.communicate("", timeout=patience(20))[0])

        elsewhere, here = zip(*((attacked(other), attacked(site)) for _ in range(15)))
    cuts = sum(count for _, count in here)
    there, here = (statistics.median(took for took, _ in rounds) * 1000 for rounds in (elsewhere, here))
    print(f"\np99 {there:.2f} ms beside an attack elsewhere, {here:.2f} ms beside {cuts} cuts, ratio {here / there:.2f}")
    assert cuts > 20
    assert here <= 1.3 * there
