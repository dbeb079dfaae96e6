"""What is measured: one row per path through a proxy, with the bound that edgemux has to keep against the best peer."""

from dataclasses import dataclass

SMALL, MEDIUM, LARGE = 128, 8192, 1024 * 1024


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    unit: str  # us/request, us/connection, cpu-s/GB or KiB
    port: str  # which of a proxy's ports: HTTP, TLS, PASS, BULK
    must: float  # edgemux at most so many times the best peer; KiB for idle rows
    body: int = SMALL
    close: bool = False  # a new connection for each request
    floor: bool = False  # the relay that parses nothing can do it too
    fixed_rate: bool = False  # latency is measured at half of saturation, too
    traced: int = 2000  # requests under strace
    streams: int = 0  # HTTP/2: half as many connections as clients, each with so many requests at a time (h2load)

    @property
    def idle(self):
        return self.unit == "KiB"

    @property
    def host(self):
        return "term.test" if self.port in ("HTTP", "TLS") else "pass.test"

    def load_arguments(self):
        mode = {"HTTP": [], "TLS": ["--tls"]}.get(self.port, ["--hello"])
        return ["--host", self.host, "--path", f"/{self.body}", "--expect", str(self.body), *mode, *(["--close"] if self.close else [])]


ROWS = [
    Row("h1", "HTTP/1.1 keep-alive", "us/request", "HTTP", 0.85, floor=True, fixed_rate=True),
    Row("h1-8k", "HTTP/1.1, 8 KiB body", "us/request", "HTTP", 0.85, body=MEDIUM, floor=True),
    Row("h1-new", "HTTP/1.1, new connection per request", "us/request", "HTTP", 0.85, close=True, traced=1000),
    Row("tls", "TLS terminated, keep-alive", "us/request", "TLS", 0.75, fixed_rate=True),
    Row("tls-1m", "TLS terminated, 1 MiB bodies", "cpu-s/GB", "TLS", 0.85, body=LARGE, traced=64),
    Row("tls-new", "TLS full handshake + one request", "us/request", "TLS", 0.95, close=True, traced=300),
    Row("h2", "HTTP/2 terminated, 16 streams a connection", "us/request", "TLS", 0.85, streams=16),
    Row("pass", "passthrough, small messages", "us/request", "PASS", 0.95, floor=True, fixed_rate=True),
    Row("pass-1m", "passthrough, bulk (1 MiB bodies)", "cpu-s/GB", "BULK", 0.90, body=LARGE, floor=True, traced=64),
    Row("pass-new", "passthrough, connection", "us/connection", "PASS", 0.95, close=True, floor=True, traced=1000),
    Row("pass-idle", "idle passthrough connection", "KiB", "PASS", 1.0, floor=True),
    Row("tls-idle", "idle TLS connection", "KiB", "TLS", 13.0),
]
