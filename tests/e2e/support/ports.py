"""Free ports below the ephemeral range, without collisions between the workers of pytest-xdist."""

import os
import socket

LOWEST, HIGHEST = 12_000, 32_000
SHARES = 16


class Ports:
    """Hands out each port of this worker's share once before it begins again; every port is tried with a bind."""

    def __init__(self, worker=None):
        name = worker or os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        index = int("".join(c for c in name if c.isdigit()) or 0) % SHARES
        self._span = (HIGHEST - LOWEST) // SHARES
        self._base = LOWEST + index * self._span
        # Two runs on one machine begin at different places of the share.
        self._next = os.getpid() * 37 % self._span

    def take(self):
        for _ in range(self._span):
            port = self._base + self._next
            self._next = (self._next + 1) % self._span
            if _is_free(port):
                return port
        raise RuntimeError("no free port is left in this worker's share")


def _is_free(port):
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                except OSError:
                    return False
    return True


PORTS = Ports()


def free_port():
    return PORTS.take()
