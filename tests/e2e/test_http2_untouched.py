"""What an HTTP/2 upstream did not touch is sent again, or handed back: refused streams, GOAWAY, and what comes with a reset."""

import concurrent.futures

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from support.ends import UPSTREAMS
from support.origin import pattern

pytestmark = pytest.mark.sanitizer


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_request_is_sent_again(to_h2, method):
    client, upstream = to_h2.start()
    client.ask("/", method)
    for _ in range(2):
        assert upstream.request()["method"] == method
        upstream.reset(ErrorCodes.REFUSED_STREAM)
    assert upstream.request()["method"] == method
    to_h2.is_answered()
    to_h2.goes_on()


def test_a_request_that_is_always_refused_is_given_up(to_h2):
    client, upstream = to_h2.start()
    client.ask("/")
    tries = 0
    while tries < 4:
        upstream.request()
        upstream.reset(ErrorCodes.REFUSED_STREAM)
        tries += 1
    assert client.head() == 502 and client.rest().whole
    to_h2.goes_on()


@pytest.mark.parametrize("how", ["REFUSED_STREAM", "GOAWAY"])
@pytest.mark.parametrize("length", [4, "open"])
def test_a_request_with_a_little_body_that_was_not_begun_is_sent_again(to_h2, how, length):
    """RFC 9113 8.7, whatever the method: gRPC's calls are of that kind."""
    client, upstream = to_h2.start()
    client.ask("/", "POST", body=length)
    upstream.request()
    client.send(b"body")
    client.end()
    assert upstream.rest().body == b"body"
    if how == "GOAWAY":
        upstream.goaway(0)
        upstream.wire.close()
        upstream.wire, upstream.stream = None, None
    else:
        upstream.reset(ErrorCodes.REFUSED_STREAM)
    assert upstream.request()["method"] == "POST"
    assert upstream.rest().body == b"body"
    to_h2.is_answered()
    to_h2.goes_on()


def test_a_request_that_is_refused_in_the_middle_of_its_body_is_sent_again(to_h2):
    client, upstream = to_h2.start()
    client.ask("/", "POST", body="open")
    upstream.request()
    client.send(b"one")
    assert upstream.take(3) == b"one"
    upstream.reset(ErrorCodes.REFUSED_STREAM)
    upstream.request()
    assert upstream.take(3) == b"one"
    client.send(b"two")
    client.end([("x-trailer", "yes")])
    rest = upstream.rest()
    assert rest.body == b"two" and (to_h2.down == "h1" or rest.trailers == {"x-trailer": "yes"})
    upstream.head(204, length=None)
    upstream.end()
    assert client.head() == 204
    to_h2.goes_on()


@pytest.mark.parametrize("length", [20_000, "open"])
def test_a_refused_request_whose_body_is_gone_is_its_clients_to_send_again(to_h2, length):
    client, upstream = to_h2.start()
    client.ask("/", "POST", body=length)
    upstream.request()
    client.send(pattern(20_000))
    client.end()
    assert upstream.rest().body == pattern(20_000)
    upstream.reset(ErrorCodes.REFUSED_STREAM)
    if to_h2.down == "h2":
        client.until(lambda: client.now.code is not None)
        assert client.now.code == ErrorCodes.REFUSED_STREAM and not client.now.heads
        to_h2.site.edge.wait_access(path="/", reason="upstream_reset", detail=lambda text: "REFUSED_STREAM" in text)
    else:
        assert client.head() == 502 and client.rest().whole
    to_h2.goes_on()


def test_an_upload_goes_on_behind_a_retry_over_a_shared_connection(to_h2):
    """Into windows that take at once what came during the pause: nothing else tells that more may come."""
    site, upstream, size = to_h2.site, to_h2.upstream, 1_000_000
    upstream.settings = {SettingCodes.INITIAL_WINDOW_SIZE: 4 << 20}
    retry = {"attempts": 1, "on": [503], "backoff": "300ms"}
    site.start(site.route({"path": "/", "upstream": upstream.entry, "retry": retry}), workers=1)
    to_h2.client = client = to_h2.connect()
    to_h2.goes_on()
    upstream.h2.increment_flow_control_window(8 << 20)
    upstream.flush()
    client.ask("/", "PUT", body=size)
    upstream.request()
    upstream.head(503, length=0)
    upstream.end()
    upstream.h2.ping(b"whatever")
    upstream.flush()
    upstream.until(lambda: upstream.pings == 1)  # so the pause has begun
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(client.send, pattern(size))
        upstream.request()
        assert upstream.take(size) == pattern(size)
        sent.result()
    upstream.head(204, length=None)
    upstream.end()
    assert client.head() == 204
    to_h2.goes_on()


