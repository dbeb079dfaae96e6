"""Load from a few clients while a test changes things."""

import threading
import time

from .site import HOST
from .waiting import until


class Load:
    """GETs on kept connections, one after the other on each, or on fresh ones. `bad`: when each began that got no 200,
    and what it got."""

    def __init__(self, site, connections=6, target="/", transport="http", fresh=False):
        self.site, self.target, self.transport, self.fresh = site, target, transport, fresh
        self.bad, self.count, self._stop = [], 0, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        wire = self.site.wire(self.transport)
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                answer = wire.ask(self.target, HOST)
                self.count += 1
                if answer.status != 200:
                    self.bad.append((began, answer))
                if not self.fresh:
                    continue
            except (OSError, AssertionError) as error:
                self.bad.append((began, error))
            wire.close()
            if not self._stop.is_set():
                wire = self.site.wire(self.transport)
        wire.close()

    def more(self, count):
        goal = self.count + count
        until(lambda: self.count >= goal, f"{count} more requests", within=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
