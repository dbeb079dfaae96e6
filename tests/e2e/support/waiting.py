"""Waiting with a deadline. The tests never sleep to let something happen: they wait until it has."""

import os
import time

# Sanitizer builds are several times slower: EDGEMUX_SLOW=3 stretches every deadline.
SLOW = float(os.environ.get("EDGEMUX_SLOW", "1"))


def patience(seconds):
    """A deadline for something that should be quick, stretched for slow builds."""
    return seconds * SLOW


def until(condition, what, within=10.0, every=0.02):
    """Asks `condition` again and again; returns its first true answer. Fails with `what` at the deadline."""
    deadline = time.monotonic() + patience(within)
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {patience(within):.1f} s: {what() if callable(what) else what}")
        time.sleep(every)
