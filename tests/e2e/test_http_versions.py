"""What HTTP promises, from each version of it to each: the same tests for HTTP/1 and HTTP/2 clients and upstreams."""

import concurrent.futures
import signal
import time

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from support.ends import CLIENTS, UPSTREAMS, fill, move
from support.origin import pattern
from support.ports import free_port
from support.proxy import Growth, sanitized
from support.waiting import until
from support.wire import Tap

pytestmark = pytest.mark.sanitizer
WINDOW = 65_536  # what the proxy lets come in on a stream before it was taken
LEAST = 65_535  # of what python-h2 lets come in


def test_both_bodies_flow_at_once(pair):
    """Nothing waits for the end of anything."""
    client, upstream = pair.start()
    client.ask("/chat", "POST", body="open")
    seen = upstream.request()
    assert (seen["method"], seen["path"]) == ("POST", "/chat")
    client.send(b"one")
    assert upstream.take(3) == b"one"
    upstream.head(200)
    upstream.send(b"eins")
    assert client.head() == 200 and client.take(4) == b"eins"
    client.send(b"two")
    assert upstream.take(3) == b"two"
    upstream.send(b"zwei")
    assert client.take(4) == b"zwei"
    client.end()
    rest = upstream.rest()
    assert rest.whole and rest.body == b""
    upstream.send(b"drei")
    upstream.end()
    rest = client.rest()
    assert rest.whole and rest.body == b"drei"
    if pair.down == "h1":  # as it was said in the head of an answer to what was not whole
        assert client.headers["connection"] == "close"
        pair.client = pair.connect()
    pair.goes_on()


def test_events_are_not_held_back(pair):
    """Server-sent events: each is there before the next one is sent, however small."""
    client, upstream = pair.start()
    client.ask("/events", headers=[("Accept", "text/event-stream")])
    upstream.request()
    upstream.head(200, [("content-type", "text/event-stream")])
    assert client.head() == 200 and client.headers["content-type"] == "text/event-stream"
    for number in range(20):
        event = b"data: %d\n\n" % number
        upstream.send(event)
        assert client.take(len(event)) == event
    upstream.end()
    rest = client.rest()
    assert rest.whole and rest.body == b""
    pair.goes_on()


def test_trailers_travel_where_both_sides_have_them(pair):
    """HTTP/1 is not sent any and its own end here."""
    client, upstream = pair.start()
    client.ask("/", "POST", headers=[("TE", "trailers")] if pair.down == "h2" else [], body="open")
    upstream.request()
    client.send(b"up")
    client.end([("x-up", "1"), ("content-length", "7")] if pair.down == "h1" else [("x-up", "1")])
    rest = upstream.rest()
    both = pair.down == pair.up == "h2"
    assert rest.whole and rest.body == b"up" and rest.trailers == ({"x-up": "1"} if both else {})
    upstream.head(200)
    upstream.send(b"down")
    upstream.end([("x-down", "2")])
    assert client.head() == 200
    rest = client.rest()
    assert rest.whole and rest.body == b"down" and rest.trailers == ({"x-down": "2"} if both else {})
    pair.goes_on()


@pytest.mark.parametrize("body", [b"", b"up"], ids=["empty", "body"])
def test_a_request_that_is_whole_before_its_upstream_keeps_its_trailers(pair, body):
    """It waits for the only place at the upstream until another one is through."""
    pair.upstream.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    entry = pair.upstream.entry if pair.up == "h2" else {"endpoints": [pair.upstream.entry]}
    pair.upstream.entry = {**entry, "limits": {"connections": 1, "pending": 10}}
    _, upstream = pair.start()
    other = pair.client
    other.ask("/first")
    assert upstream.request()["path"] == "/first"
    other.heard()
    client = pair.connect()
    client.ask("/second", "POST", headers=[("TE", "trailers")] if pair.down == "h2" else [], body="open")
    client.send(body) if body else None
    client.end([("x-up", "1"), ("x-sum", "abc")])
    client.heard()
    assert pair.site.edge.metrics().total("edgemux_upstream_pending") == 1
    upstream.head(200, length=0)
    upstream.end()
    assert other.head() == 200
    assert upstream.request()["path"] == "/second"
    rest = upstream.rest()
    both = pair.down == pair.up == "h2"
    assert rest.whole and rest.body == body and rest.trailers == ({"x-up": "1", "x-sum": "abc"} if both else {})
    upstream.head(200, length=0)
    upstream.end()
    assert client.head() == 200
    pair.client = client
    pair.goes_on()


