"""ClientHellos of every shape: each reaches the backend that its name owns, or is closed; never another one."""

from pathlib import Path

import pytest
from support.hello import SlowHandshake, handshake_message, hello, messages_of, records, sni_extension
from support.waiting import until
from support.wire import Wire

DATA = Path(__file__).parent / "data"
ALERT_UNRECOGNIZED_NAME = 112


@pytest.fixture
def stage(edge, taps):
    """The proxy with two tenants: `right` owns a.example.com, `wrong` everything else under example.com."""

    class Stage:
        right, wrong = taps(), taps()

        def start(self, **over):
            routes = [
                {"host": "a.example.com", "passthrough": self.right.address},
                {"host": "captured.example.com", "passthrough": self.right.address},
                {"host": "*.example.com", "passthrough": self.wrong.address},
            ]
            edge.start(routes=routes, **over)
            return self

        def arrives(self, data, pieces=None):
            """Sends `data` (or its pieces one by one); it must come out at `right`, byte for byte."""
            with Wire.connect(edge.https) as client:
                for piece in pieces or [data]:
                    client.send(piece)
                backend = self.right.accept()
                assert backend.take(len(data)) == data
                backend.send(b"answer")
                assert client.take(6) == b"answer"
                backend.close()
            assert self.wrong.nobody_comes(0.05)

        def is_closed(self, data, reason, finish=False, answer=b""):
            """Sends `data`; the proxy closes, having said `answer`, nobody is reached, the log says the reason."""
            seen = len(edge.access())
            with Wire.connect(edge.https) as client:
                try:
                    client.send(data)
                    if finish:
                        client.finish()
                except OSError:
                    pass  # it was refused before all was sent
                got = client.rest_or_reset()
                assert got == answer if isinstance(answer, bytes) else answer(got), got
            until(lambda: len(edge.access()) > seen, "an access line")
            line = edge.access()[-1]
            assert line["reason"] in ((reason,) if isinstance(reason, str) else reason), line
            assert self.right.nobody_comes(0.05) and self.wrong.nobody_comes(0.05)

    return Stage()


@pytest.mark.sanitizer
def test_one_byte_at_a_time(stage):
    stage.start()
    data = hello("a.example.com")
    stage.arrives(data, [bytes([b]) for b in data])


@pytest.mark.sanitizer
@pytest.mark.parametrize("size", [1, 7, 50, 200])
def test_split_over_several_records(stage, size):
    stage.start()
    stage.arrives(records(handshake_message("a.example.com"), size))


def test_split_inside_the_name_over_records_and_segments(stage):
    stage.start()
    message = handshake_message("a.example.com")
    cut = message.index(b"example") + 3
    data = records(message[:cut]) + records(message[cut:])
    stage.arrives(data, [data[: cut + 5], data[cut + 5 : cut + 8], data[cut + 8 :]])


@pytest.mark.sanitizer
@pytest.mark.parametrize("record", [16384, 1000])
def test_16_kib_long(stage, record):
    stage.start()
    # The name last: behind 16 KiB of padding, and the same with the name first.
    filler = b"\x00\x15" + (16000).to_bytes(2, "big") + bytes(16000)
    stage.arrives(records(handshake_message(None, before=filler, after=sni_extension("a.example.com")), record))
    stage.arrives(records(handshake_message("a.example.com", total=16384), record))


@pytest.mark.sanitizer
def test_over_the_cap(stage, edge):
    stage.start(limits={"client_hello": "8KiB"})
    stage.arrives(records(handshake_message("a.example.com", total=7000)))
    stage.is_closed(records(handshake_message("a.example.com", total=9000)), "hello_too_large")
    stage.is_closed(records(handshake_message("a.example.com", total=60_000)), "hello_too_large")
    # What it says it will be is enough to refuse it.
    stage.is_closed(b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(9000), ("hello_too_large", "malformed_hello"))


@pytest.mark.sanitizer
def test_the_largest_cap(stage):
    stage.start(limits={"client_hello": "64KiB"})

    def of(size):
        data = records(handshake_message("a.example.com", total=size - 20))  # four records
        return records(handshake_message("a.example.com", total=2 * size - 20 - len(data)))

    assert len(of(65536)) == 65536
    stage.arrives(of(65536))
    stage.is_closed(of(65600), "hello_too_large")


def test_grease(stage):
    stage.start()
    stage.arrives(hello("a.example.com", grease=True, alpn=["h2", "http/1.1"]))


@pytest.mark.parametrize("name", ["A.EXAMPLE.com", "a.example.com."])
def test_the_name_is_normalised(stage, name):
    stage.start()
    stage.arrives(hello(name))


@pytest.mark.sanitizer
def test_without_a_name(stage):
    stage.start()
    stage.is_closed(hello(None), "no_sni")


@pytest.mark.parametrize("name", [
    b"a.example.com\x00.evil.test", b"", b"a..example.com", b"127.0.0.1", b"a.example.com:443/", b"x" * 250 + b".example.com",
    "\u00e4.example.com".encode(), b"-\r\n.example.com",
])
def test_names_that_are_none(stage, name):
    stage.start()
    stage.is_closed(hello(name), ("unknown_host", "malformed_hello", "no_sni"), answer=lambda got: len(got) <= 7)


@pytest.mark.sanitizer
@pytest.mark.parametrize("text", [
    b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x80\x2e\x01\x03\x01" + bytes(43),
    b"\x00" * 64, b"\x17\x03\x03\x00\x20" + bytes(32), b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n" + hello("a.example.com"),
], ids=["http", "ssh", "sslv2", "zeros", "application-data", "proxy-header"])
def test_not_tls_at_all(stage, text):
    stage.start()
    stage.is_closed(text, ("not_tls", "malformed_hello"), answer=lambda got: b"answer" not in got)


