"""A real name server: Knot, on an address of its own, with one zone that a test rewrites."""

import os
import subprocess
from pathlib import Path

from .waiting import until


class Knot:
    """Serves `zone` on 127.53.x.y:53; `prefix` starts a program that asks it and nobody else. Needs root."""

    def __init__(self, folder, zone="app.test"):
        self.folder, self.zone, self.serial = Path(folder), zone, 0
        self.folder.mkdir(parents=True)
        number = os.getpid()
        self.address = f"127.53.{number // 250 % 250}.{number % 250 + 1}"
        self.records = []
        (self.folder / "knot.conf").write_text(f"""
server:
    rundir: "{self.folder}"
    listen: {self.address}@53
database:
    storage: "{self.folder}"
zone:
  - domain: {zone}
    file: "{self.folder}/zone"
    journal-content: none
    semantic-checks: off
log:
  - target: stderr
    any: warning
""")
        (self.folder / "resolv.conf").write_text(f"nameserver {self.address}\noptions timeout:1 attempts:1\n")
        self.prefix = ["unshare", "-m", "sh", "-c",
                       f'mount --bind "{self.folder}/resolv.conf" /etc/resolv.conf && exec "$@"', "sh"]
        self._process = None
        self._write([])
        self.start()

    def start(self):
        self._errors = open(self.folder / "errors", "ab")
        self._process = subprocess.Popen(["/usr/sbin/knotd", "-c", str(self.folder / "knot.conf")],
                                         stdout=self._errors, stderr=self._errors)
        until(lambda: self._control("zone-status", self.zone).returncode == 0,
              lambda: f"knot answers; it says {(self.folder / 'errors').read_text()}")

    def set(self, *records):
        """The records of the zone from now on: "api 0 A 127.0.0.1"."""
        self._write(records)
        done = self._control("-b", "zone-reload", self.zone)
        assert done.returncode == 0, done.stderr

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def close(self):
        if self._process.poll() is None:
            self.kill()

    def _write(self, records):
        self.serial += 1
        lines = [f"@ 0 SOA ns.{self.zone}. admin.{self.zone}. {self.serial} 3600 900 86400 0", f"@ 0 NS ns.{self.zone}.",
                 f"ns 0 A {self.address}", *records]
        (self.folder / "zone").write_text(f"$ORIGIN {self.zone}.\n" + "\n".join(lines) + "\n")

    def _control(self, *arguments):
        return subprocess.run(["/usr/sbin/knotc", "-c", str(self.folder / "knot.conf"), *arguments],
                              capture_output=True, text=True)
