"""One cell at a time: work done by the load program between two readings of what the proxy has cost so far."""

import json
import os
import re
import select
import signal
import subprocess
import time

from peers import OTHER_CPU
from processes import Failure, cpu_ns, pss_kib, start, stop, tree

DATA_CALLS = {"read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile",
              "splice", "tee", "vmsplice"}
WAITING_CALLS = {"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}
SETTLE = 0.02  # closes that the proxy still has before it


class Client:
    """The load program: from __enter__ on all its connections stand and every request has ended."""

    def __init__(self, program, log, peer, row, clients, patience, *more):
        self.command = [program, "--port", str(peer.ports[row.port]), "--clients", str(clients), *row.load_arguments(), *map(str, more)]
        self.log = log
        self.patience = patience

    def __enter__(self):
        self.process = start(self.command, OTHER_CPU, self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            line = self._line()
            if line != "ready":
                raise Failure(json.loads(line)["error"])
        except BaseException:
            stop(self.process)
            raise
        return self

    def go(self):
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()
        result = json.loads(self._line())
        if result["errors"]:
            raise Failure(f"{result['errors']} failed requests: {result['error']}")
        if not result["requests"]:
            raise Failure("not one answer")
        return result

    def _line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], self.patience)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        if not line:
            raise Failure("the client said nothing" if not ready else "the client ended; see load.log")
        return line

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        stop(self.process)
        self.process.stdout.close()