def broken_hellos():
    """A good hello with one thing wrong in each."""
    message = handshake_message("a.example.com")
    yield "second message is no hello", records(b"\x02" + message[1:])
    yield "session id too long", records(message[:38] + b"\xff" + message[39:])
    yield "extensions run past the end", _shorter(message)
    yield "empty record", b"\x16\x03\x01\x00\x00" * 2000
    yield "record over 16 KiB", b"\x16\x03\x01\x48\x01" + bytes(0x4801)
    yield "alert between the records", records(message[:60]) + b"\x15\x03\x01\x00\x02\x02\x28" + records(message[60:])
    yield "two names", records(handshake_message("a.example.com", after=sni_extension("b.example.com")))


def _shorter(message):
    """The same extensions in a message that ends ten bytes early."""
    body = message[4:-10]
    return records(b"\x01" + len(body).to_bytes(3, "big") + body)


@pytest.mark.parametrize("data", [d for _, d in broken_hellos()], ids=[n for n, _ in broken_hellos()])
def test_malformed_ones_are_closed(stage, data):
    stage.start()
    stage.is_closed(data, ("malformed_hello", "hello_too_large", "not_tls"), answer=lambda got: b"answer" not in got)


def test_an_unfinished_one_with_fin_is_closed(stage):
    stage.start()
    data = hello("a.example.com")
    for cut in (1, 4, 5, 6, 60, len(data) - 1):
        stage.is_closed(data[:cut], ("client_closed", "client_reset", "malformed_hello", "not_tls"), finish=True)


def test_silence_and_drops_of_bytes_meet_the_deadline(stage, edge):
    stage.start(timeouts={"client_hello": "600ms"})
    stage.is_closed(hello("a.example.com")[:40], "hello_timeout")
    stage.is_closed(b"", ("hello_timeout", "client_closed"))
    # A byte now and then does not move the deadline.
    data = hello("a.example.com")
    with Wire.connect(edge.https) as client:
        for byte in data:
            try:
                client.send(bytes([byte]))
            except OSError:
                break
            if not client.is_quiet(0.05):
                break
        else:
            raise AssertionError("a hello that took many seconds was let through")
    assert stage.right.nobody_comes()


def test_all_unfinished_hellos_together_are_bounded(stage, edge):
    stage.start(limits={"client_hello": "32KiB", "inspect_memory": "1MiB"}, timeouts={"client_hello": "60s"})
    data = records(handshake_message("a.example.com", total=30_000))
    clients = [Wire.connect(edge.https) for _ in range(80)]
    for client in clients:
        try:
            client.send(data[:29_000])
        except OSError:
            pass
    lines = edge.wait_access(5, reason="hello_memory")
    assert len(lines) >= 5
    # When they are gone, others get through again.
    for client in clients:
        client.close()
    until(lambda: len(edge.access()) >= 80, "all are over")
    stage.arrives(hello("a.example.com"))


@pytest.mark.sanitizer
def test_unknown_names_get_a_plain_fin_or_an_alert(stage, edge):
    config = edge.base()
    config["listeners"][2]["unknown_host"] = "alert"
    stage.start(listeners=config["listeners"])
    with Wire.connect(edge.https) as client:
        client.send(hello("nobody.test"))
        assert client.take_rest() == b""  # FIN, no reset, nothing said
    with Wire.connect(edge.kube) as client:
        client.send(hello("nobody.test"))
        alert = client.take_rest()
    assert alert[:1] == b"\x15" and alert[3:] == b"\x00\x02\x02" + bytes([ALERT_UNRECOGNIZED_NAME])
    with Wire.connect(edge.kube) as client:
        client.send(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00" + bytes(64))  # a ServerHello
        assert client.take_rest()[-1:] == bytes([50])  # decode_error
    edge.wait_access(listener="kube-api", reason="malformed_hello")
    edge.wait_access(listener="https", sni="nobody.test", reason="unknown_host")
    edge.wait_access(listener="kube-api", sni="nobody.test", reason="unknown_host")


@pytest.mark.sanitizer
@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_what_browsers_send(stage, browser):
    stage.start()
    data = (DATA / f"{browser}.hello").read_bytes()
    stage.arrives(data)
    stage.arrives(data, [data[:1400], data[1400:]])
    stage.arrives(data, [bytes([b]) for b in data])
    stage.arrives(records(messages_of(data), 300))


@pytest.mark.sanitizer
@pytest.mark.parametrize("record", [16384, 64])
def test_terminated_hosts_take_hellos_in_pieces(edge, authority, record):
    """A real handshake whose first flight goes out byte by byte, in records of that size, is completed."""
    pair = authority.issue("own.example.com")
    edge.start(
        certificates=[{"cert": str(pair.cert), "key": str(pair.key)}],
        routes=[{"host": "own.example.com", "rules": [{"path": "/", "respond": {"status": 200, "body": "own\n"}}]}],
    )
    client = SlowHandshake(authority.client_context(["http/1.1"]), "own.example.com")
    with Wire.connect(edge.https) as wire:
        for byte in records(messages_of(client.first_flight()), record):
            wire.send(bytes([byte]))
        client.finish_over(wire)
        client.send(wire, b"GET / HTTP/1.1\r\nHost: own.example.com\r\n\r\n")
        assert b"200" in client.receive_through(wire, b"own\n")
        assert client.certificate() == pair.der
