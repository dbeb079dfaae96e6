"""HTTP/2 with clients: real ones, and one that is driven by hand."""

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.curl import curl_ok
from support.origin import pattern
from support.site import HOST
from support.waiting import patience, until

STREAMS = 48  # at a time


# ---- real clients


@pytest.mark.sanitizer
def test_curl_speaks_http2(site, big_file):
    site.start()
    port, ca = site.edge.https, site.authority.path
    head = curl_ok(f"https://{HOST}:{{port}}/bytes/100000", "--http2", "-o", "/dev/null", "-w", "%{http_version}", port=port, ca=ca)
    assert head == b"2"
    assert curl_ok(f"https://{HOST}:{{port}}/chunked/1000000", "--http2", port=port, ca=ca) == pattern(1_000_000)
    seen = json.loads(curl_ok(f"https://{HOST}:{{port}}/upload", "--http2", "-T", big_file, port=port, ca=ca))
    assert seen["sha256"] == hashlib.sha256(big_file.read_bytes()).hexdigest()
    line = site.edge.wait_access(kind="request", status=200, path="/bytes/100000")[0]
    assert (line["protocol"], line["alpn"]) == ("HTTP/2", "h2")


def test_alpn_of_a_host_decides(site):
    site.start(site.route(), site.route(host="old.example.com", tls={"alpn": ["http/1.1"]}))
    for host, version in ((HOST, b"2"), ("old.example.com", b"1.1")):
        said = curl_ok(f"https://{host}:{{port}}/", "-o", "/dev/null", "-w", "%{http_version}", port=site.edge.https,
                       ca=site.authority.path)
        assert said == version


def test_nghttp_and_h2load(site):
    site.start()
    url = f"https://127.0.0.1:{site.edge.https}/bytes/5000"
    shown = subprocess.run(["nghttp", "-nv", "--no-verify-peer", f"-H:authority: {HOST}", url], capture_output=True,
                           text=True, timeout=patience(30))
    assert ":status: 200" in shown.stdout and shown.returncode == 0, shown.stdout[-2000:] + shown.stderr[-2000:]
    assert "negotiated protocol: h2" in shown.stdout
    load = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "20", "--connect-to",
                           f"127.0.0.1:{site.edge.https}", f"https://{HOST}:{site.edge.https}/bytes/5000"],
                          capture_output=True, text=True, timeout=patience(60))
    assert "2000 succeeded, 0 failed, 0 errored" in load.stdout, load.stdout + load.stderr


with_go = pytest.mark.xdist_group("go")  # one process, for what it builds takes a minute the first time