def test_another_try_carries_the_trailers_again(pair):
    upstream = pair.upstream
    pair.site.start(pair.site.route({"path": "/", "upstream": upstream.entry,
                                     "retry": {"attempts": 2, "on": [503], "backoff": "10ms"}}), workers=1)
    client = pair.client = pair.connect()
    client.ask("/", "POST", headers=[("TE", "trailers")] if pair.down == "h2" else [], body="open")
    both = pair.down == pair.up == "h2"
    for status in (503, 503, 200):
        upstream.request()
        if client:
            client.send(b"up")
            client.end([("x-up", "1")])
            client = None
        rest = upstream.rest()
        assert rest.whole and rest.body == b"up" and rest.trailers == ({"x-up": "1"} if both else {})
        upstream.head(status, length=0)
        upstream.end()
        if status == 503 and pair.up == "h1":
            upstream.wire = None  # each try has a connection of its own
    assert pair.client.head() == 200
    pair.goes_on()


def test_interim_answers_come_before_the_final_one(pair):
    client, upstream = pair.start()
    client.ask("/", "POST", headers=[("Expect", "100-continue")], body=4)
    assert upstream.request()["headers"]["expect"] == "100-continue"
    upstream.interim(100)
    assert client.interim() == 100
    client.send(b"body")
    client.end()
    assert upstream.take(4) == b"body"
    for link in ("</a.css>", "</b.css>"):
        upstream.interim(103, [("link", link)])
        assert client.interim() == 103 and client.headers["link"] == link
    upstream.head(200, length=0)
    upstream.end()
    assert client.head() == 200 and client.rest().whole
    pair.goes_on()


@pytest.mark.parametrize("method, status, length", [("HEAD", 200, 1000), ("GET", 304, 1000), ("GET", 204, None)])
def test_answers_without_a_body(pair, method, status, length):
    client, upstream = pair.start()
    client.ask("/", method)
    assert upstream.request()["method"] == method
    upstream.head(status, [("etag", '"e"')], length=length)
    if pair.up == "h2":
        upstream.end()
    assert client.head() == status and client.headers["etag"] == '"e"'
    if method == "HEAD":
        assert client.headers["content-length"] == "1000"
    rest = client.rest()
    assert rest.whole and rest.body == b""
    pair.goes_on()


def test_an_early_answer_ends_the_upload(pair):
    client, upstream = pair.start()
    client.ask("/", "POST", body=50_000_000)
    upstream.request()
    client.send(bytes(10_000))
    upstream.take(10_000)
    upstream.head(413, length=9)
    upstream.send(b"too large")
    upstream.end()
    upstream.refuse_rest()
    assert client.head() == 413
    rest = client.rest()
    assert rest.whole and rest.body == b"too large"
    if pair.down == "h2":  # RFC 9113 8.1
        client.until(lambda: client.now.code is not None)
        assert client.now.code == ErrorCodes.NO_ERROR
    else:
        assert client.wire.rest_or_reset() == b"", "the rest of that body must not be taken for a request"
        pair.client = pair.connect()
    if pair.up == "h1":
        upstream.wire = None
    pair.goes_on()


# ---- resets

@pytest.mark.parametrize("when", ["before the answer", "in the answer", "in the upload"])
def test_a_client_that_leaves_takes_its_request_along(pair, when):
    client, upstream = pair.start()
    client.ask("/", "POST", body="open")
    upstream.request()
    client.send(b"some")
    assert upstream.take(4) == b"some"
    if when != "in the upload":
        client.end()
        assert upstream.rest().whole
    if when == "in the answer":
        upstream.head(200)
        upstream.send(b"part")
        assert client.head() == 200 and client.take(4) == b"part"
    client.drop()
    assert upstream.was_dropped() == ("closed" if pair.up == "h1" else ErrorCodes.CANCEL)
    pair.site.edge.wait_access(path="/", reason="client_reset")
    if pair.down == "h1":
        pair.client = pair.connect()
    if pair.up == "h1":
        upstream.wire = None
    pair.goes_on()


