"""Broken configurations of every kind, from one good text; each says which line and word its error must name."""

import random
from dataclasses import dataclass


@dataclass
class Broken:
    kind: str
    text: str
    line: int = 0  # 0: any line
    word: str = ""  # what the error must mention


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


def broken_configurations(good):
    """Fifty of them, five of each kind, never two of one kind in a row: an error that stands is not logged again."""
    every = list(_by_kind(good, 50))
    return [every[kind * 5 + number] for number in range(5) for kind in range(10)]


def _by_kind(good, seed):
    """`good` ends in a flow sequence, so that it is broken wherever it is cut."""
    dice = random.Random(seed)
    assert good.rstrip().endswith("]")
    for _ in range(5):
        cut = dice.randrange(60, len(good.rstrip()) - 1)
        yield Broken("truncated", good[:cut])
    for key, wrong in (("timeouts:", "timeout:"), ("passthrough:", "pasthrough:"), ("drain:", "drian:"),
                       ("rules:", "ruels:"), ("state_dir:", "statedir:")):
        yield Broken("unknown key", good.replace(key, wrong, 1), line_of(good, key), wrong[:-1])
    for old, new, word in (
        ("version: 1", "version: one", "version"), ("drain: 3s", "drain: [3s]", "drain"),
        ("workers: 2", "workers: many", "workers"), ("status: 200", "status: fine", "status"),
        ("passthrough: 127.0.0.1:9", "passthrough: [x, y]", "passthrough"),
    ):
        yield Broken("wrong type", good.replace(old, new, 1), line_of(good, old), word)
    for host in ("one.example.com", "two.example.com", "ONE.example.com.", "through.example.com", "*.wild.example.com"):
        entry = f"  - host: \"{host}\"\n    passthrough: 127.0.0.1:9\n"
        text = good.replace("listeners:", entry + "listeners:", 1)
        yield Broken("duplicate host", text, line_of(text, entry), host.lower().rstrip("."))
    for key in ("workers: 2", "version: 1", "state_dir: state", "timeouts: {", "routes:"):
        if key == "timeouts: {":
            text = good.replace("drain: 3s", "drain: 3s, drain: 4s", 1)
            yield Broken("duplicate key", text, line_of(text, "drain: 4s"), "drain")
        else:
            text = good.replace("listeners:", f"{key}{' []' if key == 'routes:' else ''}\nlisteners:", 1)
            yield Broken("duplicate key", text, line_of(text, "listeners:") - 1, key.split(":")[0])
    for address in ("127.0.0.1", "127.0.0.1:99999", ":80", "127.0.0.1:http", "[::1"):
        text = good.replace("passthrough: 127.0.0.1:9", f"passthrough: '{address}'", 1)
        yield Broken("bad address", text, line_of(good, "passthrough: 127.0.0.1:9"), address.split(":")[0].strip("["))
    for number in range(5):
        text = good.replace("routes:", f"include:\n  - missing-{number}.yaml\nroutes:", 1)
        yield Broken("missing file", text, line_of(text, "missing-"), f"missing-{number}.yaml")
    for part in ("  - host: one", "    passthrough", "    rules", "  - host: two", "      - { path"):
        tabbed = part.replace("  ", "\t", 1)
        yield Broken("tabs", good.replace(part, tabbed, 1), line_of(good, part))
    for depth in (9, 10, 11, 12, 13):
        rows = ["x0: &a0 [y, y, y, y, y, y, y, y, y, y]"]
        rows += [f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
        yield Broken("alias bomb", "\n".join(rows) + "\n" + good)
    for text in ("", "\n", "# nothing\n", "---\n", "   \n\n"):
        yield Broken("empty", text)


def good_text(edge, answer="1"):
    """The text that is broken above: ports and folders of `edge`, and an answer that tells the generations apart."""
    return f"""version: 1
workers: 2
state_dir: state
timeouts: {{ drain: 3s }}
log: {{ level: info, access: {{ path: "{edge.access_path}", format: json }} }}
admin: {{ bind: "unix:{edge.short}/admin.sock", probes: "127.0.0.1:{edge.probes}" }}
routes:
  - host: one.example.com
    on_http: serve
    rules:
      - {{ path: /, respond: {{ status: 200, body: "{answer}" }} }}
  - host: two.example.com
    on_http: serve
    rules:
      - {{ path: /, respond: {{ status: 200, body: two }} }}
  - hosts: [through.example.com, "*.wild.example.com"]
    passthrough: 127.0.0.1:9
listeners:
  [ {{ name: http, bind: ["127.0.0.1:{edge.http}"], protocol: http }},
    {{ name: https, bind: ["127.0.0.1:{edge.https}"], protocol: tls }} ]
"""
