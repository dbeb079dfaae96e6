"""HTTP/2 by hand, over python3-h2: a client that a test drives frame by frame, and an origin that answers over it."""

import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hpack import NeverIndexedHeaderTuple

from .frames import Listening
from .origin import pattern
from .waiting import patience
from .wire import Wire


GOAWAY, ORIGIN = 7, 12


def _origins(payload):
    names = []
    while payload:
        size = int.from_bytes(payload[:2], "big")
        names.append(payload[2 : 2 + size].decode())
        payload = payload[2 + size :]
    return names


class Answer:
    """What came back on one stream so far."""

    def __init__(self):
        self.headers, self.trailers, self.interim = [], None, []
        self.body = bytearray()
        self.ended = False
        self.reset = None  # the error code

    def get(self, name):
        return next((v for n, v in self.headers if n == name), None)

    @property
    def status(self):
        return int(self.get(":status")) if self.headers else None

    def trailer(self, name):
        return dict(self.trailers or []).get(name)

    def __repr__(self):
        return f"<{dict(self.headers)} {bytes(self.body[:100])!r} {self.trailers} ended={self.ended} reset={self.reset}>"


class H2Client:
    """One connection. `manual` leaves the windows to the test. `goaway` is the error code, once one came."""

    def __init__(self, port, authority, name="own.example.com", within=15.0, manual=False, settings=None, rcvbuf=None,
                 checked=True):
        context = authority.client_context(["h2"])
        self.wire = Wire.connect(port, tls=context, name=name, within=within, rcvbuf=rcvbuf)
        assert self.wire.sock.selected_alpn_protocol() == "h2"
        self.name, self.manual, self.within = name, manual, within
        self.streams, self.goaway, self.closed = {}, None, False
        self.goaways, self.pings, self.origins, self.frames = [], 0, None, 0
        self.buffer = b""
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=checked,
            normalize_outbound_headers=checked, validate_inbound_headers=True)
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=True, initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0, **settings})
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.wire.close()

    def flush(self):
        with contextlib.suppress(ConnectionError, ssl.SSLError, BrokenPipeError):
            self.wire.send(self.h2.data_to_send())

    def raw(self, frame):
        """Bytes as they are; false when the other side is gone."""
        try:
            self.wire.send(frame)
            return True
        except (ConnectionError, ssl.SSLError, OSError):
            self.closed = True
            return False

    def ask(self, path="/", method="GET", headers=(), end=True, authority=None, pseudo=(), scheme="https"):
        """Sends a head; returns the stream's number. `path`: itself, or the field."""
        stream = self.h2.get_next_available_stream_id()
        target = (":path", path) if isinstance(path, str) else path
        head = [(":method", method), *pseudo, (":scheme", scheme), (":authority", authority or self.name), target]
        self.h2.send_headers(stream, [*head, *headers], end_stream=end)
        self.streams[stream] = Answer()
        self.flush()
        return stream

    def send(self, stream, data, end=False):
        """Sends body bytes, waiting for windows where it must."""
        view = memoryview(data)
        while True:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(view))
            if room == 0 and len(view) > 0:
                self.pump()
                if self.streams[stream].ended or self.streams[stream].reset is not None:
                    return
                continue
            piece, view = view[:room], view[room:]
            self.h2.send_data(stream, bytes(piece), end_stream=end and not view)
            self.flush()
            if not view:
                return

    def pump(self):
        """Receives once; false at the end of the connection."""
        try:
            data = self.wire.sock.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            if isinstance(error, (TimeoutError, ssl.SSLWantReadError)):
                raise
            data = b""
        if not data:
            self.closed = True
            return False
        self.buffer += data
        while frame := self._next_frame():
            if frame[3] == GOAWAY:  # python-h2 takes nothing after one
                last, code = struct.unpack(">II", frame[9:17])
                self.goaway = code
                self.goaways.append((last, code))
            elif frame[3] == ORIGIN:
                self.origins = _origins(frame[9:])
            else:
                for event in self.h2.receive_data(frame):
                    self.take(event)
        self.flush()
        return True

    def _next_frame(self):
        if len(self.buffer) < 9:
            return None
        size = 9 + int.from_bytes(self.buffer[:3], "big")
        if len(self.buffer) < size:
            return None
        frame, self.buffer = self.buffer[:size], self.buffer[size:]
        return frame

    def take(self, event):
        answer = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = event.headers
        elif isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.frames += 1
            answer.body += event.data
            if not self.manual:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings += 1

    def poll(self, seconds):
        """Receives what comes within that time."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self.wire.sock.settimeout(left)
                if not self.pump():
                    break
        except TimeoutError:
            pass
        finally:
            self.wire.sock.settimeout(patience(self.within))

    def until(self, condition, what):
        limit = time.monotonic() + patience(self.within)
        while not condition():
            assert time.monotonic() < limit, f"not in time: {what}; {self.streams}"
            if not self.pump():
                assert condition(), f"the connection ended before {what}: {self.goaway} {self.streams}"

    def wait(self, *streams):
        """The answers, whole or reset."""
        for stream in streams:
            answer = self.streams[stream]
            self.until(lambda a=answer: a.ended or a.reset is not None, f"stream {stream}")
        return self.streams[streams[0]] if len(streams) == 1 else [self.streams[s] for s in streams]

    def get(self, path="/", **kwargs):
        return self.wait(self.ask(path, **kwargs))

    def post(self, path, body, headers=(), **kwargs):
        stream = self.ask(path, method="POST", headers=headers, end=False, **kwargs)
        self.send(stream, body, end=True)
        return self.wait(stream)

    def ends(self):
        """Reads until the other side is gone."""
        while self.pump():
            pass
        return self.goaway


class H2Origin:
    """An HTTP/2 server with prior knowledge in plain (or over TLS with `context`). Paths:

    /echo   JSON of what came   /bytes/N  N bytes   /upload  hash and length of the body   /trailers  a body and trailers
    /secret  the same with a field that is never to be indexed   /status/N  /hints  103 first
    /reset  RST_STREAM(INTERNAL_ERROR)   /refuse  REFUSED_STREAM, once
    /early  413 before the body is read, then RST_STREAM(NO_ERROR)   /hang  never answers
    /late/N  the head of an answer without a body; it ends with the connection's next /end, or is reset with the next /cut
    """

    def __init__(self, port, context=None, streams=100):
        self.port, self.context, self.max_streams = port, context, streams
        self.address = f"127.0.0.1:{port}"
        self.requests, self.trailers, self.resets, self.most = [], [], [], 0
        self.refused = False
        self.goaway_after = None
        self._listening = Listening(port, self._serve)

    @property
    def connections(self):
        return self._listening.accepted

    def close(self):
        self._listening.close()

    def _serve(self, sock):
        with contextlib.suppress(OSError, ssl.SSLError, h2.exceptions.ProtocolError):
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            _Server(self, sock).run()


class _Server:
    def __init__(self, origin, sock):
        self.origin, self.sock = origin, sock
        self.number = origin.connections
        self.open, self.waiting, self.goaway = {}, {}, None
        self.late = []
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: origin.max_streams,
            h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0})
        self.h2.initiate_connection()

    def run(self):
        self.sock.sendall(self.h2.data_to_send())
        while data := self.sock.recv(65536):
            for event in self.h2.receive_data(data):
                self.take(event)
            self.drain()
            self.sock.sendall(self.h2.data_to_send())
            if self.goaway is not None:  # by hand: python-h2 says nothing more after one
                self.sock.sendall(b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", self.goaway, 0))
                return

    def take(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.RequestReceived):
            head = dict(event.headers)
            self.open[stream] = {"head": event.headers, "path": head[":path"], "hash": hashlib.sha256(), "length": 0,
                                 "trailers": None}
            self.origin.most = max(self.origin.most, len(self.open))
            self.origin.requests.append(event.headers)
            self.early(stream, head[":path"])
        elif isinstance(event, h2.events.DataReceived):
            if stream in self.open:
                self.open[stream]["hash"].update(event.data)
                self.open[stream]["length"] += len(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.TrailersReceived):
            self.open[stream]["trailers"] = event.headers
            self.origin.trailers.append(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            if stream in self.open:
                self.answer(stream, self.open.pop(stream))
        elif isinstance(event, h2.events.StreamReset):
            self.origin.resets.append((stream, event.error_code))
            self.open.pop(stream, None)
            self.waiting.pop(stream, None)

    def early(self, stream, path):
        if path == "/early":
            self.open.pop(stream)
            self.h2.send_headers(stream, [(":status", "413"), ("content-length", "0")], end_stream=True)
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.NO_ERROR)
        elif path == "/hints":
            self.h2.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
        elif path == "/reset":
            self.open.pop(stream)
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif path == "/refuse" and not self.origin.refused:
            self.origin.refused = True
            self.open.pop(stream)
            self.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)

    def answer(self, stream, seen):
        path = seen["path"]
        body, status, trailers, more = b"", "200", None, []
        if path in ("/end", "/cut"):
            while self.late:
                late = self.late.pop()
                self.h2.end_stream(late) if path == "/end" else self.h2.reset_stream(late, h2.errors.ErrorCodes.INTERNAL_ERROR)
        if path.startswith("/bytes/"):
            body = pattern(int(path.split("/")[2]))
        elif path.startswith("/status/"):
            status = path.split("/")[2]
        elif path == "/trailers":
            body, trailers = b"body\n", [("x-trailer", "yes"), ("grpc-status", "0")]
        elif path == "/hang":
            return
        elif path.startswith("/late/"):
            self.late.append(stream)
            self.h2.send_headers(stream, [(":status", path.split("/")[2])])
            return
        elif path == "/secret":
            secret = NeverIndexedHeaderTuple("x-secret", "s")
            body, trailers, more = b"body\n", [("x-open", "o"), secret], [("x-open", "o"), secret]
        else:
            body = json.dumps({"headers": seen["head"], "length": seen["length"], "sha256": seen["hash"].hexdigest(),
                               "trailers": seen["trailers"], "connection": self.number}).encode()
        head = [(":status", status), ("server", "h2-origin"), *more]
        if trailers is None:
            head.append(("content-length", str(len(body))))
        if dict(seen["head"])[":method"] == "HEAD" or (not body and trailers is None):
            self.h2.send_headers(stream, head, end_stream=True)
            return
        self.h2.send_headers(stream, head)
        self.waiting[stream] = (memoryview(body), trailers)
        if self.origin.goaway_after is not None and stream >= self.origin.goaway_after:
            self.goaway = stream

    def drain(self):
        for stream, (body, trailers) in list(self.waiting.items()):
            while body:
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
                if room == 0:
                    break
                self.h2.send_data(stream, bytes(body[:room]), end_stream=trailers is None and room == len(body))
                body = body[room:]
            if body:
                self.waiting[stream] = (body, trailers)
                continue
            del self.waiting[stream]
            if trailers is not None:
                self.h2.send_headers(stream, trailers, end_stream=True)
