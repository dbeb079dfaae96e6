"""TLS that ends here: which certificate, which versions and protocols, client certificates, tickets, renewals."""

import os
import ssl
import subprocess

import pytest
from support.curl import curl, curl_ok, s_client
from support.hello import hello
from support.ports import free_port
from support.terminated import cut, rest
from support.waiting import until
from support.wire import Wire, request


def says(text, **more):
    """A route's rules that answer by themselves."""
    return {"rules": [{"path": "/", "respond": {"status": 200, "body": text + "\n"}}], **more}


def pair_of(pair):
    return {"cert": str(pair.cert), "key": str(pair.key)}


def shown_certificate(edge, authority, name, port=None):
    with Wire.connect(port or edge.https, tls=authority.client_context(), name=name) as wire:
        return wire.sock.getpeercert(binary_form=True)


@pytest.mark.sanitizer
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_through_termination(edge, authority, origin, kind, version):
    pair = authority.issue("own.example.com", kind=kind)
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "own.example.com", "rules": [{"path": "/", "upstream": origin.address}]},
    ])
    body = curl_ok("https://own.example.com:{port}/bytes/100000", f"--tlsv{version}", "--tls-max", version,
                   port=edge.https, ca=authority.path)
    assert len(body) == 100_000
    line = edge.wait_access(kind="request", sni="own.example.com", status=200)[0]
    assert line["tls"] == f"TLSv{version}"


@pytest.mark.sanitizer
def test_alpn_agrees_on_what_both_speak(edge, authority):
    pair = authority.issue("own.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[{"host": "own.example.com", **says("own")}])
    with Wire.connect(edge.https, tls=authority.client_context(["http/1.1", "h2"]), name="own.example.com") as wire:
        assert wire.sock.selected_alpn_protocol() == "h2"
    for offer, agreed in ((["http/1.1"], "http/1.1"), (["spdy/3", "http/1.1"], "http/1.1"), ([], None)):
        with Wire.connect(edge.https, tls=authority.client_context(offer), name="own.example.com") as wire:
            assert wire.sock.selected_alpn_protocol() == agreed
            assert wire.ask("/", "own.example.com").body == b"own\n"
    edge.wait_access(alpn="http/1.1", sni="own.example.com")


def test_min_version_and_ciphers_of_a_host(edge, authority):
    pair = authority.issue("new.example.com", "old.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "new.example.com", **says("new"), "tls": {"min_version": "1.3"}},
        {"host": "old.example.com", **says("old"), "tls": {"ciphers": ["ECDHE-ECDSA-AES256-GCM-SHA384"]}},
    ])
    old_client = authority.client_context(version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError):
        Wire.connect(edge.https, tls=old_client, name="new.example.com")
    with Wire.connect(edge.https, tls=old_client, name="old.example.com") as wire:
        assert wire.sock.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    edge.wait_access(sni="new.example.com", reason="handshake_failed")
    refused = s_client(edge.https, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", name="old.example.com")
    assert refused.returncode != 0


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tickets_resume(edge, authority, version):
    pair = authority.issue("own.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[{"host": "own.example.com", **says("own")}])
    context = authority.client_context(version=version)
    with Wire.connect(edge.https, tls=context, name="own.example.com") as wire:
        wire.ask("/", "own.example.com")  # a TLS 1.3 ticket comes with the first bytes
        session = wire.sock.session
        assert not wire.sock.session_reused
    # Whichever worker takes the next connections: tickets hold for all.
    for _ in range(8):
        with Wire.connect(edge.https, tls=context, name="own.example.com", session=session) as wire:
            assert wire.sock.session_reused
            assert wire.ask("/", "own.example.com").body == b"own\n"
    edge.wait_access(8, resumed=lambda v: v is True or v in ("true", 1))


@pytest.mark.sanitizer
def test_no_resumption_where_client_certificates_differ(edge, authority):
    """CVE-2025-23419: a session made without a client certificate must not open a host that demands one."""
    pair = authority.issue("open.example.com", "shut.example.com", "half.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "open.example.com", **says("open")},
        {"host": "half.example.com", **says("half"), "tls": {"client_ca": str(authority.path), "client_auth": "optional"}},
        {"host": "shut.example.com", **says("shut"), "tls": {"client_ca": str(authority.path), "client_auth": "require"}},
    ])
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = authority.client_context(version=version)
        for other in ("open.example.com", "half.example.com"):
            with Wire.connect(edge.https, tls=context, name=other) as wire:
                wire.ask("/", other)
                session = wire.sock.session
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                with Wire.connect(edge.https, tls=context, name="shut.example.com", session=session) as wire:
                    wire.ask("/", "shut.example.com")
            with Wire.connect(edge.https, tls=context, name=other, session=session) as wire:
                assert wire.sock.session_reused  # the session itself was good
    assert not [line for line in edge.access() if line.get("sni") == "shut.example.com" and line.get("status") == 200]


@pytest.mark.sanitizer
def test_an_unknown_name_is_closed_or_gets_an_alert(edge, authority):
    pair = authority.issue("own.example.com")
    config = edge.base()
    config["listeners"][2]["unknown_host"] = "alert"
    edge.start(listeners=config["listeners"], certificates=[pair_of(pair)],
               routes=[{"host": "own.example.com", **says("own")}])
    closed = s_client(edge.https, name="nobody.test")
    assert closed.returncode != 0 and b"alert" not in closed.stderr and b"BEGIN CERTIFICATE" not in closed.stdout
    alerted = s_client(edge.kube, name="nobody.test")
    assert b"unrecognized name" in alerted.stderr, alerted.stderr
    assert b"BEGIN CERTIFICATE" not in s_client(edge.https).stdout  # nor does a client without a name see any


@pytest.mark.sanitizer
def test_a_host_without_certificate_refuses_its_own_connections_only(edge, authority):
    pair = authority.issue("own.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "own.example.com", **says("own")}, {"host": "bare.example.com", **says("bare")},
    ])
    assert curl("https://bare.example.com:{port}/", "-k", port=edge.https).returncode != 0
    assert curl_ok("https://own.example.com:{port}/", port=edge.https, ca=authority.path) == b"own\n"
    edge.wait_access(sni="bare.example.com", reason="no_certificate")