@pytest.fixture(scope="session")
def go_requests(tmp_path_factory):
    """support/go/requests.go, built."""
    made = tmp_path_factory.mktemp("go") / "requests"
    done = subprocess.run(["go", "build", "-o", made, Path(__file__).parent / "support/go/requests.go"], capture_output=True,
                          text=True, timeout=patience(300), env={**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local"})
    assert done.returncode == 0, done.stderr
    return made


@with_go
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_more_requests_at_a_time_than_streams_with_go(site, go_requests, method):
    """It sends a hundred before it knows of our limit, and those that are refused again."""
    site.start(workers=1)
    count = 300
    done = subprocess.run([go_requests, f"127.0.0.1:{site.edge.https}", f"https://{HOST}/echo", site.authority.path, str(count),
                           method], capture_output=True, text=True, timeout=patience(120))
    answers = {}
    for line in done.stdout.splitlines():
        number, status, protocol, body = line.split(" ", 3)
        assert (status, protocol) == ("200", "HTTP/2.0"), line
        answers[int(number)] = json.loads(body)
    assert sorted(answers) == list(range(count)), done.stderr[-2000:]
    assert all(seen["target"] == f"/echo?{number}" for number, seen in answers.items())
    assert sorted(r.target for r in site.origin.requests) == sorted(f"/echo?{n}" for n in range(count)), "each arrives once"
    assert site.edge.metrics().total("edgemux_drops_total", reason="flood") == 0


@with_go
@pytest.mark.parametrize("pace", ["fast", "slow"])
@pytest.mark.parametrize("what", ["GET", "ONCE"])
def test_a_hundred_at_once_on_a_fresh_connection_with_go(site, go_requests, what, pace):
    """None is refused, or bodies that cannot be sent again would be lost; each arrives once, over one connection."""

    def late(call):
        call.read_body()
        site.origin.wait_for_requests(STREAMS)  # that is all that come before one is answered
        call.answer_json({"target": call.seen.target, "length": call.seen.body_length})
        return call.keep

    if pace == "slow":
        site.origin.scripts["/echo"] = late
    site.start(workers=1)
    size = 200 if what == "ONCE" else 0
    done = subprocess.run([go_requests, f"127.0.0.1:{site.edge.https}", f"https://{HOST}/echo", site.authority.path, "100", what,
                           str(size)], capture_output=True, text=True, timeout=patience(60), env={**os.environ, "CONNECTIONS": "1"})
    answers = [line.split(" ", 3) for line in done.stdout.splitlines()]
    assert [a for a in answers if a[1:3] != ["200", "HTTP/2.0"]] == [] and len(answers) == 100, done.stderr[-2000:]
    assert all((seen["target"], seen["length"]) == (f"/echo?{a[0]}", size) for a in answers for seen in [json.loads(a[3])])
    everything = sorted(f"/echo?{n}" for n in range(100))
    assert sorted(r.target for r in site.origin.requests) == everything, "each arrives once"
    lines = site.edge.wait_access(100, kind="request", status=200, reason="done")
    assert sorted(line["path"] for line in lines) == everything
    assert site.edge.metrics().total("edgemux_connections_total", listener="https") == 1
    assert site.edge.metrics().total("edgemux_drops_total", reason="flood") == 0


@with_go
def test_large_bodies_that_cannot_be_sent_again_with_go(site, go_requests):
    """What is too much to be held is refused, and holds up nobody: all others come through whole."""
    site.start(workers=1)
    done = subprocess.run([go_requests, f"127.0.0.1:{site.edge.https}", f"https://{HOST}/upload", site.authority.path, "100", "ONCE",
                           "300000"], capture_output=True, text=True, timeout=patience(60), env={**os.environ, "CONNECTIONS": "1"})
    answers = [line.split(" ", 3) for line in done.stdout.splitlines()]
    whole = [a for a in answers if a[1] == "200"]
    assert len(answers) == 100 and len(whole) >= STREAMS, done.stdout
    assert all(json.loads(a[3])["length"] == 300_000 for a in whole)
    assert all("REFUSED_STREAM" in a[3] for a in answers if a[1] != "200"), done.stdout
    assert len(site.origin.requests) == len(whole)


def test_a_hundred_streams_with_h2load(site):
    site.start(workers=1)
    load = subprocess.run(["h2load", "-n", "2000", "-c", "4", "-m", "100", "--connect-to",
                           f"127.0.0.1:{site.edge.https}", f"https://{HOST}:{site.edge.https}/bytes/5000"],
                          capture_output=True, text=True, timeout=patience(60))
    assert "2000 succeeded, 0 failed, 0 errored" in load.stdout, load.stdout + load.stderr


# ---- a client by hand


@pytest.mark.sanitizer
def test_streams_share_a_connection(site, h2):
    site.start()
    client = h2()
    streams = [client.ask(f"/bytes/{n * 1000}") for n in range(1, 41)]
    for n, answer in zip(range(1, 41), client.wait(*streams)):
        assert (answer.status, bytes(answer.body)) == (200, pattern(n * 1000))
    assert client.goaway is None


@pytest.mark.sanitizer
def test_heads_and_bodies_to_http1(site, h2):
    site.start()
    client = h2()
    answer = client.post("/echo?x=1", b"hello", headers=[("x-a", "b"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"),
                                                         ("x-forwarded-for", "1.2.3.4")])
    seen = json.loads(answer.body)
    assert (seen["method"], seen["target"], seen["length"]) == ("POST", "/echo?x=1", 5)
    headers = {n.lower(): v for n, v in seen["headers"]}
    assert headers["host"] == HOST and headers["cookie"] == "a=1; b=2" and headers["x-a"] == "b"
    assert headers["transfer-encoding"] == "chunked" and headers["x-forwarded-for"] == "127.0.0.1"
    assert not {"te", "connection", "upgrade"} & set(headers)
    with_length = client.post("/echo", b"12345", headers=[("content-length", "5")])
    headers = {n.lower(): v for n, v in json.loads(with_length.body)["headers"]}
    assert headers["content-length"] == "5" and "transfer-encoding" not in headers
    without = client.get("/echo", method="POST")
    headers = {n.lower(): v for n, v in json.loads(without.body)["headers"]}
    assert headers["content-length"] == "0", "some servers insist on it"


def test_interim_head_status_and_early_answers(site, h2):
    site.start()
    client = h2()
    hints = client.get("/hints")
    assert [dict(i)[":status"] for i in hints.interim] == ["103"] and hints.status == 200
    head = client.get("/bytes/1000", method="HEAD")
    assert (head.status, head.get("content-length"), bytes(head.body)) == (200, "1000", b"")
    assert client.get("/status/404").status == 404
    early = client.ask("/early", method="POST", end=False)
    client.send(early, b"x" * 100_000)
    answer = client.wait(early)
    assert answer.status == 403
    assert client.get("/bytes/10").status == 200, "the connection lives on"


def test_a_broken_request_costs_its_stream_only(site, h2):
    site.start()
    client = h2(checked=False)
    good = client.ask("/gate/a")
    for headers in ([("connection", "close")], [("Upper", "x")], [("bad", "a\r\nb: c")], [("transfer-encoding", "chunked")]):
        assert client.get("/", headers=headers).status == 400
    refused = client.get("/", method="CONNECT")
    assert refused.status == 400 or (refused.status == 405 and "GET" in refused.get("allow"))
    lies = client.ask("/upload", method="POST", headers=[("content-length", "5")], end=False)
    client.send(lies, b"123", end=True)
    assert client.wait(lies).status == 400
    assert client.get("/", headers=[("x-large", "y" * 70_000)]).status == 431
    site.origin.gate("a").set()
    assert client.wait(good).status == 200
    site.edge.wait_access(reason="bad_request", status=400)


@pytest.mark.parametrize("fields", [[("x-large", "y" * 70_000)], [(f"x-{number}", "y") for number in range(300)]])
def test_a_grpc_call_with_too_large_a_head_gets_a_grpc_status(site, h2, fields):
    site.start()
    client = h2()
    answer = client.get("/", method="POST", headers=[("content-type", "application/grpc+proto"), ("te", "trailers"), *fields])
    assert answer.status == 200 and answer.get("grpc-status") == "13" and answer.get("content-type") == "application/grpc"
    assert client.get("/", headers=[("content-type", "text/plain"), *fields]).status == 431
    site.edge.wait_access(2, reason="head_too_large")


@pytest.mark.sanitizer
def test_resets_travel_both_ways(site, h2):
    site.start()
    client = h2()
    dropped = client.ask("/gate/never")
    until(lambda: any(r.target == "/gate/never" for r in site.origin.requests), "the request arrived")
    client.h2.reset_stream(dropped)
    client.flush()
    site.edge.wait_access(reason="client_reset", path="/gate/never")
    cut = client.get("/short/100000")
    assert cut.reset == 2
    assert client.get("/nothing").status == 502
    assert client.get("/bytes/10").status == 200


def test_a_slow_reader_stops_the_sender(site, h2):
    """48 streams of 4 MiB each that nobody reads: the edge holds windows, not bodies."""
    site.start()
    client = h2(manual=True)
    client.get("/bytes/10")
    before = site.edge.pss()
    streams = [client.ask(f"/bytes/{4 << 20}") for _ in range(48)]
    client.until(lambda: client.h2.inbound_flow_control_window < 100, "the connection's window is used up")
    good = h2()
    for _ in range(20):
        assert good.get("/bytes/100000").status == 200
    grown = site.edge.pss() - before
    assert grown < 16 * 1024, f"{grown} KiB more"
    client.manual = False
    client.h2.acknowledge_received_data(65_000, streams[0])
    for stream in streams:
        client.h2.increment_flow_control_window(8 << 20, stream)
    client.h2.increment_flow_control_window(500 << 20)
    client.flush()
    client.wait(*streams[:3])
    assert bytes(client.streams[streams[0]].body) == pattern(4 << 20)


@pytest.mark.sanitizer
def test_drains_with_goaway(site, h2):
    site.start()
    client, idle = h2(), h2()
    assert idle.get("/bytes/1").status == 200
    stream = client.ask("/gate/late")
    until(lambda: any(r.target == "/gate/late" for r in site.origin.requests), "the request arrived")
    site.edge.signal(signal.SIGTERM)
    client.until(lambda: client.goaways, "a notice")
    assert client.goaways[0] == (2**31 - 1, 0)
    assert idle.ends() == 0
    assert [code for _, code in idle.goaways] == [0, 0] and idle.goaways[1][0] == 1
    site.origin.gate("late").set()
    answer = client.wait(stream)
    assert answer.status == 200
    client.ends()
    assert client.goaways[-1] == (stream, 0)
    assert site.edge.wait_exit() == 0


# ---- requests that are held until others are over


@pytest.fixture
def crowd(site, h2):
    """crowd(count, ...) asks for /gate/G?N so many times, waits until STREAMS have arrived; the client and the streams."""

    def ask(count, **over):
        site.start(workers=1, **over)
        client = h2()
        streams = [client.ask(f"/gate/G?{n}") for n in range(count)]
        site.origin.wait_for_requests(STREAMS)
        return client, streams

    return ask


def arrived(site):
    return [int(r.target.split("?")[1]) for r in site.origin.requests if "?" in r.target]


@pytest.mark.sanitizer
def test_held_requests_that_are_taken_back_arrive_nowhere(site, crowd):
    client, streams = crowd(60)
    for stream in streams[50:55]:
        client.h2.reset_stream(stream, 8)
    client.flush()
    client.h2.ping(b"12345678")
    client.flush()
    client.until(lambda: client.pings, "what was sent has been read")
    assert sorted(arrived(site)) == list(range(STREAMS))
    site.origin.gate("G").set()
    rest = streams[:50] + streams[55:]
    assert all(answer.status == 200 for answer in client.wait(*rest))
    assert sorted(arrived(site)) == [*range(50), *range(55, 60)]
    site.edge.wait_access(55, kind="request", status=200, reason="done")
    assert client.get("/bytes/1").status == 200 and client.goaway is None


@pytest.mark.sanitizer
def test_held_requests_have_a_deadline(site, crowd):
    client, streams = crowd(50, timeouts={"request_head": "500ms"})
    client.until(lambda: all(client.streams[s].reset == 7 for s in streams[STREAMS:]), "they are refused")
    site.origin.gate("G").set()
    assert all(answer.status == 200 for answer in client.wait(*streams[:STREAMS]))
    assert sorted(arrived(site)) == list(range(STREAMS))
    site.edge.wait_access(STREAMS, kind="request", status=200, reason="done")
    refused = site.edge.wait_access(2, reason="too_many_streams")
    assert len(refused) == 2 and len(site.edge.access()) == STREAMS + 2 and client.goaway is None


@pytest.mark.sanitizer
def test_held_requests_are_answered_in_a_drain(site, crowd):
    client, streams = crowd(60)
    site.edge.signal(signal.SIGTERM)
    client.until(lambda: len(client.goaways) == 2, "both notices")
    assert client.goaways == [(2**31 - 1, 0), (streams[-1], 0)]
    site.origin.gate("G").set()
    assert all(answer.status == 200 for answer in client.wait(*streams))
    assert client.ends() == 0
    assert sorted(arrived(site)) == list(range(60))
    assert site.edge.wait_exit() == 0


@pytest.mark.sanitizer
def test_held_requests_go_with_their_connection(site, crowd):
    client, _ = crowd(60)
    client.close()
    site.edge.wait_access(STREAMS, kind="request", reason="client_reset")
    assert sorted(arrived(site)) == list(range(STREAMS)) and len(site.edge.access()) == STREAMS


@pytest.mark.sanitizer
def test_the_limit_is_told_when_a_connection_is_not_new_any_more(site, h2):
    site.start()
    client = h2()

    def limit():
        return client.h2.remote_settings.max_concurrent_streams

    assert client.get("/bytes/1").status == 200 and limit() == 100
    client.until(lambda: limit() == STREAMS, "the limit")
    assert client.get("/bytes/1").status == 200


def test_an_idle_connection_is_told_before_it_is_closed(site, h2):
    site.start(timeouts={"idle": "300ms"})
    client = h2()
    client.get("/bytes/1")
    assert client.ends() == 0
    site.edge.wait_access(reason="done", path="/bytes/1")


def test_coalesced_connections_are_refused_with_421(site, h2):
    site.start(site.route(), site.route(host="other.example.com", tls={"min_version": "1.3"}))
    client = h2()
    assert client.get("/bytes/1", authority="other.example.com").status == 421
    assert client.get("/bytes/1").status == 200
    assert client.get("/bytes/1", authority="nobody.example.net").status == 404


def test_the_origin_frame_names_what_may_be_asked_for(site, h2):
    site.start()
    client = h2()
    client.get("/bytes/1")
    assert client.origins == [f"https://{HOST}:{site.edge.https}"]


def test_the_origin_frame_leaves_out_what_this_route_does_not_end(site, h2, tap):
    """The certificate covers more names than may be asked for here without a 421."""
    pair = site.authority.issue(HOST, "also.example.com", "other.example.com", "through.example.com", "kube.example.com",
                                "nobody.example.com", "*.example.com")
    rules = [{"path": "/", "upstream": site.origin.address}]
    site.edge.start(certificates=[{"cert": str(pair.cert), "key": str(pair.key)}], routes=[
        {"hosts": [HOST, "also.example.com"], "rules": rules},
        {"host": "other.example.com", "rules": rules},
        {"host": "through.example.com", "passthrough": tap.address},
        {"host": "kube.example.com", "rules": rules, "listeners": ["kube-api"]},
    ])
    client = h2()
    client.get("/bytes/1")
    assert sorted(client.origins) == [f"https://{name}:{site.edge.https}" for name in ("also.example.com", HOST)]


# ---- a browser


def chromium(site, folder, page):
    """What it makes of the page, and its network log."""
    log = folder / "net.json"
    done = subprocess.run(
        ["/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--ignore-certificate-errors", f"--user-data-dir={folder}/profile", f"--log-net-log={log}",
         f"--host-resolver-rules=MAP {HOST} 127.0.0.1", "--virtual-time-budget=3000", "--dump-dom",
         f"https://{HOST}:{site.edge.https}{page}"],
        capture_output=True, text=True, timeout=patience(90))
    assert "ready" in done.stdout, done.stdout + done.stderr[-2000:]
    return json.loads(log.read_text(errors="replace"))


def test_chromium_speaks_http2(site, tmp_path):
    site.origin.scripts["/page"] = lambda call: call.answer(
        body=b"<title>t</title><img src=/status/204><script>document.title='ready'</script>", content_type="text/html")
    site.start()
    seen = chromium(site, tmp_path, "/page")
    kinds = {number: name for name, number in seen["constants"]["logEventTypes"].items()}  # all that there are
    heads = [e["params"]["headers"] for e in seen["events"] if kinds[e["type"]] == "HTTP2_SESSION_RECV_HEADERS"]
    assert sum(":status: 200" in head for head in heads) >= 1 and sum(":status: 204" in head for head in heads) >= 1, heads
    line = site.edge.wait_access(path="/page", status=200)[0]
    assert (line["alpn"], line["protocol"]) == ("h2", "HTTP/2")


def test_chromium_asks_for_more_at_a_time_than_streams(site, tmp_path):
    count = 200
    script = ("Promise.all([...Array(%d).keys()].map(n => fetch('/echo?' + n, n %% 2 ? {method: 'POST', body: 'b'} : {}).then(r => r.json())))"
              ".then(all => {if (all.every((seen, n) => seen.target == '/echo?' + n)) document.title = 'ready'})" % count)
    site.origin.scripts["/page"] = lambda call: call.answer(body=f"<title>t</title><script>{script}</script>".encode(),
                                                            content_type="text/html")
    site.start(workers=1)
    chromium(site, tmp_path, "/page")
    assert len([r for r in site.origin.requests if r.target.startswith("/echo?")]) == count
    assert {line["protocol"] for line in site.edge.wait_access(count, path=lambda p: p and p.startswith("/echo"), status=200)} == {"HTTP/2"}
