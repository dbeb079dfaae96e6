"""Counts what the proxy takes from the heap, or its data system calls, thread by thread, while it runs."""

import mmap
import os
import struct
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SLOT, SLOTS, LAST = 128, 256, 14  # as in thread_counts.h


class Counts:
    """Start the proxy with `env`, then ask for `marks` before and after, and for what happened `since`."""

    def __init__(self, folder, what):
        library, path = Path(folder) / f"count_{what}.so", Path(folder) / what
        subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-O2", "-fPIC", "-shared", "-I", ROOT, "-o", library,
                        ROOT / f"tests/support/count_{what}.cc"], check=True)
        path.write_bytes(bytes(SLOT * SLOTS))
        self._file = open(path, "r+b")
        self._map = mmap.mmap(self._file.fileno(), SLOT * SLOTS)
        self.env = {"LD_PRELOAD": str(library), "EDGEMUX_COUNTS": str(path)}

    def marks(self):
        """{thread: how often so far}"""
        slots = (struct.unpack_from("QQ", self._map, i * SLOT) for i in range(SLOTS))
        return {thread: count for thread, count in slots if thread}

    def since(self, before):
        """{thread: what it counted since the marks `before`, the last ones at least, and None for each other}"""
        found = {}
        for i in range(SLOTS):
            thread, count, *last = struct.unpack_from(f"QQ{LAST}Q", self._map, i * SLOT)
            new = count - before.get(thread, 0)
            if thread and new:
                found[thread] = [last[n % LAST] for n in range(max(count - LAST, count - new), count)] + [None] * (new - LAST)
        return found

    def close(self):
        self._map.close()
        self._file.close()
