"""HTTP/1 framing that two parties could read in two ways: refused, the connection ended, nothing passed on.

The table follows the duties of the security notes; each row is one request or one answer of an upstream.
"""

import pytest
from support.site import HOST
from support.waiting import until

H = "Host: own.example.com\r\n"

# Smuggled requests that must never arrive end in /smuggled.
BAD_REQUESTS = {
    # length and encoding
    "te and cl": f"POST / HTTP/1.1\r\n{H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
    "cl and te": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
    "empty te and cl": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding:\r\nTransfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc",
    "te gzip, chunked": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te chunked, gzip": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "te , chunked": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "te twice": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te identity": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "te xchunked": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te with vertical tab": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te quoted": f'POST / HTTP/1.1\r\n{H}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "te in http/1.0": f"POST / HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cl twice": f"POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "cl twice in one": f"POST / HTTP/1.1\r\n{H}Content-Length: 3, 4\r\n\r\nabcd",
    "cl plus": f"POST / HTTP/1.1\r\n{H}Content-Length: +3\r\n\r\nabc",
    "cl minus": f"POST / HTTP/1.1\r\n{H}Content-Length: -3\r\n\r\nabc",
    "cl hex": f"POST / HTTP/1.1\r\n{H}Content-Length: 0x3\r\n\r\nabc",
    "cl inner space": f"POST / HTTP/1.1\r\n{H}Content-Length: 1 0\r\n\r\nabcdefghij",
    "cl empty": f"POST / HTTP/1.1\r\n{H}Content-Length:\r\n\r\n",
    "cl huge": f"POST / HTTP/1.1\r\n{H}Content-Length: 99999999999999999999999\r\n\r\n",
    # lines
    "bare lf after the request line": f"GET / HTTP/1.1\n{H}\r\n",
    "bare lf after a header": "GET / HTTP/1.1\r\nHost: own.example.com\nX: y\r\n\r\n",
    "bare lf at the end": f"GET / HTTP/1.1\r\n{H}\n",
    "bare cr in a value": f"GET / HTTP/1.1\r\n{H}X: a\rb\r\n\r\n",
    "bare cr as line end": f"GET / HTTP/1.1\r\n{H}X: a\rContent-Length: 5\r\n\r\n",
    "nul in a value": f"GET / HTTP/1.1\r\n{H}X: a\x00b\r\n\r\n",
    "nul in a name": f"GET / HTTP/1.1\r\n{H}X\x00Y: ab\r\n\r\n",
    "obs-fold": f"GET / HTTP/1.1\r\n{H}X: a\r\n b\r\n\r\n",
    "fold on the first header": f"GET / HTTP/1.1\r\n X: a\r\n{H}\r\n",
    "space before the colon": f"POST / HTTP/1.1\r\n{H}Content-Length : 3\r\n\r\nabc",
    "tab before the colon": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "empty header name": f"GET / HTTP/1.1\r\n{H}: x\r\n\r\n",
    "no colon": f"GET / HTTP/1.1\r\n{H}nonsense\r\n\r\n",
    "name with a space": f"GET / HTTP/1.1\r\n{H}X Y: z\r\n\r\n",
    # chunks
    "chunk size with lf": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "chunk size with 0x": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk size empty": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n",
    "chunk size overflows": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "chunk longer than said": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk data ends in lf": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n",
    "chunk extension with lf": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
    "chunk extension without end": f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n3;{'e' * 900_000}",
    # request line
    "http/0.9": "GET /\r\n\r\n",
    "http/2.0": f"GET / HTTP/2.0\r\n{H}\r\n",
    "http/1.2.3": f"GET / HTTP/1.2.3\r\n{H}\r\n",
    "rtsp": f"SETUP / RTSP/1.0\r\n{H}\r\n",
    "lower case version": f"GET / http/1.1\r\n{H}\r\n",
    "two spaces": f"GET  / HTTP/1.1\r\n{H}\r\n",
    "space in the target": f"GET /a b HTTP/1.1\r\n{H}\r\n",
    "fragment in the target": f"GET /a#b HTTP/1.1\r\n{H}\r\n",
    "control byte in the target": f"GET /a\x01b HTTP/1.1\r\n{H}\r\n",
    "target without slash": f"GET a HTTP/1.1\r\n{H}\r\n",
    "http2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    # host
    "no host": "GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\n{H}Host: other.example.com\r\n\r\n",
    "two equal hosts": f"GET / HTTP/1.1\r\n{H}{H}\r\n",
    "two hosts in one": "GET / HTTP/1.1\r\nHost: own.example.com, other.example.com\r\n\r\n",
    "empty host": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "host with a path": "GET / HTTP/1.1\r\nHost: own.example.com/x\r\n\r\n",
    "host with user": "GET / HTTP/1.1\r\nHost: a@own.example.com\r\n\r\n",
    "host with a space": "GET / HTTP/1.1\r\nHost: own.example .com\r\n\r\n",
    "absolute form disagrees": f"GET http://other.example.com/ HTTP/1.1\r\n{H}\r\n",
    # methods
    "connect": f"CONNECT own.example.com:443 HTTP/1.1\r\n{H}\r\n",
}