@pytest.mark.parametrize("length", ["open", 100])
def test_an_answer_that_is_reset_never_looks_whole(pair, length):
    """By RST_STREAM, whatever its code, or (None) by the end of the connection."""
    _, upstream = pair.start()
    codes = [ErrorCodes.INTERNAL_ERROR, ErrorCodes.CANCEL, ErrorCodes.NO_ERROR, ErrorCodes.REFUSED_STREAM] if pair.up == "h2" else []
    for count, code in enumerate([*codes, None], 1):
        client = pair.client
        client.ask("/")
        upstream.request()
        upstream.head(200, length=length)
        upstream.send(b"part")
        assert client.head() == 200 and client.take(4) == b"part"
        upstream.lose() if code is None else upstream.reset(code)
        rest = client.rest()
        assert not rest.whole and rest.body == b""
        if pair.down == "h2":
            assert rest.code == ErrorCodes.INTERNAL_ERROR
        else:
            pair.client = pair.connect()
        pair.site.edge.wait_access(count, path="/", status=200, reason=lambda r: r in ("upstream_reset", "upstream_closed"))
        pair.goes_on()


@pytest.mark.parametrize("how", ["reset", "lost"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_is_reset_is_answered_with_502(pair, method, how):
    """What may have been done is not done again."""
    client, upstream = pair.start()
    client.ask("/", method, body=2 if method == "POST" else None)
    upstream.request()
    if method == "POST":
        client.send(b"ab")
        client.end()
        assert upstream.rest().body == b"ab"
    upstream.reset(ErrorCodes.INTERNAL_ERROR) if how == "reset" else upstream.lose(None)
    assert client.head() == 502 and client.rest().whole
    pair.site.edge.wait_access(path="/", status=502, reason=lambda r: r in ("upstream_reset", "upstream_closed"))
    pair.goes_on()


def test_a_reset_of_one_stream_leaves_the_others(to_h2):
    client, upstream = to_h2.start()
    other = to_h2.connect()
    client.ask("/reset")
    upstream.request()
    first = upstream.stream
    other.ask("/kept")
    assert upstream.request()["path"] == "/kept"
    second, upstream.stream = upstream.stream, first
    upstream.reset(ErrorCodes.CANCEL)
    assert client.head() == 502
    upstream.stream = second
    upstream.head(200)
    upstream.send(b"kept")
    upstream.end()
    assert other.head() == 200 and other.rest().body == b"kept"


@pytest.mark.parametrize("how", ["drain", "upstream removed", "host removed"])
def test_a_long_stream_outlives_what_it_came_from(to_h2, how):
    """SIGTERM, or a reload without its upstream or host: it ends whole, and the upstream's connection then ends in order."""
    to_h2.upstream.entry = {**to_h2.upstream.entry, "keepalive": {"idle": "200ms"}}
    client, upstream = to_h2.start(timeouts={"drain": "30s"})
    client.ask("/long", "POST", body="open")
    upstream.request()
    client.send(b"one")
    assert upstream.take(3) == b"one"
    upstream.head(200)
    upstream.send(b"eins")
    assert client.head() == 200 and client.take(4) == b"eins"
    edge, site = to_h2.site.edge, to_h2.site
    if how == "drain":
        edge.signal(signal.SIGTERM)
        if to_h2.down == "h2":
            client.until(lambda: len(client.goaways) == 2)
            assert client.goaways == [(2**31 - 1, 0), (client.stream, 0)]
        else:
            edge.wait_log("drain")
    else:
        other = {"path": "/", "upstream": site.origin.address}
        route = site.route(other) if how == "upstream removed" else site.route(other, host="other.example.com")
        edge.reload(certificates=site.certificates, routes=[route], workers=1, timeouts={"drain": "30s"})
    up, down = bytes(300_000), pattern(700_000)
    client.send(b"two")
    assert upstream.take(3) == b"two"
    if to_h2.down == "h2":
        move(client, len(up), upstream, len(up))
    client.end()
    rest = upstream.rest()
    assert rest.whole and rest.body == b""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        taking = pool.submit(client.rest)
        upstream.send(down)
        upstream.end()
        rest = taking.result()
    assert rest.whole and rest.body == down
    assert upstream.ends() == [0]
    if how == "drain":
        assert edge.wait_exit() == 0
    elif to_h2.down == "h2":
        client.ask("/next")
        assert client.head() == (200 if how == "upstream removed" else 404)


@pytest.mark.full
@pytest.mark.parametrize("limit", ["1h", "3s"])
def test_who_was_answered_may_be_silent(pair, limit):
    """The rate of a request's body holds until its answer begins; then timeouts.tunnel_idle does."""
    client, upstream = pair.start(timeouts={"tunnel_idle": limit})
    client.ask("/chat", "POST", body="open")
    upstream.request()
    client.send(b"hello")
    assert upstream.take(5) == b"hello"
    upstream.head(200)
    upstream.send(b"hello")
    assert client.head() == 200 and client.take(5) == b"hello"
    if limit == "3s":
        assert not client.rest().whole
        pair.site.edge.wait_access(path="/chat", reason="body_too_slow")
        return
    began = time.monotonic()
    until(lambda: time.monotonic() > began + 15, "more than the grace of 10 s has passed", within=30)
    client.send(b"still there?")
    assert upstream.take(12) == b"still there?"
    client.end()
    assert upstream.rest().whole
    upstream.end()
    assert client.rest().whole


# ---- back-pressure

MUCH = 24 << 20


def test_a_client_that_stops_reading_stops_the_upstream(pair):
    client, upstream = pair.start()
    pair.client.ask("/warm")
    upstream.request()
    upstream.head(204, length=None)
    if pair.up == "h2":
        upstream.end()
    assert client.head() == 204
    growth = Growth(pair.site.edge)
    client.ask("/down")
    upstream.request()
    upstream.head(200, length=MUCH)
    assert client.head() == 200
    sent = fill(upstream, MUCH)
    print(f"{pair.down} {pair.up}: {sent} bytes, {growth.most()} KiB")
    if pair.up == "h2":  # the client's window or socket, and the upstream's
        assert sent <= LEAST + WINDOW + (0 if pair.down == "h2" else 8 << 20)
    assert sent < 12 << 20
    assert growth.most() < 512 or sanitized()
    move(upstream, MUCH - sent, client, MUCH)
    if pair.up == "h2":
        upstream.end()
    assert client.rest().whole
    pair.goes_on()


def test_an_upstream_that_stops_reading_stops_the_client(pair):
    client, upstream = pair.start()
    growth = Growth(pair.site.edge)
    client.ask("/up", "POST", body=MUCH)
    upstream.request()
    sent = fill(client, MUCH)
    print(f"{pair.down} {pair.up}: {sent} bytes, {growth.most()} KiB")
    if pair.down == "h2" and pair.up == "h2":
        assert LEAST <= sent <= LEAST + WINDOW
    assert sent < 12 << 20
    assert growth.most() < 512 or sanitized()
    move(client, MUCH - sent, upstream, MUCH)
    if pair.down == "h2":
        client.end()
    assert upstream.rest().whole
    upstream.head(200, length=0)
    upstream.end() if pair.up == "h2" else None
    assert client.head() == 200
    pair.goes_on()


@pytest.mark.full
def test_who_waits_for_windows_is_not_too_slow(site, closing):
    """An upstream that stops reading uses up the window of the client's connection. Its other uploads wait for that, and are
    not given up as if the client were slow."""
    stuck = UPSTREAMS["h2"](closing(Tap(free_port())))
    site.start(site.route({"path": "/stuck", "upstream": stuck.entry}, {"path": "/", "upstream": site.origin.address}), workers=1)
    client = closing(CLIENTS["h2"](site))
    client.ask("/stuck", "POST", body="open")
    stuck.request()
    sent = fill(client, 1 << 20)
    client.ask("/upload", "POST", body=5)
    assert client.room() == 0
    began = time.monotonic()
    until(lambda: client.look() or time.monotonic() > began + 13, "more than the grace of 10 s has passed", within=30)
    assert client.now.heads == [] and client.now.code is None
    came = 0
    while came < sent:
        came += len(stuck.poll())
        client.look()
    client.send(b"hello")
    client.end()
    assert client.head() == 200
    stuck.close()


@pytest.mark.full
def test_one_body_wins_no_time_for_another(site, closing):
    """A body that its upstream takes little by little uses up the window; another one is excused for timeouts.response only."""
    slow = UPSTREAMS["h2"](closing(Tap(free_port())))
    site.start(site.route({"path": "/slow", "upstream": slow.entry}, {"path": "/", "upstream": site.origin.address}), workers=1,
               timeouts={"response": "4s"})
    client = closing(CLIENTS["h2"](site))
    first = client.ask("/slow", "POST", body="open")
    slow.request()
    fill(client, 1 << 20)
    second = client.ask("/upload", "POST", body=5)
    assert client.room() == 0

    def given_up():
        slow.take(4000)
        client.stream = first
        client.offer(bytes(65_536))
        return client.streams[second].heads

    heads = until(given_up, "it is given up", within=30, every=0.25)
    assert heads[0][":status"] == "408" and client.streams[first].heads == []
    site.edge.wait_access(path="/upload", reason="body_too_slow")
    slow.close()
