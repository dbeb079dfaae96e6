"""A network namespace of a test's own, joined to ours by one link, whose answers can be dropped. Needs root."""

import contextlib
import ctypes
import itertools
import os
import subprocess

_numbers = itertools.count()


class Namespace:
    """`v4` and `v6` are addresses in it. drop(near): whatever would be sent to our side's address is dropped there."""

    def __init__(self):
        number = next(_numbers)
        index = (os.getpid() * 8 + number) % 16384
        self.name = f"emx{os.getpid()}n{number}"[-15:]
        a, b = index // 64, index % 64 * 4
        self.near_v4, self.v4 = f"10.213.{a}.{b + 1}", f"10.213.{a}.{b + 2}"
        self.near_v6, self.v6 = f"fd00:e5:{index:x}::1", f"fd00:e5:{index:x}::2"
        self._inside = ("ip", "netns", "exec", self.name)
        self._programs = []
        self._run("ip", "netns", "add", self.name)
        try:
            self._run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "inside", "netns", self.name)
            for prefix, link, v4, v6 in (((), self.name, self.near_v4, self.near_v6),
                                         (self._inside, "inside", self.v4, self.v6)):
                self._run(*prefix, "ip", "addr", "add", f"{v4}/30", "dev", link)
                self._run(*prefix, "ip", "addr", "add", f"{v6}/64", "dev", link, "nodad")
                self._run(*prefix, "ip", "link", "set", link, "up")
        except BaseException:
            self.close()
            raise

    def _run(self, *command, check=True):
        done = subprocess.run(command, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

    def drop(self, near):
        """What comes from there is taken; what is answered goes nowhere."""
        bits = 128 if ":" in near else 32
        self._run(*self._inside, "ip", "-6" if ":" in near else "-4", "route", "add", "blackhole", f"{near}/{bits}")

    def spawn(self, *command):
        """A program inside; it ends with the namespace."""
        self._programs.append(subprocess.Popen([*self._inside, *command], stdout=subprocess.DEVNULL))

    @contextlib.contextmanager
    def entered(self):
        """Sockets that this thread makes meanwhile are inside, and stay there."""
        libc, network = ctypes.CDLL(None, use_errno=True), 0x40000000
        with open("/proc/thread-self/ns/net") as ours, open(f"/run/netns/{self.name}") as inside:
            assert libc.setns(inside.fileno(), network) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(ours.fileno(), network) == 0, os.strerror(ctypes.get_errno())

    def close(self):
        for program in self._programs:
            program.kill()
            program.wait()
        self._run("ip", "netns", "del", self.name, check=False)
