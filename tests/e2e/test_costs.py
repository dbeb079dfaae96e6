"""What things cost that must stay cheap: memory at rest, allocations, start with many certificates.

Bounds are those that the comparison (docs/performance.md) holds against other proxies, with room for nothing else: what
is measured here does not depend on how busy the machine is.
"""

import ssl

import pytest
from support.hello import hello
from support.proxy import sanitized
from support.site import HOST
from support.wire import Wire

# The log's queue takes memory as it fills for the first time.
QUIET = {"workers": 1, "log": {"level": "info", "access": {"format": "off"}}}

no_sanitizer = pytest.mark.skipif(sanitized(), reason="figures of memory mean nothing in a sanitizer build")


def at_rest(edge, connect, closing, count=1000, before=150):
    """KiB of Pss per idle connection, beyond the first ones, which bring what all share."""
    for _ in range(before):
        closing(connect())
    rest = edge.pss("Pss_Anon")
    for _ in range(count):
        closing(connect())
    return (edge.pss("Pss_Anon") - rest) / count


@no_sanitizer
def test_an_idle_tls_connection_costs_13_kib(site, closing):
    site.start(site.route({"path": "/", "respond": {"status": 200, "body": "x"}}), **QUIET)
    context = site.authority.client_context(["http/1.1"], version=ssl.TLSVersion.TLSv1_3)

    def connect():
        wire = Wire.connect(site.edge.https, tls=context, name=HOST)
        assert wire.ask("/", HOST).status == 200
        return wire

    assert at_rest(site.edge, connect, closing) <= 13.0


@no_sanitizer
def test_an_idle_passthrough_connection_costs_1_kib(edge, tap, closing):
    edge.start(routes=[{"host": "a.example.com", "passthrough": tap.address}], **QUIET)
    bytes_of_hello = hello("a.example.com")

    def connect():
        wire = Wire.connect(edge.https)
        wire.send(bytes_of_hello)
        backend = closing(tap.accept())
        assert backend.take(len(bytes_of_hello)) == bytes_of_hello
        return wire

    assert at_rest(edge, connect, closing) <= 1.0