def test_a_broken_certificate_harms_its_host_only(edge, authority, tmp_path):
    good, bad, other = (authority.issue(f"{n}.example.com") for n in ("good", "bad", "other"))
    edge.start(certificates=[pair_of(good), {"cert": str(bad.cert), "key": str(other.key)}], routes=[
        {"host": "good.example.com", **says("good")}, {"host": "bad.example.com", **says("bad")},
    ])
    assert curl_ok("https://good.example.com:{port}/", port=edge.https, ca=authority.path) == b"good\n"
    assert curl("https://bad.example.com:{port}/", "-k", port=edge.https).returncode != 0
    assert str(bad.cert.name) in edge.log() or str(other.key.name) in edge.log()


@pytest.mark.sanitizer
def test_client_certificates_required(edge, authority, stranger):
    pair = authority.issue("shut.example.com")
    me, wrong = authority.issue("me", client=True), stranger.issue("me", client=True)
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "shut.example.com", **says("in"), "tls": {"client_ca": str(authority.path), "client_auth": "require"}},
    ])
    url, common = "https://shut.example.com:{port}/", {"port": edge.https, "ca": authority.path}
    assert curl_ok(url, "--cert", me.cert, "--key", me.key, **common) == b"in\n"
    for version in ("1.2", "1.3"):
        assert curl(url, "--tls-max", version, **common).returncode != 0
        done = curl(url, "--tls-max", version, "--cert", wrong.cert, "--key", wrong.key, **common)
        assert done.returncode != 0 and b"in" not in done.stdout
    edge.wait_access(4, sni="shut.example.com", reason="handshake_failed")


def test_client_certificates_optional(edge, authority, stranger):
    pair = authority.issue("half.example.com")
    me, wrong = authority.issue("me", client=True), stranger.issue("me", client=True)
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "half.example.com", **says("in"), "tls": {"client_ca": str(authority.path), "client_auth": "optional"}},
    ])
    url, common = "https://half.example.com:{port}/", {"port": edge.https, "ca": authority.path}
    assert curl_ok(url, **common) == b"in\n"
    assert curl_ok(url, "--cert", me.cert, "--key", me.key, **common) == b"in\n"
    assert curl(url, "--cert", wrong.cert, "--key", wrong.key, **common).returncode != 0


@pytest.mark.sanitizer
def test_a_missing_client_ca_refuses_the_host_and_never_opens_it(edge, authority, tmp_path):
    pair = authority.issue("shut.example.com", "own.example.com")
    missing = tmp_path / "later-ca.pem"
    edge.start(certificates=[pair_of(pair)], routes=[
        {"host": "own.example.com", **says("own")},
        {"host": "shut.example.com", **says("in"), "on_http": "serve", "tls": {"client_ca": str(missing), "client_auth": "optional"}},
    ])
    common = {"port": edge.https, "ca": authority.path}
    assert curl("https://shut.example.com:{port}/", **common).returncode != 0
    plain = Wire.connect(edge.http)
    assert plain.ask("/", "shut.example.com").status == 503, "nor over plain HTTP"
    assert curl_ok("https://own.example.com:{port}/", **common) == b"own\n"
    assert "later-ca.pem" in edge.log()
    # When the file comes, the host opens by itself.
    missing.write_bytes(authority.pem)
    until(lambda: curl("https://shut.example.com:{port}/", **common).stdout == b"in\n", "the host opens")
    assert plain.ask("/", "shut.example.com").status == 200
    plain.close()


