"""ACME for real: pebble validates HTTP-01 through the proxy, and the certificate that comes out is served."""

import ssl

import pytest
from support.acme import Pebble
from support.hello import hello
from support.ports import free_port
from support.waiting import until
from support.wire import Wire

HOST = "shop.example.test"


def says(text):
    return {"rules": [{"path": "/", "respond": {"status": 200, "body": text}}]}


def is_served(edge, context):
    """True when HOST is answered with a certificate that pebble issued."""
    try:
        with Wire.connect(edge.https, tls=context, name=HOST) as wire:
            return wire.ask("/", HOST).body == b"shop"
    except (OSError, ssl.SSLError):
        return False


@pytest.mark.parametrize("client", ["certbot", "lego"])
def test_a_client_that_writes_into_tokens_dir(edge, closing, authority, tmp_path, client):
    webroot = tmp_path / "webroot"
    tokens = webroot / ".well-known/acme-challenge"
    tokens.mkdir(parents=True)
    certificates = tmp_path / ("letsencrypt/live" if client == "certbot" else "lego/certificates")
    certificates.mkdir(parents=True)
    edge.start(acme={"tokens_dir": str(tokens)}, certificates=[{"directory": str(certificates)}],
               routes=[{"host": HOST, **says("shop")}])
    with Wire.connect(edge.https) as wire:  # no certificate yet: this host refuses, and nothing else happens
        wire.send(hello(HOST))
        wire.rest_or_reset()
    pebble = closing(Pebble(tmp_path / "pebble", authority, edge.http))
    process = edge.process.pid
    if client == "certbot":
        pebble.certbot_webroot(HOST, webroot, tmp_path / "letsencrypt")
    else:
        pebble.lego(HOST, tmp_path / "lego", "--http.webroot", str(webroot))
    trusted = pebble.root_context()
    until(lambda: is_served(edge, trusted), lambda: f"the certificate is served; the log:\n{edge.log()[-3000:]}", 20)
    assert edge.process.pid == process and edge.process.poll() is None
    lines = [li for li in edge.access() if (li.get("path") or "").startswith("/.well-known/acme-challenge/")]
    assert lines and all(li["status"] == 200 and li["host"] == HOST for li in lines)


def test_a_tenant_with_a_solver_of_its_own(edge, closing, authority, tmp_path, tap):
    """The tenant's client answers at its own port, behind `acme_solver`; afterwards its pair comes to the gateway."""
    solver = free_port()
    certificates = tmp_path / "lego/certificates"
    certificates.mkdir(parents=True)
    edge.start(
        certificates=[{"directory": str(certificates)}],
        routes=[{"host": HOST, "acme_solver": f"127.0.0.1:{solver}", **says("shop")},
                {"host": "other.example.test", "passthrough": tap.address}],
    )
    pebble = closing(Pebble(tmp_path / "pebble", authority, edge.http))
    pebble.lego(HOST, tmp_path / "lego", "--http.port", f"127.0.0.1:{solver}")
    trusted = pebble.root_context()
    until(lambda: is_served(edge, trusted), lambda: f"the certificate is served; the log:\n{edge.log()[-3000:]}", 20)
    lines = edge.wait_access(path=lambda p: (p or "").startswith("/.well-known/acme-challenge/"))
    assert all(li["host"] == HOST and li["endpoint"] == f"127.0.0.1:{solver}" for li in lines)


def test_acme_tls_alpn_goes_through_to_the_owner_of_the_name(edge, tap):
    edge.start(routes=[{"host": HOST, "passthrough": tap.address}])
    first = hello(HOST, alpn=["acme-tls/1"])
    with Wire.connect(edge.https) as client:
        client.send(first)
        assert tap.accept().take(len(first)) == first
