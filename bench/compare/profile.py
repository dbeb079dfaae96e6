#!/usr/bin/python3
"""./dev profile ROW...: whose instructions a request costs. What remains in edgemux's hands, function by function.

User space is counted by callgrind, as the difference of N and 2N requests, which no other load on the machine changes.
How much of the time is the kernel's is told by a run at full speed (/proc/PID/stat).
"""

import argparse
import collections
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from measure import Client, h2load
from peers import KINDS, OTHER_CPU, Origins, Peer, find_binary
from processes import Failure
from rows import ROWS

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENTS = 32
LIBRARY_OF_TLS = re.compile(r"libssl|libcrypto")


def parse_arguments():
    rows = {row.key: row for row in ROWS if not row.idle}
    parser = argparse.ArgumentParser(prog="./dev profile", description=__doc__.split("\n\n")[0])
    parser.add_argument("rows", nargs="+", choices=rows, metavar="ROW", help="of " + ", ".join(rows))
    parser.add_argument("--peer", default="edgemux", choices=[k for k in KINDS if k != "floor"])
    parser.add_argument("--binary", type=pathlib.Path, help="another build of it")
    parser.add_argument("--requests", type=int, help="N; default 2000, 4000 over HTTP/2, fewer where requests are large or new")
    parser.add_argument("--functions", type=int, default=30, help="so many are listed")
    parser.add_argument("--base-port", type=int, default=22100)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--out", type=lambda text: pathlib.Path(text).resolve(), default=ROOT / "build/profile")
    options = parser.parse_args()
    options.rows = [rows[key] for key in options.rows]
    return options


class Profile:
    def __init__(self, options):
        self.options = options
        shutil.rmtree(options.out, ignore_errors=True)
        options.out.mkdir(parents=True)
        options.out.chmod(0o755)
        self.load = options.build / "bench/compare/compare_load"
        self.origins = Origins(options.out, options.build, options.base_port)
        binary = options.binary.resolve() if options.binary else find_binary(options.peer, options.build)
        self.peer = Peer(options.peer, options.peer, binary, options.out, options.base_port + 10, self.origins)

    def instructions(self, row, count):
        """{(object, function): instructions} of a process that answers `count` requests."""
        out = self.options.out / f"{row.key}.{count}"
        self.peer.prefix = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--"]
        self.peer.start(patience=120)
        process = self.peer.processes[0]
        try:
            if row.streams:
                h2load(self.options.out / "load.log", self.peer, row, CLIENTS // 2, count, 600)
            else:
                with Client(self.load, self.options.out / "load.log", self.peer, row, CLIENTS, 600, "--requests", count) as client:
                    client.go()
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            self.peer.stop()
            self.peer.prefix = []
        done = subprocess.run(["callgrind_annotate", "--threshold=100", "--auto=no", "--show=Ir", out], capture_output=True, text=True, check=True)
        lines = []
        places = {}
        for line in done.stdout.splitlines():
            match = re.match(r"\s*([\d,]+) \([ \d.]+%\)\s+(.*?)(?: \[(\S+)\])?$", line)
            if match and ":" in match[2]:
                name = match[2].split(":", 1)[1]
                lines.append((name, int(match[1].replace(",", ""))))
                if match[3]:
                    places[name] = pathlib.Path(match[3]).name
        found = collections.Counter()
        for name, number in lines:  # what was inlined from a header has a line of its own, without the object
            found[places.get(name, "?"), name] += number
        return found

    def times(self, row):
        """(microseconds in user space, in the kernel) per request, in a run at full speed."""
        self.peer.start()
        try:
            if row.streams:
                before = self._ticks()
                h2load(self.options.out / "load.log", self.peer, row, CLIENTS // 2, 40_000, 120)
                return [1e6 * (b - a) / os.sysconf("SC_CLK_TCK") / 40_000 for a, b in zip(before, self._ticks())]
            with Client(self.load, self.options.out / "load.log", self.peer, row, CLIENTS, 60, "--seconds", 3, "--warmup", 0.3) as client:
                before = self._ticks()
                result = client.go()
                spent = [b - a for a, b in zip(before, self._ticks())]
            return [1e6 * ticks / os.sysconf("SC_CLK_TCK") / result["requests"] for ticks in spent]
        finally:
            self.peer.stop()

    def _ticks(self):
        total = [0, 0]
        for pid in self.peer.pids:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total = [total[0] + int(fields[11]), total[1] + int(fields[12])]
        return total

    def show(self, row):
        count = self.options.requests or (4000 if row.streams else 200 if row.close else 128 if row.body > 1 << 16 else 2000)
        once, twice = self.instructions(row, count), self.instructions(row, 2 * count)
        each = {what: (twice[what] - once[what]) / count for what in twice if twice[what] != once[what]}
        objects = collections.Counter()
        for (place, _), number in each.items():
            objects[place] += number
        total = sum(objects.values())
        own = pathlib.Path(self.peer.binary).name
        print(f"\n## {row.key}: {row.title}\n\nuser space: {total:.0f} instructions per request; difference of {count} and {2 * count} requests")
        for place, number in objects.most_common(8):
            print(f"  {number:10.0f}  {100 * number / total:5.1f} %  {place}")
        user, kernel = self.times(row)
        tls = sum(number for place, number in objects.items() if LIBRARY_OF_TLS.match(place)) / total
        share = user / (user + kernel) if user + kernel > 0 else 0
        print(f"time: {user:.1f} us in user space, {kernel:.1f} us in the kernel per request")
        print(f"in the kernel's and OpenSSL's hands: {100 * (1 - share + share * tls):.0f} % "
              f"(kernel {100 * (1 - share):.0f} %, OpenSSL {100 * share * tls:.0f} %, {own} {100 * share * objects[own] / total:.0f} %)")
        print(f"what remains in {own}, instructions per request:")
        mine = sorted(((number, name) for (place, name), number in each.items() if place == own), reverse=True)
        for number, name in mine[:self.options.functions]:
            print(f"  {number:8.0f}  {name[:150]}")

    def run(self):
        self.origins.start()
        try:
            for row in self.options.rows:
                self.show(row)
        finally:
            self.origins.stop()


def main():
    options = parse_arguments()
    try:
        Profile(options).run()
    except Failure as failure:
        sys.exit(f"profile: {failure}")


if __name__ == "__main__":
    main()
