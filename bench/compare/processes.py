"""Processes of a comparison: started on one core, found again with all their children, and gone when it ends."""

import ctypes
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
pinned = True  # each to its core; else all run wherever the scheduler puts them


class Failure(Exception):
    """Something of one peer or one cell went wrong; the message says what."""


def start(command, cpu, log, environment=None, **pipes):
    """A process in a group of its own, on one core, that ends when this program does.

    Not in a session of its own: the scheduler shares a core out by sessions (autogroup), and client and proxy would be
    strangers to each other.
    """

    def prepare():
        os.setpgid(0, 0)
        if pinned:
            os.sched_setaffinity(0, {cpu})
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)

    with open(log, "ab") as output:
        pipes.setdefault("stdin", subprocess.DEVNULL)
        pipes.setdefault("stdout", output)
        try:
            return subprocess.Popen(command, stderr=output, preexec_fn=prepare,
                                    env={**os.environ, **(environment or {})}, **pipes)
        except OSError as error:
            raise Failure(f"cannot start {command[0]}: {error.strerror}") from error


def stop(process, patience=5):
    """Ends a process started above and whatever is left of its group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            pass
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass


def wait_for_port(port, process, log, patience=10):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            text = pathlib.Path(log).read_text(errors="replace").strip().splitlines()
            raise Failure(f"exit {process.returncode} at start: {text[-1] if text else 'no message'}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failure(f"nothing listens on port {port}")


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def tree(pids):
    """These processes and all below them."""
    found, ahead = [], list(pids)
    while ahead:
        pid = ahead.pop()
        found.append(pid)
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            try:
                ahead += map(int, (task / "children").read_text().split())
            except OSError:
                continue
    return found


def cpu_ns(pids):
    """Nanoseconds on a core, by the scheduler's count, of all threads of these processes and of those below them."""
    total = 0
    for pid in tree(pids):
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total


def pss_kib(pids):
    total = 0
    for pid in tree(pids):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total
