"""HTTP/2 frames as bytes, and an upstream that sends them as a test wants: several streams in one packet, or nonsense."""

import contextlib
import socket
import struct
import threading

HEADERS_200 = b"\x88"  # ":status: 200", from the static table
HEADERS, DATA, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 1, 0, 3, 4, 6, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def answer(stream, *pieces):
    """A head and its body, in as many frames as there are pieces."""
    frames = [frame(DATA, 0, stream, piece) for piece in pieces[:-1]] + [frame(DATA, END_STREAM, stream, pieces[-1])]
    return frame(HEADERS, END_HEADERS, stream, HEADERS_200) + b"".join(frames)


class Listening:
    """A thread for each connection runs `serve(sock)`, until it or the test ends."""

    def __init__(self, port, serve):
        self.address = f"127.0.0.1:{port}"
        self.accepted = 0  # connections so far
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._sockets = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.add(sock)
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        with contextlib.suppress(OSError, EOFError):
            self._serve(sock)
        with contextlib.suppress(OSError):
            sock.close()


def take(sock, count):
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def take_head(sock):
    """Of an HTTP/1 request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            raise EOFError
        data += piece
    return data


def serve_http2(sock, on_request):
    """Behind the preface: `on_request(sock, stream, head)` for each request, `head` being the field block."""
    while True:
        head = take(sock, 9)
        payload = take(sock, int.from_bytes(head[:3], "big"))
        if head[3] == SETTINGS and not head[4] & ACK:
            sock.sendall(frame(SETTINGS, ACK, 0))
        elif head[3] == HEADERS:
            on_request(sock, int.from_bytes(head[5:], "big"), payload)


def http2_upstream(on_request, first=frame(SETTINGS, 0, 0)):
    """For Listening; `first` is what it says of itself."""

    def serve(sock):
        take(sock, 24)
        sock.sendall(first)
        serve_http2(sock, on_request)

    return serve


def websocket_upstream(talk):
    """For Listening: switches protocols, then `talk(sock)`."""

    def serve(sock):
        take_head(sock)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        talk(sock)

    return serve
