"""Clients and backends of tunnels whose TLS ends at the proxy: every end shows whether it was a proper one."""

import socket
import socketserver
import ssl
import threading

import pytest
from support.ports import free_port
from support.wire import Wire

HOST = "mqtt.example.com"
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


class Lines(socketserver.ThreadingTCPServer):
    """A backend of the kind that speaks first: a greeting, then each line comes back with its name in front."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 256

    def __init__(self, name):
        server = self

        class Talk(socketserver.StreamRequestHandler):
            def handle(self):
                with server.lock:
                    server.accepted += 1
                try:
                    self.wfile.write(f"{name} ready\n".encode())
                    for line in self.rfile:
                        self.wfile.write(f"{name}: ".encode() + line)
                except ConnectionError:
                    pass

        self.lock, self.accepted = threading.Lock(), 0
        super().__init__(("127.0.0.1", free_port()), Talk)
        self.name, self.address = name, f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Cut(ConnectionError):
    """A FIN without close_notify."""


class Halves:
    """A TLS socket, as Wire needs one, whose halves end one by one. Python's own takes every FIN for a proper end."""

    def __init__(self, sock, context, name):
        self.raw, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._call(self.tls.do_handshake)

    def _flush(self):
        if data := self.outgoing.read():
            self.raw.sendall(data)

    def _call(self, call):
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.raw.recv(1 << 18)
                if not data:
                    raise Cut("the connection ended without close_notify") from None
                self.incoming.write(data)
            except ssl.SSLZeroReturnError:  # close_notify behind our own
                return b""
            finally:
                self._flush()

    def recv(self, size):
        return self._call(lambda: self.tls.read(size))

    def sendall(self, data):
        self.tls.write(data)
        self._flush()

    def finish(self, fin=True):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()
        if fin:
            self.raw.shutdown(socket.SHUT_WR)

    def __getattr__(self, name):
        return getattr(self.raw if hasattr(self.raw, name) else self.tls, name)


class Secure:
    """A proxy with a certificate for *.example.com."""

    def __init__(self, edge, authority):
        self.edge, self.authority = edge, authority
        self.pair = authority.issue("*.example.com")

    def start(self, *routes, **over):
        self.edge.start(certificates=[{"cert": str(self.pair.cert), "key": str(self.pair.key)}], routes=list(routes), **over)
        return self

    def connect(self, name=HOST, port=None, alpn=(), version=None, pair=None, **kwargs):
        wire = Wire.connect(port or self.edge.https, **kwargs)
        try:
            wire.sock = Halves(wire.sock, self.authority.client_context(alpn, pair=pair, version=version), name)
        except BaseException:
            wire.close()
            raise
        return wire

    def tunnel(self, tap, *args, **kwargs):
        """A client and its backend, with a tunnel between them."""
        client = self.connect(*args, **kwargs)
        return client, tap.accept()


def finish(wire):
    """close_notify and FIN; reading goes on."""
    wire.sock.finish()


def rest(wire):
    """Everything until close_notify. Any other end is an error."""
    return wire.take_rest()


def cut(wire):
    """Everything until an end that is none: a reset, or a FIN without close_notify."""
    with pytest.raises(ConnectionError):
        while wire._more():
            pass
    data, wire.buffer = wire.buffer, b""
    return data


def terminated(to, host=HOST, **more):
    return {"host": host, "terminate": to, **more}