@pytest.mark.sanitizer
def test_exact_certificate_before_wildcard(edge, authority):
    exact, wild = authority.issue("a.example.com"), authority.issue("*.example.com")
    edge.start(certificates=[pair_of(wild), pair_of(exact)], routes=[{"host": "*.example.com", **says("wild")}])
    assert shown_certificate(edge, authority, "a.example.com") == exact.der
    assert shown_certificate(edge, authority, "b.example.com") == wild.der
    # A certificate's wildcard covers one label; the route covers more.
    assert curl("https://x.b.example.com:{port}/", "-k", port=edge.https).returncode != 0


def test_rsa_and_ecdsa_side_by_side(edge, authority):
    ecdsa, rsa = authority.issue("a.example.com"), authority.issue("a.example.com", kind="rsa")
    edge.start(certificates=[pair_of(rsa), pair_of(ecdsa)], routes=[{"host": "a.example.com", **says("a")}])
    for sigalgs, expected in (("ECDSA+SHA256:RSA-PSS+SHA256", ecdsa), ("RSA-PSS+SHA256:RSA+SHA256", rsa)):
        done = s_client(edge.https, "-showcerts", "-sigalgs", sigalgs, name="a.example.com")
        assert expected.cert_pem.strip() in done.stdout


@pytest.mark.sanitizer
def test_every_layout_of_a_directory(edge, authority, tmp_path):
    folder = tmp_path / "certs.d"
    names = {
        "pem": ("pem.pem", "pem.key"), "crt": ("crt.crt", "crt.key"), "secret": ("secret/tls.crt", "secret/tls.key"),
        "certbot": ("certbot/fullchain.pem", "certbot/privkey.pem"),
    }
    pairs = {}
    for name, (cert, key) in names.items():
        pairs[name] = authority.issue(f"{name}.example.com")
        pairs[name].install(folder / cert, folder / key)
    (folder / "README").write_text("no certificate\n")
    mounted = authority.issue("mounted.example.com")
    mounted.install(tmp_path / "mount/tls.crt", tmp_path / "mount/tls.key")
    pairs["mounted"] = mounted
    edge.start(certificates=[{"directory": str(folder)}, {"directory": str(tmp_path / "mount")}],
               routes=[{"host": "*.example.com", **says("x")}])
    for name, pair in pairs.items():
        assert shown_certificate(edge, authority, f"{name}.example.com") == pair.der, name


@pytest.mark.sanitizer
def test_renewals_are_picked_up_without_a_reload(edge, authority, tmp_path):
    """Rename-over, writing in place, a new folder, and the links of a ConfigMap; connections that stand are kept."""
    folder = tmp_path / "certs.d"
    old = authority.issue("a.example.com")
    old.install(folder / "a.pem", folder / "a.key")
    edge.start(certificates=[{"directory": str(folder)}], routes=[{"host": "*.example.com", **says("x")}])
    kept = Wire.connect(edge.https, tls=authority.client_context(), name="a.example.com")
    assert kept.ask("/", "a.example.com").status == 200

    def shows(name, pair):
        def look():
            try:
                return shown_certificate(edge, authority, name) == pair.der
            except (OSError, ssl.SSLError):
                return False
        until(look, lambda: f"the new certificate of {name} is shown; the log:\n{edge.log()[-2000:]}")

    renamed = authority.issue("a.example.com", days=100)
    renamed.install(folder / "a.pem", folder / "a.key")
    shows("a.example.com", renamed)

    in_place = authority.issue("a.example.com", days=110)
    (folder / "a.key").write_bytes(in_place.key_pem)
    (folder / "a.pem").write_bytes(in_place.cert_pem)
    shows("a.example.com", in_place)

    fresh = authority.issue("b.example.com")
    fresh.install(folder / "b/fullchain.pem", folder / "b/privkey.pem")
    shows("b.example.com", fresh)

    # certbot: live/NAME holds links into archive/NAME, and a renewal turns the links
    archive, live = tmp_path / "archive", folder / "c"
    live.mkdir()
    for number in (1, 2):
        pair = authority.issue("c.example.com", days=90 + number)
        for name, content in (("fullchain", pair.cert_pem), ("privkey", pair.key_pem)):
            archive.mkdir(exist_ok=True)
            target = archive / f"{name}{number}.pem"
            target.write_bytes(content)
            target.chmod(0o600)
            link = live / f".{name}"
            link.symlink_to(target)
            os.replace(link, live / f"{name}.pem")
        shows("c.example.com", pair)

    # Kubernetes: ..data points to the folder of the day
    mount = folder / "d"
    mount.mkdir()
    for number in (1, 2):
        pair = authority.issue("d.example.com", days=90 + number)
        pair.install(mount / f"..day{number}/tls.crt", mount / f"..day{number}/tls.key")
        (mount / "..data_tmp").symlink_to(f"..day{number}")
        os.replace(mount / "..data_tmp", mount / "..data")
        if number == 1:
            (mount / "tls.crt").symlink_to("..data/tls.crt")
            (mount / "tls.key").symlink_to("..data/tls.key")
        shows("d.example.com", pair)

    assert kept.ask("/", "a.example.com").body == b"x\n"
    kept.close()


