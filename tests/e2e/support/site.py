"""A site behind the proxy: own.example.com, terminated, served on both ports by the origin. What most HTTP tests need."""

from .wire import Wire, request

HOST = "own.example.com"


class Site:
    def __init__(self, edge, origin, authority):
        self.edge, self.origin, self.authority = edge, origin, authority
        self.pair = authority.issue("*.example.com", HOST)
        self.certificates = [{"cert": str(self.pair.cert), "key": str(self.pair.key)}]

    def route(self, *rules, host=HOST, **more):
        """A route that serves on both ports; without rules everything goes to the origin."""
        rules = list(rules) or [{"path": "/", "upstream": self.origin.address}]
        return {"host": host, "on_http": "serve", "rules": rules, **more}

    def start(self, *routes, **over):
        self.edge.start(certificates=self.certificates, routes=list(routes) or [self.route()], **over)
        return self

    def wire(self, transport="http", name=HOST, **kwargs):
        """A client connection to the http or the https listener."""
        if transport == "http":
            return Wire.connect(self.edge.http, **kwargs)
        context = self.authority.client_context(["http/1.1"])
        return Wire.connect(self.edge.https, tls=context, name=name, **kwargs)

    def ask(self, target, transport="http", host=HOST, **kwargs):
        """One request on a connection of its own."""
        with self.wire(transport, host) as wire:
            return wire.ask(target, host, **kwargs)

    def echo(self, target="/echo", transport="http", **kwargs):
        """The request as the origin saw it."""
        with self.wire(transport) as wire:
            wire.send(request(target, HOST, **kwargs))
            answer = wire.response()
        assert answer.status == 200, answer
        return self.origin.requests[-1]
