"""Tenants of one process: none gets another's names, certificates or tokens, nor stops another's changes."""

import contextlib
import os
import re
import subprocess
import threading

import pytest
from support.hello import hello
from support.house import ACME, says
from support.http2 import H2Client
from support.waiting import patience, until
from support.wire import Wire


def test_a_tenants_own_certificate_names_its_origins(house):
    """And not one of the platform's, which covers the name too and is shown to nobody here."""
    pair = house.authority.issue("a.example.test", "more.a.example.test")
    house.certify("a", "a.example.test", "and.a.example.test")
    house.write("a", [{"hosts": ["a.example.test", "and.a.example.test", "more.a.example.test"],
                      "rules": [{"path": "/", "respond": {"body": "a"}}]}])
    house.start(certificates=[{"cert": str(pair.cert), "key": str(pair.key)}])
    with H2Client(house.edge.https, house.authority, name="a.example.test") as client:
        assert client.get("/").status == 200
        assert sorted(client.origins) == [f"https://{name}:{house.edge.https}" for name in ("a.example.test", "and.a.example.test")]


@pytest.mark.sanitizer
def test_a_tenant_cannot_take_anothers_name(house):
    edge = house.edge
    house.write("a", [says("a.example.test", "a"), says("b.example.test", "stolen"), says("*.b.example.test", "stolen"),
                      says("*.example.test", "stolen"), says("free.test", "stolen")])
    house.write("b", [says("b.example.test", "b")])
    house.start()
    assert house.ask("a.example.test") == (200, "a")
    assert house.ask("b.example.test") == (200, "b")
    for name in ("x.b.example.test", "c.example.test", "free.test"):
        assert house.ask(name) is None, name
        assert house.plain("/", name).status == 404
    assert "host 'b.example.test' belongs to tenant 'b'" in edge.log()
    line = edge.wait_access(host="b.example.test", status=200)[0]
    assert line["tenant"] == "b"


def test_a_wildcard_shadows_nothing_that_another_tenant_claims(house):
    """Nor does the platform's, even while the owner has no route."""
    house.tenants["b"]["hosts"] = ["*.b.a.example.test"]
    house.certify("a", "*.b.a.example.test", stem="more")
    house.write("a", [says("*.a.example.test", "a")])
    house.write("b", [])
    house.start(routes=[says("*.example.test", "platform")])
    assert house.ask("x.a.example.test") == (200, "a")
    assert house.ask("x.b.a.example.test") is None
    assert house.plain("/", "x.b.a.example.test").status == 404
    assert house.plain("/", "x.example.test").body == b"platform"
    assert house.plain("/", "x.a.example.test").body == b"a"


@pytest.mark.sanitizer
def test_a_broken_file_touches_nobody_else_and_keeps_its_last_good_bytes_over_a_restart(house):
    edge = house.edge
    house.write("a", [says("a.example.test", "a1")])
    house.write("b", [says("b.example.test", "b1")])
    house.start()
    house.write("a", "routes: [{ host: a.example.test, rules: [")
    edge.wait_log(r"tenants\.d/a/routes\.yaml:\d+:\d+: error")
    until(lambda: edge.metrics().total("edgemux_config_files_set_aside") == 1, "the file is set aside")
    assert edge.metrics().total("edgemux_tenant_files_set_aside", tenant="a") == 1
    assert edge.metrics().total("edgemux_tenant_files_set_aside", tenant="b") == 0
    house.write("b", [says("b.example.test", "b2")])
    until(lambda: house.ask("b.example.test") == (200, "b2"), "the change of b is in force")
    assert house.ask("a.example.test") == (200, "a1")
    house.restart()
    assert house.ask("a.example.test") == (200, "a1")
    assert house.ask("b.example.test") == (200, "b2")
    # What the claims say today holds for the last good bytes too.
    house.tenants["a"]["hosts"] = ["other.example.test"]
    edge.reload(**house.config())
    assert house.ask("a.example.test") is None
    assert house.ask("b.example.test") == (200, "b2")
    house.write("a", [says("other.example.test", "a3")])
    house.certify("a", "other.example.test", stem="more")
    until(lambda: house.ask("other.example.test") == (200, "a3"), "the repaired file is in force")
    until(lambda: edge.metrics().total("edgemux_config_files_set_aside") == 0, "nothing is set aside")