def refused(status):
    return status in (400, 405, 414, 431, 501, 505)


@pytest.fixture
def guarded(site):
    return site.start(timeouts={"request_head": "2s"})


@pytest.mark.sanitizer
@pytest.mark.parametrize("transport", ["http", "https"])
def test_bad_requests_are_refused_and_the_connection_ends(guarded, transport):
    """All rows over one proxy; what fails is listed together."""
    wrong = []
    for name, text in BAD_REQUESTS.items():
        seen = len(guarded.origin.requests)
        with guarded.wire(transport) as wire:
            try:
                wire.send(text.encode("latin-1") + b"GET /smuggled HTTP/1.1\r\nHost: own.example.com\r\n\r\n")
            except OSError:
                pass  # it was refused while it was sent
            try:
                got = wire.rest_or_reset()
            except TimeoutError:
                wrong.append((name, "the connection stays open", wire.buffer[:60]))
                continue
        if got:
            status = int(got.split(b" ", 2)[1])
            if not refused(status) or got.count(b"HTTP/1.1 ") != 1:
                wrong.append((name, got[:80]))
        elif "900" not in name and "without end" not in name:
            wrong.append((name, "closed without an answer"))
        # A body that breaks off in the middle may have begun to flow; a second request must never come of it.
        arrived = guarded.origin.requests[seen:]
        if "chunk" not in name and arrived or any("smuggled" in a.target for a in arrived):
            wrong.append((name, "arrived", arrived))
    assert not wrong, "\n".join(map(str, wrong))
    guarded.edge.wait_access(30, reason="bad_request", status=400)
    assert guarded.ask("/bytes/3", transport).status == 200


@pytest.mark.sanitizer
def test_heads_and_chunks_are_written_anew(guarded):
    """Whatever spelling is allowed in, one spelling goes out."""
    with guarded.wire() as wire:
        wire.send("POST /upload HTTP/1.1\r\nhOST:   own.example.com  \r\nTRANSFER-encoding:\tChunked\r\nX-A:b\r\n\r\n"
                  "003;ext=\"1\"\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n")
        assert wire.response().status == 200
    seen = guarded.origin.requests[0]
    assert seen.body_length == 13
    assert seen.get("host") == HOST and seen.get("transfer-encoding") == "chunked" and seen.get("x-a") == "b"