def test_a_head_that_the_upstream_does_not_take_is_not_sent(to_h2):
    """SETTINGS_MAX_HEADER_LIST_SIZE: others of the connection do not suffer for it."""
    site, upstream = to_h2.site, to_h2.upstream
    upstream.settings = {SettingCodes.MAX_HEADER_LIST_SIZE: 4096}
    site.start(site.route({"path": "/", "upstream": upstream.entry, "retry": {"attempts": 3}}), workers=1)
    to_h2.client = client = to_h2.connect()
    other = to_h2.connect()
    other.ask("/long")
    upstream.request()
    upstream.head(200)
    assert other.head() == 200
    fields = [(f"x-{number}", "v" * 1000) for number in range(4)]
    client.ask("/fat", headers=fields)
    assert client.head() == 431 and b"127.0.0.1" not in client.rest().body
    client.ask("/fat", "POST", headers=[*fields, ("content-type", "application/grpc")], body=0)
    assert client.head() == 200 and client.headers["grpc-status"] == "13"
    to_h2.client = client = to_h2.connect()
    second = upstream.stream
    to_h2.goes_on()
    upstream.stream = second
    upstream.send(b"rest")
    upstream.end()
    assert other.rest().body == b"rest"
    assert [line["attempts"] for line in site.edge.wait_access(2, path="/fat", reason="head_too_large")] == [1, 1]


def test_trailers_behind_a_body_of_length_0(to_h2):
    client, upstream = to_h2.start()
    client.ask("/", "POST", body=0)
    upstream.request()
    upstream.head(200, [("content-type", "application/grpc")], length=0)
    upstream.end([("grpc-status", "5")])
    assert client.head() == 200 and client.headers["content-length"] == "0"
    rest = client.rest()
    assert rest.whole and rest.body == b"" and (to_h2.down == "h1" or rest.trailers == {"grpc-status": "5"})
    to_h2.goes_on()


def test_what_came_with_its_reset_is_passed_on(to_h2):
    client, upstream = to_h2.start()
    client.ask("/")
    upstream.request()
    upstream.h2.send_headers(upstream.stream, [(":status", "200")])
    upstream.h2.send_data(upstream.stream, b"begun")
    upstream.reset(ErrorCodes.CANCEL)  # in one packet
    assert client.head() == 200
    rest = client.rest()
    assert rest.body == b"begun" and not rest.whole


def test_a_goaway_lets_what_was_taken_end_and_sends_the_rest_elsewhere(to_h2):
    client, upstream = to_h2.start()
    other, third = to_h2.connect(), to_h2.connect()
    client.ask("/taken")
    upstream.request()
    upstream.head(200)
    upstream.send(b"half")
    assert client.head() == 200 and client.take(4) == b"half"
    other.ask("/not-taken", "POST")
    upstream.request()
    old, upstream.stream = upstream.wire, upstream.stream - 2
    upstream.goaway(upstream.stream)
    elsewhere = UPSTREAMS["h2"](upstream.tap)
    assert elsewhere.request()["path"] == "/not-taken"
    elsewhere.head(200, length=0)
    elsewhere.end()
    assert other.head() == 200
    third.ask("/later")
    assert elsewhere.request()["path"] == "/later"
    elsewhere.head(204, length=None)
    elsewhere.end()
    assert third.head() == 204
    upstream.send(b"rest")
    upstream.end()
    rest = client.rest()
    assert rest.whole and rest.body == b"rest"
    assert old.rest_or_reset() is not None, "what is used up is closed"