@contextlib.contextmanager
def rewriting(write):
    """Calls `write(n)` all the time, once a millisecond at the most."""
    done = threading.Event()

    def work():
        n = 0
        while not done.wait(0.001):
            n += 1
            write(n)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_tenant_that_keeps_rewriting_its_files_stops_nobody(house):
    """Nor the operator, who takes its names away; what was good before serves meanwhile, and the last word when it has settled."""
    edge = house.edge
    house.write("a", [says("a.example.test", "a1")])
    house.write("b", [says("b.example.test", "b1")])
    house.start()
    path = house.folder("a") / "routes.yaml"
    whole = path.read_text()

    def churn(n):
        path.write_text(whole.replace("a1", f"a{n}") + "#" * (n % 1000) + "\n")

    with rewriting(churn):
        edge.wait_log(r"tenants\.d/a/routes\.yaml: error: cannot read .*: it keeps changing while it is read")
        house.write("b", [says("b.example.test", "b2")])
        until(lambda: house.ask("b.example.test") == (200, "b2"), "the change of b is in force")
        assert house.ask("a.example.test")[1].startswith("a"), "good bytes serve"
        house.tenants["a"]["hosts"] = ["other.example.test"]
        edge.reload(**house.config())
        assert house.ask("a.example.test") is None
        house.tenants["a"]["hosts"] = ["a.example.test"]
        edge.reload(**house.config())
    house.write("a", [says("a.example.test", "settled")])
    until(lambda: house.ask("a.example.test") == (200, "settled"), "its last word is in force")
    until(lambda: edge.metrics().total("edgemux_config_files_set_aside") == 0, "nothing is set aside")


def test_a_certificate_that_is_rewritten_all_the_time_stops_nobody(house):
    edge = house.edge
    house.write("a", [says("a.example.test", "a1")])
    house.write("b", [says("b.example.test", "b1")])
    house.start()
    cert = house.folder("a") / "certs" / "own.pem"
    whole = cert.read_bytes()
    with rewriting(lambda n: cert.write_bytes(whole + b"\n" * (n % 1000))):
        edge.wait_log(r"certs/own\.pem: it keeps changing while it is read")
        house.write("b", [says("b.example.test", "b2")])
        until(lambda: house.ask("b.example.test") == (200, "b2"), "the change of b is in force")
        assert house.ask("a.example.test") == (200, "a1"), "the pair that was loaded before is in use"
    edge.wait_log(r"solved: .*certs/own\.pem: it keeps changing")


def test_a_tenants_certificates_are_bounded_and_broken_ones_cost_the_others_nothing(house, tmp_path):
    """Links to one large file beside a key that does not fit it: each was parsed as a whole, at every change of anybody."""
    edge = house.edge
    house.write("a", [says("a.example.test", "a1")])
    house.write("b", [says("b.example.test", "b1")])
    certs = house.folder("a") / "certs"
    foreign, own = house.authority.issue("stranger.example.test"), certs / "own.pem"
    large = tmp_path / "large.pem"
    large.write_bytes(own.read_bytes() * ((64 << 10) // own.stat().st_size))
    for n in range(1100):
        os.link(large, certs / f"p{n:04}.pem")
        os.link(foreign.key, certs / f"p{n:04}.key")
    house.start()
    folder = re.escape(str(certs))
    edge.wait_log(rf"edgemux\.yaml:\d+:\d+: error: the certificate pairs of tenant 'a' take more than 16MiB together with those in "
                  rf"{folder}: {folder}/p0\d+\.pem is left out, with \d+ others; make them smaller, or set limits\.config_size")
    assert house.ask("a.example.test") == (200, "a1"), "the pairs that fit serve"
    assert house.ask("b.example.test") == (200, "b1")
    house.tenants["a"]["limits"] = {"config_size": 0}
    edge.reload(**house.config())
    edge.wait_log(rf"edgemux\.yaml:\d+:\d+: error: tenant 'a' has more than 1024 certificate pairs with those in {folder}: "
                  rf"{folder}/p1023\.pem is left out, with 76 others; remove pairs that no host needs")
    # Whatever a does to its folder: what was broken is not parsed again.
    (certs / "q.key").write_bytes(b"")
    house.write("b", [says("b.example.test", "b2")])
    until(lambda: house.ask("b.example.test") == (200, "b2"), "the change of b is in force", within=5.0)
    assert house.ask("a.example.test") == (200, "a1")
    for path in certs.glob("[pq]*"):
        path.unlink()
    edge.wait_log(r"solved: .*tenant 'a' has more than 1024 certificate pairs")


def test_check_reports_each_tenants_faults(house):
    house.write("a", [says("b.example.test", "stolen")])
    house.write("b", "tenant: a\nroutes: []\n")
    house.edge.write(house.edge.base(**house.config()))
    from support.proxy import edgemux

    checked = edgemux("check", "--config", house.edge.path)
    assert checked.returncode == 1
    assert "tenants.d/a/routes.yaml:2:9: error: host 'b.example.test' belongs to tenant 'b'" in checked.stdout
    assert "tenants.d/b/routes.yaml:1:9: error: this file belongs to tenant 'b', not to 'a'" in checked.stdout


def served(edge, name):
    """The subject alternative names that openssl s_client is shown for a name, or empty."""
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.https}", "-servername", name],
        input="", capture_output=True, text=True, timeout=patience(20),
    ).stdout
    if "BEGIN CERTIFICATE" not in shown:
        return ""
    return subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=shown, capture_output=True,
                          text=True, timeout=patience(20)).stdout


