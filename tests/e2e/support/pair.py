"""A client and an upstream, each of either version of HTTP, with the proxy between them."""

from .ends import CLIENTS, UPSTREAMS
from .ports import free_port
from .wire import Tap


class Pair:
    """A client and an upstream, connected through the proxy on first use."""

    def __init__(self, site, closing, down, up):
        self.site, self.closing, self.down, self.up = site, closing, down, up
        self.upstream = UPSTREAMS[up](closing(Tap(free_port())))

    def start(self, **over):
        self.site.start(self.site.route({"path": "/", "upstream": self.upstream.entry}), workers=1, **over)
        self.client = self.connect()
        return self.client, self.upstream

    def connect(self, **kwargs):
        return self.closing(CLIENTS[self.down](self.site, **kwargs))

    def goes_on(self):
        """The next request is served: on the client's connection, where that can be used further, else on another."""
        self.client.ask("/next")
        assert self.upstream.request()["path"] == "/next"
        self.is_answered()

    def is_answered(self):
        """The request under way, and whole."""
        self.upstream.head(200, length=2)
        self.upstream.send(b"ok")
        self.upstream.end()
        assert self.client.head() == 200 and self.client.rest().body == b"ok"