def h2load(log, peer, row, connections, count, patience, *more):
    """`count` requests over HTTP/2, so many streams at a time as the row says; returns (what h2load said, seconds)."""
    command = ["h2load", "-n", str(count), "-c", str(connections), "-m", str(row.streams), "--connect-to",
               f"127.0.0.1:{peer.ports[row.port]}", *more, f"https://{row.host}:{peer.ports[row.port]}/{row.body}"]
    client = start(command, OTHER_CPU, log, stdout=subprocess.PIPE)
    try:
        said = client.communicate(timeout=patience)[0].decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        raise Failure("h2load does not end") from error
    finally:
        stop(client)
    finished = re.search(r"finished in ([\d.]+)(us|ms|s),", said)
    if f"{count} succeeded, 0 failed, 0 errored" not in said or not finished or "Application protocol: h2" not in said:
        raise Failure("h2load: " + " ".join(said.split())[-200:])
    return said, float(finished[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[finished[2]]


class Measure:
    def __init__(self, programs, directory, quick):
        self.quick = quick
        self.load = programs / "bench/compare/compare_load"
        self.log = directory / "load.log"
        self.trace = directory / "strace.out"

    def cell(self, peer, row, clients, seconds, warmup, rate=None):
        """CPU time per unit, rate and latencies. With `rate`, requests are due at that rate, and the client is the origin, too."""
        if row.streams:
            return self.streams_cell(peer, row, clients, seconds)
        more = ["--rate", rate, "--origin", peer.origins.served] if rate else []
        with Client(self.load, self.log, peer, row, clients, seconds + 60, "--seconds", seconds, "--warmup", warmup, *more) as client:
            time.sleep(SETTLE)
            before = cpu_ns(peer.pids)
            result = client.go()
            time.sleep(SETTLE)
            cost = cpu_ns(peer.pids) - before
        per_unit = cost / result["bytes"] if row.unit == "cpu-s/GB" else cost / 1000 / result["requests"]
        done = result["requests"] / result["seconds"]
        if rate and done < 0.97 * rate:
            raise Failure(f"overloaded: {done:.0f} of {rate:.0f} requests/s")
        return {"figure": per_unit, "rate": done, "p50_us": result["p50_us"], "p99_us": result["p99_us"],
                "p99_of_windows_us": result["p99_of_windows_us"], "requests": result["requests"], "cpu_ns": cost, "busy": cost / 1e9 / result["seconds"],
                "reconnects": result["reconnects"], "tls": result["tls"]}

    def streams_cell(self, peer, row, clients, seconds):
        """The same by h2load, which speaks HTTP/2; its handshakes are in the figure, for all alike."""
        log = self.log.with_name("h2load.tsv")
        log.unlink(missing_ok=True)
        connections = max(1, clients // 2)
        count = int(max(500, seconds * 15_000) // connections * connections)
        before = cpu_ns(peer.pids)
        said, took = h2load(self.log, peer, row, connections, count, seconds * 20 + 60, f"--log-file={log}")
        time.sleep(SETTLE)
        cost = cpu_ns(peer.pids) - before
        times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
        return {"figure": cost / 1000 / count, "rate": count / took, "p50_us": times[len(times) // 2],
                "p99_us": times[len(times) * 99 // 100], "requests": count, "cpu_ns": cost, "busy": cost / 1e9 / took,
                "reconnects": 0, "tls": " ".join(re.findall(r"^(?:TLS Protocol|Cipher|Server Temp Key): (\S+)", said, re.M))}

    def idle(self, peer, row, connections):
        """KiB of Pss per connection that has answered once and waits; the peer must be fresh, and is asked once before."""
        with Client(self.load, self.log, peer, row, 1, 60, "--requests", 1) as client:
            client.go()
        before = self._settled_pss(peer)
        with Client(self.load, self.log, peer, row, connections, 120, "--requests", connections, "--rate", 2000) as client:
            after = self._settled_pss(peer)
            result = client.go()  # each of them, in turn, must still answer
        if result["reconnects"]:
            raise Failure(f"{result['reconnects']} of {connections} connections did not stay")
        return {"figure": (after - before) / connections, "before_kib": before, "after_kib": after, "connections": connections}

    def _settled_pss(self, peer, patience=6):
        last, end = None, time.monotonic() + patience
        while True:
            time.sleep(0.2 if self.quick else 0.5)
            now = pss_kib(peer.pids)
            if last is not None and abs(now - last) <= max(16, last // 500) or time.monotonic() > end:
                return now
            last = now

    def system_calls(self, peer, row, clients):
        """Data, waiting and all system calls per request, on connections that stand unless the row makes new ones."""
        count = row.traced // (4 if self.quick else 1)
        if row.streams:
            connections = max(1, clients // 2)
            count = count // connections * connections
            self._traced(peer, lambda: h2load(self.log, peer, row, connections, count, 120))
        else:
            with Client(self.load, self.log, peer, row, clients, 120, "--requests", count) as client:
                count = self._traced(peer, client.go)["requests"]
        calls = {}
        for line in self.trace.read_text().splitlines():
            match = re.match(r"\s*(\d+)\s+(?:\d+\s+)?([a-z_0-9]+)\s*$", line)
            if match and match[2] != "total":
                calls[match[2]] = int(match[1]) / count
        return {"data": sum(n for name, n in calls.items() if name in DATA_CALLS),
                "waiting": sum(n for name, n in calls.items() if name in WAITING_CALLS), "all": sum(calls.values()), "calls": calls}

    def _traced(self, peer, work):
        pids = tree(peer.pids)
        command = ["strace", "-f", "-c", "-U", "calls,errors,name", "-o", self.trace, *(a for pid in pids for a in ("-p", str(pid)))]
        strace = start(command, OTHER_CPU, self.log)
        try:
            self._wait_until_traced(pids, strace)
            result = work()
            time.sleep(SETTLE)
            return result
        finally:
            if strace.poll() is None:
                os.kill(strace.pid, signal.SIGINT)
                try:
                    strace.wait(10)
                except subprocess.TimeoutExpired:
                    stop(strace)

    @staticmethod
    def _wait_until_traced(pids, strace, patience=10):
        end = time.monotonic() + patience
        while time.monotonic() < end and strace.poll() is None:
            tasks = [f"/proc/{pid}/task/{task}/status" for pid in pids for task in os.listdir(f"/proc/{pid}/task")]
            if all(re.search(r"^TracerPid:\s*[1-9]", open(task).read(), re.MULTILINE) for task in tasks):
                return
            time.sleep(0.02)
        raise Failure("strace could not attach")
