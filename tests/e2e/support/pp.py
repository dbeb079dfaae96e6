"""PROXY protocol headers, as a sender writes them and a receiver reads them."""

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source, destination, source_port=40000, destination_port=443):
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def v2(source, destination, source_port=40000, destination_port=443, extras=b"", command=1):
    there, here = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    body = there.packed + here.packed + struct.pack("!HH", source_port, destination_port) + extras
    family = 0x11 if there.version == 4 else 0x21
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


class Header:
    """What came in front of a connection; takes exactly that from the wire."""

    def __init__(self, wire):
        self.extras = {}
        start = wire.take(6)
        if start == b"PROXY ":
            words = (start + wire.take_through(b"\r\n")).decode().split()
            self.version, self.family = 1, words[1]
            self.source, self.destination, *ports = words[2:6]
            self.source_port, self.destination_port = map(int, ports)
            return
        fixed = start + wire.take(10)
        assert fixed[:12] == SIGNATURE and fixed[12] == 0x21, fixed
        body = wire.take(struct.unpack("!H", fixed[14:16])[0])
        self.version, self.family = 2, {0x11: "TCP4", 0x21: "TCP6"}[fixed[13]]
        size = 4 if self.family == "TCP4" else 16
        self.source = str(ipaddress.ip_address(body[:size]))
        self.destination = str(ipaddress.ip_address(body[size : 2 * size]))
        self.source_port, self.destination_port = struct.unpack("!HH", body[2 * size : 2 * size + 4])
        rest = body[2 * size + 4 :]
        while rest:
            kind, length = struct.unpack("!BH", rest[:3])
            self.extras[kind] = rest[3 : 3 + length]
            rest = rest[3 + length :]

    @property
    def alpn(self):
        return self.extras.get(1)

    @property
    def authority(self):
        return self.extras.get(2)
