"""A certificate authority that speaks ACME (pebble with its DNS server), and the clients that ask it for certificates."""

import json
import os
import socket
import ssl
import subprocess

from .ports import free_port
from .waiting import patience, until


class Pebble:
    """pebble validates HTTP-01 at `http_port` of 127.0.0.1, whatever the name: its DNS server says so."""

    def __init__(self, folder, authority, http_port):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca = folder, authority.path
        dns, dns_admin, listen, admin, tls = (free_port() for _ in range(5))
        pair = authority.issue("localhost", "pebble.test")
        config = {"pebble": {
            "listenAddress": f"127.0.0.1:{listen}", "managementListenAddress": f"127.0.0.1:{admin}",
            "certificate": str(pair.cert), "privateKey": str(pair.key),
            "httpPort": http_port, "tlsPort": tls, "ocspResponderURL": "", "externalAccountBindingRequired": False,
        }}
        (folder / "pebble.json").write_text(json.dumps(config))
        self.directory = f"https://localhost:{listen}/dir"
        self._admin = admin
        self._logs = []
        self._processes = [
            self._run("dns", ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-http01", "", "-https01", "",
                              "-tlsalpn01", "", "-management", f"127.0.0.1:{dns_admin}",
                              "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]),
            self._run("pebble", ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]),
        ]
        for port in (listen, dns_admin):
            until(lambda p=port: _listens(p), lambda: f"pebble listens; {self.log()}")

    def _run(self, name, command):
        log = open(self.folder / f"{name}.log", "wb")
        self._logs.append(log)
        environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def log(self):
        return "\n".join((self.folder / f"{n}.log").read_text(errors="replace")[-3000:] for n in ("dns", "pebble"))

    def root_context(self):
        """A client context that trusts what this pebble issues."""
        import urllib.request

        trusted = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(f"https://localhost:{self._admin}/roots/0", context=trusted,
                                    timeout=patience(10)) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())

    def certbot_webroot(self, host, webroot, config_dir):
        """certbot with --webroot; the certificate comes out in config_dir/live/HOST."""
        return self._client(
            ["certbot", "certonly", "--webroot", "-w", str(webroot), "-d", host, "--server", self.directory,
             "--non-interactive", "--agree-tos", "--register-unsafely-without-email",
             "--config-dir", str(config_dir), "--work-dir", str(self.folder / "certbot-work"),
             "--logs-dir", str(self.folder / "certbot-logs")],
            REQUESTS_CA_BUNDLE=str(self.ca))

    def lego(self, host, path, *challenge):
        """lego; the certificate comes out in path/certificates/HOST.crt and .key."""
        return self._client(
            ["lego", "--server", self.directory, "--email", "nobody@example.test", "--accept-tos",
             "--domains", host, "--path", str(path), "--http", *challenge, "run"],
            LEGO_CA_CERTIFICATES=str(self.ca))

    def _client(self, command, **environment):
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience(120),
                              env={**os.environ, **environment, "NO_PROXY": "*", "no_proxy": "*"})
        assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}\n{self.log()}"
        return done

    def close(self):
        for process in self._processes:
            process.kill()
            process.wait()
        for log in self._logs:
            log.close()


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
