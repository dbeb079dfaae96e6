#!/usr/bin/python3
"""./dev compare: edgemux beside the proxies that Debian packages, on the same paths, in one run. docs/performance.md has the method.

Interleaved: in each round every cell (row, number of clients) is run by one proxy after another, in turning order. A figure
is the median over the rounds. What is not installed, answers wrongly or fails a single request gets no figure, but its reason.
"""

import argparse
import datetime
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time

import processes
import report
from measure import Measure
from peers import KINDS, OTHER_CPU, PROXY_CPU, Origins, Peer, find_binary
from processes import Failure
from rows import ROWS

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRACED_CLIENTS = 32
RATED_CLIENTS = 32
RATED_SECONDS = 0.5  # ten of the load program's windows
RATED_ROUNDS = 21


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev compare", description=__doc__.split("\n\n")[0])
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--quick", action="store_true", help="one round of short cells, under two minutes")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="of one cell; default 3")
    parser.add_argument("--clients", type=lambda text: [int(n) for n in names(text)], help="default 1,32,256", default=[1, 32, 256])
    parser.add_argument("--only", type=names, metavar="ROW,...", help="of " + ", ".join(row.key for row in ROWS))
    parser.add_argument("--peers", type=names, metavar="NAME,...", help="of " + ", ".join(KINDS) + "; default: all")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=BINARY",
                        help="another build; NAME is a kind of the above (replaces it) or starts with one and a dash (stands beside it)")
    parser.add_argument("--two-workers", action=argparse.BooleanOptionalAction,
                        help="edgemux with two workers as well, as edgemux-2w, on the same core; default: yes, but not with --quick or --peers")
    parser.add_argument("--unpinned", action="store_true", help="proxies, client and origins run on all cores: what two workers cost on two cores")
    parser.add_argument("--connections", type=int, help="of idle rows; default 8000, quick 1000")
    parser.add_argument("--log", action="store_true", help="every proxy writes an access log into a file")
    parser.add_argument("--no-trace", action="store_true", help="no system calls (strace)")
    parser.add_argument("--no-rate", action="store_true", help="no latencies at a fixed rate")
    parser.add_argument("--base-port", type=int, default=20100)
    parser.add_argument("--edgemux", type=pathlib.Path, help="its binary; ./dev compare names the optimised build, with --quick the release build")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="where the load programs were built")
    parser.add_argument("--out", type=lambda text: pathlib.Path(text).resolve(), default=ROOT / "build/compare")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.2 if options.quick else 3)
    options.warmup = min(0.3, options.seconds / 5)
    if options.two_workers is None:
        options.two_workers = not options.quick and not options.peers
    options.connections = options.connections or (1000 if options.quick else 8000)
    known = {row.key for row in ROWS}
    if options.only and not set(options.only) <= known:
        parser.error(f"no such row: {', '.join(set(options.only) - known)}; there are {', '.join(row.key for row in ROWS)}")
    if options.base_port + 10 * 20 > 32768:
        parser.error("ports must stay below 32768: above are those that the kernel gives to clients")
    return options


def chosen_peers(options):
    """{name: (kind, binary)}"""
    found = {kind: (kind, find_binary(kind, options.build)) for kind in KINDS}
    if options.edgemux:
        found["edgemux"] = ("edgemux", options.edgemux.resolve())
    if options.two_workers:
        found["edgemux-2w"] = found["edgemux"]
        if options.peers and "edgemux-2w" not in options.peers:
            options.peers.append("edgemux-2w")
    for entry in options.peer:
        name, _, binary = entry.partition("=")
        kind = name if name in KINDS else name.split("-")[0]
        if kind not in KINDS or not binary:
            sys.exit(f"--peer {entry}: NAME=BINARY, NAME starting with one of {', '.join(KINDS)}")
        found[name] = (kind, pathlib.Path(binary).resolve())
        if options.peers and name not in options.peers:
            options.peers.append(name)
    if options.peers:
        unknown = set(options.peers) - set(found)
        if unknown:
            sys.exit(f"no such peer: {', '.join(unknown)}; there are {', '.join(found)}")
        found = {name: value for name, value in found.items() if name in options.peers}
    return found


