"""gRPC with real clients and servers (grpcio), through the proxy: all kinds of calls, and what fails."""

import threading
import time
from concurrent import futures

import grpc
import pytest
from support.ports import free_port
from support.waiting import patience, until

HOST = "own.example.com"
SERVICE = "/demo.Echo/"


class Server:
    """Messages are bytes as they are, so that no generated code is needed."""

    def __init__(self, port):
        self.address = f"127.0.0.1:{port}"
        self.cancelled = threading.Event()
        self.deadlines, self.metadata, self.calls = [], [], 0
        plain = {"request_deserializer": None, "response_serializer": None}
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, **plain),
            "Count": grpc.unary_stream_rpc_method_handler(self.count, **plain),
            "Sum": grpc.stream_unary_rpc_method_handler(self.sum, **plain),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, **plain),
            "Late": grpc.stream_stream_rpc_method_handler(self.late, **plain),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail, **plain),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang, **plain),
        }
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.max_receive_message_length", -1)])
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("demo.Echo", kinds)])
        assert self.server.add_insecure_port(self.address)
        self.server.start()

    def close(self):
        self.server.stop(0).wait()

    def unary(self, request, context):
        self.calls += 1
        self.metadata.append(dict(context.invocation_metadata()))
        context.set_trailing_metadata([("x-trailer", "t"), ("x-bytes-bin", b"\x00\x01")])
        return request

    def count(self, request, context):
        self.calls += 1
        for number in range(int(request)):
            yield str(number).encode()

    def sum(self, requests, context):
        return str(sum(len(r) for r in requests)).encode()

    def chat(self, requests, context):
        for request in requests:
            yield b"re:" + request

    def late(self, requests, context):
        next(requests)
        time.sleep(14)
        yield b"late"

    def fail(self, request, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")

    def hang(self, request, context):
        self.deadlines.append(context.time_remaining())
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(patience(30))
        return b""


@pytest.fixture
def server(closing):
    return closing(Server(free_port()))


@pytest.fixture
def channel(site, server):
    site.start(site.route({"path": "/demo.Echo", "upstream": to(server)},
                          {"path": "/dead.Service", "upstream": {"endpoints": [f"127.0.0.1:{free_port()}"], "protocol": "h2"}},
                          {"path": "/plain.Service", "respond": {"status": 403, "body": "no"}}))
    with connected(site) as made:
        yield made


def to(server):
    return {"endpoints": [server.address], "protocol": "h2"}


def connected(site, host=HOST):
    roots = grpc.ssl_channel_credentials(site.authority.path.read_bytes())
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host), ("grpc.enable_http_proxy", 0),
               ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return grpc.secure_channel(f"127.0.0.1:{site.edge.https}", roots, options)


def failure(channel, method, message=b""):
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(method)(message, timeout=within())
    return failed.value.code(), failed.value.details()


def within():
    return patience(20)


@pytest.mark.sanitizer
def test_all_four_kinds_of_calls(channel, server):
    answer, call = channel.unary_unary(SERVICE + "Unary").with_call(b"hello", timeout=within(), metadata=[("x-a", "b")])
    assert answer == b"hello" and call.code() == grpc.StatusCode.OK
    assert dict(call.trailing_metadata()) == {"x-trailer": "t", "x-bytes-bin": b"\x00\x01"}
    assert server.metadata[0]["x-a"] == "b"
    big = bytes(3 << 20)
    assert channel.unary_unary(SERVICE + "Unary")(big, timeout=within()) == big
    assert list(channel.unary_stream(SERVICE + "Count")(b"500", timeout=within())) == [str(n).encode() for n in range(500)]
    assert channel.stream_unary(SERVICE + "Sum")(iter([b"x" * 1000] * 300), timeout=within()) == b"300000"


@pytest.mark.sanitizer
def test_both_directions_flow_at_once(channel):
    turn = threading.Semaphore(1)

    def requests():
        for number in range(50):
            assert turn.acquire(timeout=within())
            yield str(number).encode()

    answers = []
    for answer in channel.stream_stream(SERVICE + "Chat")(requests(), timeout=within()):
        answers.append(answer)
        turn.release()  # the next one goes only when this one is back: nothing is held anywhere
    assert answers == [b"re:" + str(n).encode() for n in range(50)]


@pytest.mark.full
def test_a_stream_may_be_silent_before_its_first_answer(channel):
    """Longer than the ten seconds after which a body must come at timeouts.request_body_rate."""
    ended = threading.Event()

    def requests():
        yield b"wait"
        assert ended.wait(within())

    answers = channel.stream_stream(SERVICE + "Late")(requests(), timeout=within())
    assert next(answers) == b"late"
    ended.set()
    assert list(answers) == []


def test_more_calls_at_a_time_than_streams(channel):
    calls = [channel.unary_unary(SERVICE + "Unary").future(b"%d" % number, timeout=within()) for number in range(150)]
    assert [call.result() for call in calls] == [b"%d" % number for number in range(150)]


