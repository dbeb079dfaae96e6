"""A proxy with two tenants: what most tests of tenants need."""

import os
import ssl


from .wire import Wire
from .written import as_yaml

ACME = "/.well-known/acme-challenge/"


def says(host, text, **more):
    return {"host": host, "on_http": "serve", "rules": [{"path": "/", "respond": {"status": 200, "body": text}}], **more}


class House:
    """A proxy with two tenants, a and b, each with a folder of its own that holds routes, certificates and tokens."""

    def __init__(self, edge, authority):
        self.edge, self.authority = edge, authority
        self.tenants = {}
        for name in ("a", "b"):
            folder = edge.folder / "tenants.d" / name
            for part in ("certs", "tokens"):
                (folder / part).mkdir(parents=True)
            self.tenants[name] = {
                "hosts": [f"{name}.example.test", f"*.{name}.example.test"],
                "networks": ["127.0.0.0/8"],
                "certificates": [{"directory": str(folder / "certs")}],
                "tokens_dir": str(folder / "tokens"),
            }
            self.certify(name, f"{name}.example.test", f"*.{name}.example.test")

    def folder(self, tenant):
        return self.edge.folder / "tenants.d" / tenant

    def certify(self, tenant, *names, stem="own"):
        pair = self.authority.issue(*names)
        pair.install(self.folder(tenant) / "certs" / f"{stem}.pem", self.folder(tenant) / "certs" / f"{stem}.key")
        return pair

    def write(self, tenant, content, file="routes.yaml"):
        """In one rename; a list is the routes."""
        if isinstance(content, list):
            content = as_yaml({"routes": content})
        fresh = self.folder(tenant) / f".{file}.new"
        fresh.write_text(content)
        os.replace(fresh, self.folder(tenant) / file)

    def config(self, **over):
        return {"tenants": self.tenants, "include": [{"files": "tenants.d/{tenant}/*.yaml"}], **over}

    def start(self, **over):
        self.edge.start(**self.config(**over))
        return self

    def restart(self):
        self.edge.stop()
        self.edge.spawn()
        self.edge.wait_ready()

    def ask(self, host):
        """(status, body) of a request over TLS, or None where the connection was refused."""
        try:
            with Wire.connect(self.edge.https, tls=self.authority.client_context(), name=host) as wire:
                answer = wire.ask("/", host)
                return answer.status, answer.body.decode()
        except (OSError, ssl.SSLError, AssertionError):
            return None

    def plain(self, path, host):
        with Wire.connect(self.edge.http) as wire:
            return wire.ask(path, host)