def test_a_broken_renewal_keeps_the_last_good_pair(edge, authority, tmp_path):
    folder = tmp_path / "certs.d"
    good = authority.issue("a.example.com")
    good.install(folder / "a.pem", folder / "a.key")
    edge.start(certificates=[{"directory": str(folder)}], routes=[{"host": "a.example.com", **says("x")}])
    assert shown_certificate(edge, authority, "a.example.com") == good.der
    mark = len(edge.log())
    (folder / "a.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    edge.wait_log(r"a\.pem", since=mark)
    assert shown_certificate(edge, authority, "a.example.com") == good.der
    better = authority.issue("a.example.com", days=100)
    better.install(folder / "a.pem", folder / "a.key")
    until(lambda: shown_certificate(edge, authority, "a.example.com") == better.der, "the good one is shown")


@pytest.mark.sanitizer
def test_the_handshake_has_a_deadline(edge, authority):
    pair = authority.issue("own.example.com")
    edge.start(timeouts={"tls_handshake": "500ms"}, certificates=[pair_of(pair)],
               routes=[{"host": "own.example.com", **says("own")}])
    with Wire.connect(edge.https) as wire:
        wire.send(hello("own.example.com"))
        assert wire.rest_or_reset()[:1] in (b"\x16", b"\x15")  # its half of the handshake, then the end
    edge.wait_access(sni="own.example.com", reason="handshake_timeout")


def test_garbage_after_the_hello_is_a_failed_handshake(edge, authority):
    pair = authority.issue("own.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[{"host": "own.example.com", **says("own")}])
    with Wire.connect(edge.https) as wire:
        wire.send(hello("own.example.com") + b"\x16\x03\x03\x00\x05nonsense and more of it")
        wire.rest_or_reset()
    line = edge.wait_access(sni="own.example.com", reason="handshake_failed")[0]
    assert line["kind"] == "connection"
    assert sum(
        value for (name, labels), value in edge.metrics().items()
        if name == "edgemux_tls_handshakes_total" and "fail" in dict(labels)["result"]
    ) == 1


def test_close_notify_ends_the_connection(edge, authority):
    """What an orderly TLS client relies on to know that an answer was whole."""
    pair = authority.issue("own.example.com")
    edge.start(certificates=[pair_of(pair)], routes=[{"host": "own.example.com", **says("own")}])
    done = subprocess.run(
        ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{edge.https}", "-servername", "own.example.com"],
        input=b"GET / HTTP/1.1\r\nHost: own.example.com\r\nConnection: close\r\n\r\n", capture_output=True, timeout=30)
    assert done.stdout.endswith(b"own\n")
    assert b"unexpected eof" not in done.stderr


@pytest.mark.sanitizer
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("how", [("HTTP/1.1", [("Connection", "close")]), ("HTTP/1.0", [])], ids=["close", "1.0"])
def test_a_whole_answer_ends_with_close_notify_whatever_it_says(secure, method, how):
    version, headers = how
    secure.start(
        {"host": "own.example.com", "rules": [
            {"path": "/page", "respond": {"status": 200, "body": "page\n"}},
            {"path": "/gone", "upstream": f"127.0.0.1:{free_port()}"}]},
        {"host": "alone.example.com", "passthrough": f"127.0.0.1:{free_port()}"},
    )
    for host, path, status in (
        ("own.example.com", "/page", 200), ("own.example.com", "/", 404), ("own.example.com", "/gone", 502),
        ("nobody.example.org", "/", 404), ("alone.example.com", "/", 421),
    ):
        with secure.connect("own.example.com", alpn=["http/1.1"]) as wire:
            assert wire.ask(path, host, method, headers, version=version).status == status
            assert rest(wire) == b"", (host, path)


@pytest.mark.sanitizer
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_an_answer_that_is_cut_has_no_close_notify(secure, tap, version):
    secure.start({"host": "own.example.com", "rules": [{"path": "/", "upstream": tap.address}]})
    with secure.connect("own.example.com", alpn=["http/1.1"]) as wire:
        wire.send(request("/", "own.example.com", headers=[("Connection", "close")], version=version))
        backend = tap.accept()
        backend.take_through(b"\r\n\r\n")
        backend.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf\n\r\n")
        wire.take_through(b"half\n")
        backend.close()
        assert cut(wire).strip() == b""
    secure.edge.wait_access(reason="upstream_closed")