def test_framing_does_not_depend_on_the_method(guarded):
    """A GET with a body has a body; what follows is the next request."""
    with guarded.wire() as wire:
        for method in ("GET", "DELETE", "OPTIONS"):
            wire.send(f"{method} /echo HTTP/1.1\r\n{H}Content-Length: 40\r\n\r\n".encode()
                      + b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n".ljust(40)[:40])
            assert wire.response().status == 200
    assert [(s.target, s.body_length) for s in guarded.origin.requests] == [("/echo", 40)] * 3


def test_header_names_that_alias_managed_ones_are_dropped(guarded):
    seen = guarded.echo(headers=[("Content_Length", "5"), ("Transfer_Encoding", "chunked"), ("X_Forwarded_Proto", "x"),
                                 ("X_Request_Id", "x"), ("my_own", "stays")])
    names = {name.lower() for name, _ in seen.headers}
    assert not names & {"content_length", "transfer_encoding", "x_forwarded_proto", "x_request_id"}


@pytest.mark.sanitizer
@pytest.mark.parametrize("where", ["rule", "split"])
def test_what_a_rule_sets_or_removes_cannot_be_said_with_underscores(site, where):
    """CGI and WSGI make one variable of x-role and x_role, of both values or the client's alone."""
    change = {"request_headers": {"set": {"x-role": "user", "y_own": "z"}, "remove": ["x-debug"]}}
    target = {"upstream": site.origin.address}
    site.start(site.route({"path": "/", **({**target, **change} if where == "rule" else {"split": [{**target, **change}]})}))
    claimed = [("x_role", "admin"), ("X_Debug", "1"), ("y-own", "client"), ("my_own", "stays")]
    seen = site.echo(headers=claimed)
    ours = [(name.lower(), value) for name, value in seen.headers if name.lower()[:2] in ("x_", "y-", "y_", "my")]
    assert sorted(ours) == [("my_own", "stays"), ("y_own", "z")]
    assert seen.get("x-role") == "user"
    assert site.echo(headers=[("y-own", "client")]).get("y-own") is None


BAD_ANSWERS = {
    "te and cl": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "te gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
    "te twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "cl twice": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "cl no number": b"HTTP/1.1 200 OK\r\nContent-Length: 3a\r\n\r\nabc",
    "cl negative": b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "bare cr in a value": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 3\r\n\r\nabc",
    "nul in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 3\r\n\r\nabc",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 3\r\n\r\nabc",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
    "empty header name": b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 3\r\n\r\nabc",
    "no http": b"nonsense\r\n\r\n",
    "http/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc",
    "status 0": b"HTTP/1.1 000 OK\r\nContent-Length: 3\r\n\r\nabc",
    "101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    "head without end": b"HTTP/1.1 200 OK\r\nX: " + b"v" * 300_000,
}


@pytest.mark.sanitizer
def test_bad_answers_become_502_and_that_connection_is_dropped(guarded):
    wrong = []
    for number, (name, answer) in enumerate(BAD_ANSWERS.items()):
        path = f"/bad{number}"

        def script(call, answer=answer):
            call.read_body()
            call.send(answer)
            return True  # the origin would keep the connection

        guarded.origin.scripts[path] = script
        with guarded.wire() as wire:
            got = wire.ask(path, HOST)
            if got.status != 502 or guarded.origin.address.encode() not in got.body:
                wrong.append((name, got))
                continue
        used = guarded.origin.requests[-1].connection
        guarded.ask("/echo")
        if guarded.origin.requests[-1].connection == used:
            wrong.append((name, "the connection is used again"))
    assert not wrong, "\n".join(map(str, wrong))
    guarded.edge.wait_access(len(BAD_ANSWERS) - 2, status=502, reason="bad_response")


@pytest.mark.sanitizer
def test_bytes_behind_an_answer_are_never_the_next_answer(guarded):
    """A left-over byte ends the upstream connection; nobody else is given what an origin sent too much."""
    guarded.edge.stop()
    guarded.start(workers=1)

    def too_much(call):
        call.read_body()
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        return True

    guarded.origin.scripts["/too-much"] = too_much
    for _ in range(10):
        assert guarded.ask("/too-much").body == b"abc"
        assert guarded.ask("/bytes/4").body == b"\x00\x01\x02\x03"


@pytest.mark.sanitizer
def test_an_early_answer_does_not_poison_the_pool(guarded):
    """The rest of a body that the origin did not read must not be taken for the next request."""
    poison = b"GET /smuggled HTTP/1.1\r\nHost: own.example.com\r\n\r\n"

    def keeps(call):
        call.answer(200, body=b"early")  # as if the whole body had been read
        return True

    guarded.origin.scripts["/early-keep"] = keeps
    with guarded.wire() as wire:
        wire.send(f"POST /early-keep HTTP/1.1\r\n{H}Content-Length: {len(poison) + 10}\r\n\r\n")
        assert wire.response().body == b"early"
        try:
            wire.send(poison + b"x" * 10)
        except OSError:
            pass
        wire.rest_or_reset()
    for _ in range(4):
        assert guarded.ask("/bytes/3").status == 200
    assert "/smuggled" not in [seen.target for seen in guarded.origin.requests]


def test_a_chunked_answer_that_breaks_is_never_whole(guarded):
    for number, tail in enumerate((b"zz\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-1\r\n\r\n")):
        guarded.origin.scripts[f"/c{number}"] = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + tail
        )
        with guarded.wire() as wire, pytest.raises((AssertionError, OSError, ValueError)):
            answer = wire.ask(f"/c{number}", HOST)
            assert answer.status == 200, "a 502 before anything was sent is as good"
    until(lambda: len([li for li in guarded.edge.access() if li["reason"] == "bad_response"]) >= 4, "four lines")
