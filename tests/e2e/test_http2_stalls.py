"""HTTP/2 clients that take nothing, or little, of what they ask for: what is kept for them meanwhile is bounded."""

import time

import pytest
from support.attacker import HEADERS, frame, head
from support.http2 import H2Origin
from support.ports import free_port
from support.proxy import Growth, sanitized
from support.waiting import until

PER_ATTACKER = 256  # KiB
STREAMS = 48  # MAX_CONCURRENT_STREAMS


# What a client may leave unread: nothing of a stream's window, nothing of the connection's, or the socket.
STALLS = {
    "streams": {"settings": [(4, 0)], "window": 1 << 30},
    "connection": {"settings": [(4, 0x7FFFFFFF)]},
    "socket": {"settings": [(4, 0x7FFFFFFF)], "window": (1 << 31) - 1 - 65_535, "rcvbuf": 4096},
}


@pytest.mark.sanitizer
@pytest.mark.parametrize("upstream", ["http1", "h2"])
@pytest.mark.parametrize("stall", STALLS)
def test_windows_that_never_open(site, attackers, good, closing, stall, upstream):
    """As many large answers asked for as may be, and none taken: a deadline, and little memory until then."""
    rule = {"path": "/", "upstream": site.origin.address}
    if upstream == "h2":
        origin = closing(H2Origin(free_port()))
        rule["upstream"] = {"endpoints": [origin.address], "protocol": "h2"}
    site.start(site.route(rule), workers=1, timeouts={"idle": "2s"})
    friend = good()
    several = [attackers(**STALLS[stall]) for _ in range(4)]
    growth = Growth(site.edge)
    for attacker in several:
        began = time.monotonic()
        attacker.send(b"".join(frame(HEADERS, 5, 2 * i + 1, head(b"/bytes/1000000")) for i in range(STREAMS)))
        friend.ask()
    if stall != "socket":
        for attacker in several:
            attacker.until(HEADERS, STREAMS)
    # The others' answers go on while theirs wait. Not many: lines of the access log would count as memory.
    for _ in range(20):
        friend.ask()
    until(lambda: time.monotonic() > began + 1, "a second has passed")
    held = growth.most() / len(several)
    # A client whose socket is full is not even heard to its end.
    lines = len(several) * (STREAMS if stall != "socket" else 1)
    site.edge.wait_access(lines, within=20, path="/bytes/1000000", reason="response_too_slow")
    for attacker in several:
        attacker.ends()
    good().ask()
    print(f"{stall} {upstream}: {held:.0f} KiB per attacker")
    assert held < PER_ATTACKER or sanitized()