def test_status_and_deadlines_travel(channel, server):
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(SERVICE + "Fail")(b"", timeout=within())
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing: \u00e4")
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(SERVICE + "Nothing")(b"", timeout=within())
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(SERVICE + "Hang")(b"", timeout=2)
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < within()
    until(server.cancelled.is_set, "the server is told")
    assert 0 < server.deadlines[0] < 2.5


def test_the_proxys_own_answers_are_grpc(channel, site):
    for method, code, text in (("/dead.Service/Call", grpc.StatusCode.UNAVAILABLE, "refuses connections"),
                               ("/other.Service/Call", grpc.StatusCode.UNIMPLEMENTED, "no rule"),
                               # An answer of the operator's own is what it is; the client makes a status of it.
                               ("/plain.Service/Call", grpc.StatusCode.PERMISSION_DENIED, "403")):
        said = failure(channel, method)
        assert said[0] == code and text in said[1]
    site.edge.wait_access(path="/dead.Service/Call", reason="connect_failed", status=200)


def test_a_limit_is_told_in_grpc(channel, site):
    """As a limit, that is: one that comes again later may get through."""
    site.edge.reload(**(site.edge.config | {"limits": {"requests_per_second_per_source": 1}}))
    with pytest.raises(grpc.RpcError) as failed:
        for _ in range(50):
            channel.unary_unary(SERVICE + "Unary")(b"1", timeout=within())
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE and "more requests than it may" in failed.value.details()
    site.edge.wait_access(reason="source_limit", status=200)


def test_refusals_of_rules_and_hosts_are_grpc(site, server):
    site.start(
        site.route({"exact_path": SERVICE + "Hang", "upstream": to(server), "timeouts": {"request": "500ms"}},
                   {"path": "/demo.Echo", "upstream": to(server)}, max_request_body=1000),
        site.route({"path": "/", "upstream": to(server)}, host="denied.example.com", deny=["127.0.0.0/8"]),
        site.route({"path": "/", "upstream": to(server)}, host="others.example.com", allow=["203.0.113.0/24"]))
    with connected(site) as channel:
        code, text = failure(channel, SERVICE + "Hang")
        assert (code, "timeouts.request" in text) == (grpc.StatusCode.UNAVAILABLE, True)
        until(server.cancelled.is_set, "the server is told")
        code, text = failure(channel, SERVICE + "Unary", bytes(2000))
        assert (code, "larger than this host takes" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        assert channel.unary_unary(SERVICE + "Unary")(bytes(900), timeout=within()) == bytes(900)
    site.edge.wait_access(reason="request_timeout", status=200)
    site.edge.wait_access(reason="body_too_large", status=200)
    for host in ("denied.example.com", "others.example.com"):
        with connected(site, host) as channel:
            assert failure(channel, SERVICE + "Unary")[0] == grpc.StatusCode.PERMISSION_DENIED
    site.edge.wait_access(2, reason="access_denied", status=200)
    assert server.calls == 1


def test_rules_see_methods_fields_and_weights(site, server, closing):
    by_method, by_field, never = (closing(Server(free_port())) for _ in range(3))
    site.start(site.route({"exact_path": SERVICE + "Unary", "upstream": to(by_method)},
                          {"match": {"path": "/demo.Echo", "headers": {"x-version": "2"}}, "upstream": to(by_field)},
                          {"path": "/split.Echo", "rewrite": {"prefix": "/demo.Echo"},
                           "split": [{"upstream": to(server), "weight": 1}, {"upstream": to(never), "weight": 0}]},
                          {"path": "/demo.Echo", "upstream": to(server)}))
    with connected(site) as channel:
        assert channel.unary_unary(SERVICE + "Unary")(b"1", timeout=within()) == b"1" and by_method.calls == 1
        assert list(channel.unary_stream(SERVICE + "Count")(b"2", timeout=within(), metadata=[("x-version", "2")])) == [b"0", b"1"]
        assert list(channel.unary_stream(SERVICE + "Count")(b"1", timeout=within(), metadata=[("x-version", "1")])) == [b"0"]
        for _ in range(10):
            assert channel.unary_unary("/split.Echo/Unary")(b"3", timeout=within()) == b"3"
    assert [one.calls for one in (by_method, by_field, server, never)] == [1, 1, 11, 0]


def test_a_server_that_dies_is_an_error_and_comes_back(channel, server, closing):
    assert channel.unary_unary(SERVICE + "Unary")(b"1", timeout=within()) == b"1"
    port = int(server.address.rsplit(":", 1)[1])
    server.close()
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary(SERVICE + "Unary")(b"2", timeout=within())
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    closing(Server(port))

    def answers():
        try:
            return channel.unary_unary(SERVICE + "Unary")(b"3", timeout=within()) == b"3"
        except grpc.RpcError:
            return False

    until(answers, "the new server is used")