def test_a_tenants_certificates_serve_its_own_hosts_only(house, tmp_path):
    edge = house.edge
    # a brings a certificate for everything; b has none for x.b.example.test, and the platform one for *.example.test.
    house.certify("a", "a.example.test", "b.example.test", "*.b.example.test", "*.example.test", stem="greedy")
    (house.folder("b") / "certs" / "own.pem").unlink()
    (house.folder("b") / "certs" / "own.key").unlink()
    platform = house.authority.issue("*.example.test", "platform.example.test")
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [says("b.example.test", "b"), says("x.b.example.test", "x")])
    house.start(certificates=[{"cert": str(platform.cert), "key": str(platform.key)}],
                routes=[says("c.example.test", "c")])
    assert "DNS:b.example.test" in served(edge, "a.example.test"), "its own comes before the platform's"
    assert "platform.example.test" in served(edge, "b.example.test"), "the platform's serves everybody"
    assert "platform.example.test" in served(edge, "c.example.test")
    assert served(edge, "x.b.example.test") == "", "a's covers it, and must not be shown"
    # A certificate that comes later serves its tenant without a reload of anything else.
    house.certify("b", "x.b.example.test")
    until(lambda: "x.b.example.test" in served(edge, "x.b.example.test"), "b's own certificate is served")


def test_tokens_belong_to_the_owner_of_the_name(house, tmp_path):
    platform = tmp_path / "tokens"
    platform.mkdir()
    (platform / "token").write_text("token.platform")
    for name in ("a", "b"):
        (house.folder(name) / "tokens" / f"token-{name}").write_text(f"token.{name}")
    house.write("a", [says("a.example.test", "a")])
    house.write("b", [])
    house.start(acme={"tokens_dir": str(platform)})
    assert house.plain(ACME + "token-a", "a.example.test").body == b"token.a"
    # Claimed, and without a route: the first certificate is asked for before there is one.
    assert house.plain(ACME + "token-b", "x.b.example.test").body == b"token.b"
    assert house.plain(ACME + "token", "c.example.test").body == b"token.platform"
    for token, host in (("token-b", "a.example.test"), ("token-a", "b.example.test"), ("token", "a.example.test"),
                        ("token-a", "c.example.test")):
        assert house.plain(ACME + token, host).status == 404, (token, host)
    # A link in the place of the folder leads nowhere.
    tokens = house.folder("a") / "tokens"
    tokens.rename(house.folder("a") / "old")
    tokens.symlink_to(platform)
    assert house.plain(ACME + "token", "a.example.test").status == 404


@pytest.mark.sanitizer
def test_endpoints_outside_the_networks_are_not_dialled(house, tap):
    edge = house.edge
    house.tenants["a"]["networks"] = ["10.0.0.0/8", "0.0.0.0/0"]
    house.write("a", [{"host": "a.example.test", "passthrough": tap.address},
                      {"host": "n.a.example.test", "passthrough": f"localhost:{tap.port}"}])
    house.write("b", [{"host": "b.example.test", "passthrough": tap.address}])
    house.start()
    for host, why in (("a.example.test", f"{tap.address} is a loopback address"),
                      ("n.a.example.test", "is a loopback address")):
        with Wire.connect(edge.https) as client:
            client.send(hello(host))
            assert client.rest_or_reset() == b""
        line = edge.wait_access(sni=host, reason="no_endpoint")[0]
        if host == "a.example.test":
            assert why in line["detail"] or "may not use it" in line["detail"]
    assert tap.nobody_comes()
    until(lambda: "tenant a may not use it" in edge.log(), "the log says why")
    with Wire.connect(edge.https) as client:
        first = hello("b.example.test")
        client.send(first)
        assert tap.accept().take(len(first)) == first
    # Widened by name, it holds at once.
    house.tenants["a"]["networks"] = ["127.0.0.1"]
    edge.reload(**house.config())
    with Wire.connect(edge.https) as client:
        first = hello("a.example.test")
        client.send(first)
        assert tap.accept().take(len(first)) == first