class Comparison:
    def __init__(self, options):
        self.options = options
        self.rows = [row for row in ROWS if not options.only or row.key in options.only]
        self.directory = options.out / "run"
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.directory.chmod(0o755)
        self.measure = Measure(options.build, self.directory, options.quick)
        self.origins = Origins(self.directory, options.build, options.base_port)
        self.peers = []
        self.trouble = {}  # peer -> why it is not in the tables
        self.cells = {}  # (row, clients, peer) -> {"rounds": [...], "errors": [...]}
        self.traces, self.rated, self.rates = {}, {}, {}
        self.versions = {}
        self.started = time.monotonic()

    def say(self, text):
        end = "\r" if sys.stderr.isatty() else "\n"
        print(f"[{time.monotonic() - self.started:5.0f} s] {text:<90}", end=end, file=sys.stderr, flush=True)

    def able(self, row):
        return [p for p in self.peers if row.port in p.serves and (p.kind != "floor" or row.floor)]

    def start_all(self):
        self.origins.start()
        for i, (name, (kind, binary)) in enumerate(chosen_peers(self.options).items(), start=1):
            peer = Peer(name, kind, binary, self.directory, self.options.base_port + 10 * i, self.origins, self.options.log,
                        2 if name.startswith("edgemux-2w") else 1)
            self.peers.append(peer)
            try:
                peer.start()
                peer.verify()
                self.versions[name] = peer.version()
            except Failure as failure:
                self.peers.remove(peer)
                self.trouble[name] = str(failure)
                self.say(f"{name}: {failure}")
                peer.stop()

    def stop_all(self):
        for peer in self.peers:
            peer.stop()
        self.origins.stop()

    def note(self, store, key, function):
        cell = store.setdefault(key, {"rounds": [], "errors": []})
        try:
            cell["rounds"].append(function())
        except Failure as failure:
            cell["errors"].append(str(failure))
            self.say(f"{key}: {failure}")

    def turn(self, row, number):
        """Those who can do the row; each round begins with another one."""
        able = self.able(row)
        at = number % len(able) if able else 0
        return able[at:] + able[:at]

    def run_cells(self):
        o = self.options
        for number in range(o.rounds):
            for row in (row for row in self.rows if not row.idle):
                for clients in o.clients:
                    for peer in self.turn(row, number):
                        self.say(f"round {number + 1}/{o.rounds}: {row.key}, {clients} clients, {peer.name}")
                        self.note(self.cells, (row.key, clients, peer.name),
                                  lambda: self.measure.cell(peer, row, clients, o.seconds, o.warmup))

    def run_rated(self):
        """The same rate for all: half of what the slower one of edgemux and of the best peer did when saturated."""
        o = self.options
        for row in (row for row in self.rows if row.fixed_rate):
            done = {p: c["rate"] for p, c in report.medians(self, row.key, RATED_CLIENTS).items()}
            others = [rate for name, rate in done.items() if report.is_peer(name)]
            ours = [rate for name, rate in done.items() if name == "edgemux"]
            if others or ours:
                self.rates[row.key] = round(min([*ours, *([max(others)] if others else [])]) / 2)
        rounds = o.rounds if o.quick else max(o.rounds, RATED_ROUNDS)
        for number in range(rounds):
            for row in (row for row in self.rows if row.key in self.rates):
                for peer in self.turn(row, number):
                    self.say(f"fixed rate, round {number + 1}/{rounds}: {row.key} at {self.rates[row.key]}/s, {peer.name}")
                    self.note(self.rated, (row.key, RATED_CLIENTS, peer.name),
                              lambda: self.measure.cell(peer, row, RATED_CLIENTS, RATED_SECONDS, o.warmup, self.rates[row.key]))

    def run_traces(self):
        for row in (row for row in self.rows if not row.idle and not row.streams):
            for peer in self.able(row):
                self.say(f"system calls: {row.key}, {peer.name}")
                self.note(self.traces, (row.key, TRACED_CLIENTS, peer.name),
                          lambda: self.measure.system_calls(peer, row, TRACED_CLIENTS))

    def run_idle(self):
        """Each number from a process that has done nothing before."""
        count = self.options.connections
        for row in (row for row in self.rows if row.idle):
            for peer in self.able(row):
                self.say(f"{row.key}, {count} connections, {peer.name}")

                def fresh():
                    peer.stop()
                    peer.start()
                    return self.measure.idle(peer, row, count)

                self.note(self.cells, (row.key, count, peer.name), fresh)

    def run(self):
        self.start_all()
        self.run_cells()
        if not self.options.no_rate and RATED_CLIENTS in self.options.clients:
            with self.origins.left_to_the_client():
                self.run_rated()
        if not self.options.no_trace:
            self.run_traces()
        self.run_idle()

    def about(self):
        o = self.options
        cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
        head = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
        return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "commit": head.stdout.strip(),
                "kernel": platform.release(), "cpu": cpu, "cpus": os.cpu_count(), "load": os.getloadavg(), "rounds": o.rounds,
                "seconds": o.seconds, "clients": o.clients, "connections": o.connections, "log": o.log, "versions": self.versions,
                "pinned": not o.unpinned, "proxy_cpu": PROXY_CPU, "other_cpu": OTHER_CPU}


def main():
    options = parse_arguments()
    if not options.unpinned and not {PROXY_CPU, OTHER_CPU} <= os.sched_getaffinity(0):
        sys.exit("two cores are needed: one for the proxy, one for client and origin")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes.pinned = not options.unpinned
    comparison = Comparison(options)
    load_before = os.getloadavg()[0]
    interrupted = False
    try:
        comparison.run()
    except Failure as failure:
        sys.exit(f"compare: {failure}")
    except KeyboardInterrupt:
        interrupted = True
    finally:
        comparison.stop_all()
    about = comparison.about()
    about["load_before"] = load_before
    report.write(comparison, about, options.out)
    print(report.text(comparison, about))
    print(f"\nwritten to {options.out}: results.json, table.md, chart.svg; {time.monotonic() - comparison.started:.0f} s")
    if interrupted:
        print("interrupted: this is what there was", file=sys.stderr)
        return 130
    return 1 if report.edgemux_failed(comparison) else 0


if __name__ == "__main__":
    sys.exit(main())
