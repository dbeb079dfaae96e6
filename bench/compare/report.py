"""Tables (text and Markdown are one), JSON and chart of a comparison."""

import json
import statistics

import chart
from rows import ROWS

BINDING_CLIENTS = (32, 256)  # where the bound counts; one client alone is shown
TWO_WORKERS = 1.05  # what two workers may cost, of one
MISSING = "-"
BUSY = 0.7  # load average


def is_peer(name):
    """A proxy to compare with: neither edgemux in any build nor the floor."""
    return name.split("-")[0] not in ("edgemux", "floor")


def medians(comparison, key, clients, store=None):
    """{peer: {figure: median, "min": lowest figure, ...}} of a cell; who failed in any round is not in it."""
    found = {}
    for (row, count, name), cell in (comparison.cells if store is None else store).items():
        if (row, count) == (key, clients) and cell["rounds"] and not cell["errors"]:
            numbers = {k: statistics.median(r[k] for r in cell["rounds"]) for k, v in cell["rounds"][0].items() if isinstance(v, (int, float))}
            found[name] = {**numbers, "min": min(r["figure"] for r in cell["rounds"] if "figure" in r) if "figure" in numbers else None}
    return found


def paired(comparison, key, clients, ours, theirs, what="figure", store=None):
    """What `ours` costs over what `theirs` does: the median of the rounds' ratios, or None. The machine is faster in one
    round than in another, for all who have their turn in it."""
    store = comparison.cells if store is None else store
    cells = [store.get((key, clients, name), {"rounds": [], "errors": []}) for name in (ours, theirs)]
    if any(c["errors"] or not c["rounds"] for c in cells) or min(r[what] for r in cells[1]["rounds"]) <= 0:
        return None
    return statistics.median(a[what] / b[what] for a, b in zip(*(c["rounds"] for c in cells), strict=True))


def best_of(comparison, key, clients, what="figure", store=None):
    """(name, ratio) of the best peer: the one that edgemux is closest to, or furthest behind. Or (None, None)."""
    ratios = ((peer.name, paired(comparison, key, clients, "edgemux", peer.name, what, store))
              for peer in comparison.peers if is_peer(peer.name))
    return max(((n, r) for n, r in ratios if r is not None), key=lambda pair: pair[1], default=(None, None))


def failed(store, key, clients, name="edgemux"):
    """Whether that proxy has no figure because something went wrong in any round."""
    return bool(store.get((key, clients, name), {}).get("errors"))


def judged(comparison):
    """One entry per row and number of clients: figures, ratios and whether the bound is kept."""
    for row in comparison.rows:
        for clients in [comparison.options.connections] if row.idle else comparison.options.clients:
            cell = medians(comparison, row.key, clients)
            ours = cell.get("edgemux", {}).get("figure")
            best, ratio = best_of(comparison, row.key, clients)
            compared = ours if row.idle else ratio
            binding = row.idle or clients in BINDING_CLIENTS
            kept = round(compared, 2) <= row.must if compared is not None else None
            if failed(comparison.cells, row.key, clients):
                kept = False
            yield {"row": row, "clients": clients, "cell": cell, "best": best, "ratio": ratio,
                   "to_floor": paired(comparison, row.key, clients, "edgemux", "floor"),
                   "kept": kept if binding else None}


def number(value):
    if value is None:
        return MISSING
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(head, rows):
    """A Markdown table whose columns line up."""
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]
    lines = ["| " + " | ".join(f"{str(text):<{width}}" for text, width in zip(line, widths)) + " |" for line in [head, *rows]]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def names_of(comparison):
    return [peer.name for peer in comparison.peers]


def shown(comparison, store, key, clients, name, form):
    """A cell of the tables: what `form` makes of its medians, "failed" or nothing."""
    if failed(store, key, clients, name):
        return "failed"
    cell = medians(comparison, key, clients, store).get(name)
    return form(cell) if cell else MISSING


def cost_table(comparison):
    names = names_of(comparison)
    lines = []
    for entry in judged(comparison):
        row, clients = entry["row"], entry["clients"]
        figures = [shown(comparison, comparison.cells, row.key, clients, name, lambda c: f"{number(c['figure'])} ({number(c['min'])})")
                   for name in names]
        must = f"{number(row.must)} KiB" if row.idle else number(row.must)
        mark = {True: "pass", False: "FAIL", None: MISSING}[entry["kept"]]
        lines.append([row.title, row.unit, clients, *figures, entry["best"] or MISSING, number(entry["ratio"]), must, mark,
                      number(entry["to_floor"])])
    return table(["path", "unit", "clients", *names, "best peer", "x best", "must", "", "x floor"], lines)


def rate_table(comparison):
    names = names_of(comparison)
    form = lambda c: f"{number(c['rate'] / 1000)}k {number(c['p50_us'] / 1000)}/{number(c['p99_us'] / 1000)} {c['busy'] * 100:.0f}%"  # noqa: E731
    lines = [[row.title, clients, *(shown(comparison, comparison.cells, row.key, clients, name, form) for name in names)]
             for row in comparison.rows if not row.idle for clients in comparison.options.clients]
    return table(["path", "clients", *names], lines)


def fixed_rate_table(comparison):
    names = names_of(comparison)
    form = lambda c: "/".join(number(c[what] / 1000) for what in ("p50_us", "p99_of_windows_us", "p99_us"))  # noqa: E731
    lines = []
    for row in ROWS:
        for key, clients in sorted({(k, c) for k, c, _ in comparison.rated if k == row.key}):
            best, ratio = best_of(comparison, key, clients, "p99_of_windows_us", comparison.rated)
            whole = best_of(comparison, key, clients, "p99_us", comparison.rated)[1]
            figures = [shown(comparison, comparison.rated, key, clients, name, form) for name in names]
            kept = round(ratio, 2) <= 1 if ratio is not None else None
            won = rounds_won(comparison, key, clients, best) if best else MISSING
            mark = {True: "pass", False: "FAIL", None: MISSING}[False if failed(comparison.rated, key, clients) else kept]
            lines.append([row.title, clients, comparison.rates[key], *figures, best or MISSING, number(ratio), won, mark, number(whole)])
    return table(["path", "clients", "requests/s", *names, "best peer", "p99 x best", "rounds won", "", "whole run's"], lines)


def rounds_won(comparison, key, clients, peer):
    """How often the p99 was below that peer's, which tells a difference from the machine's moods."""
    ours, theirs = ([r["p99_of_windows_us"] for r in comparison.rated[key, clients, name]["rounds"]] for name in ("edgemux", peer))
    return f"{sum(a < b for a, b in zip(ours, theirs, strict=True))} of {len(ours)}"


def call_table(comparison):
    names = names_of(comparison)
    form = lambda c: f"{number(c['data'])}/{number(c['waiting'])}/{number(c['all'])}"  # noqa: E731
    clients = sorted({c for _, c, _ in comparison.traces})
    lines = [[row.title, count, *(shown(comparison, comparison.traces, row.key, count, name, form) for name in names)]
             for row in comparison.rows if not row.idle for count in clients]
    return table(["path", "clients", *names], lines)


def two_workers(comparison):
    """[(row, clients, ratio, whether it is kept)]: what the same work costs with two workers over what it costs with one."""
    for row in comparison.rows:
        for clients in [] if row.idle else comparison.options.clients:
            ratio = paired(comparison, row.key, clients, "edgemux-2w", "edgemux")
            if ratio is not None:
                yield row, clients, ratio, round(ratio, 2) <= TWO_WORKERS if clients in BINDING_CLIENTS else None


def two_workers_table(comparison):
    mark = {True: "pass", False: "FAIL", None: MISSING}
    return table(["path", "clients", "two / one", "must", ""],
                 [[row.title, clients, number(ratio), number(TWO_WORKERS), mark[kept]]
                  for row, clients, ratio, kept in two_workers(comparison)])


def troubles(comparison):
    for name, why in comparison.trouble.items():
        yield f"{name}: {why}"
    for what, store in (("", comparison.cells), ("at a fixed rate, ", comparison.rated), ("system calls, ", comparison.traces)):
        for (row, clients, name), cell in store.items():
            if cell["errors"]:
                total = len(cell["errors"]) + len(cell["rounds"])
                yield f"{name}: {what}{row}, {clients} clients, {len(cell['errors'])} of {total} rounds: {cell['errors'][0]}"
    for name, policies in used_policies(comparison).items():
        if len(policies) > 1 or policies != {"TLSv1.3 TLS_AES_128_GCM_SHA256 X25519"}:
            yield f"{name}: TLS was {', '.join(sorted(policies))}"


def used_policies(comparison):
    """{peer: what its TLS connections agreed on}"""
    found = {}
    for (_, _, name), cell in comparison.cells.items():
        for done in cell["rounds"]:
            if done.get("tls"):
                found.setdefault(name, set()).add(done["tls"])
    return found


def edgemux_failed(comparison):
    """It has a cell without a figure: not a matter of speed."""
    return "edgemux" in comparison.trouble or any(cell["errors"] for (_, _, name), cell in comparison.cells.items() if name == "edgemux")


def text(comparison, about):
    versions = "; ".join(f"{name} ({version})" for name, version in about["versions"].items())
    parts = [f"{about['date']}, {about['cpu']}, Linux {about['kernel']}, {about['commit']}; {about['rounds']} rounds of {about['seconds']} s, "
             f"access logs {'on' if about['log'] else 'off'}; load average before: {about['load_before']:.1f}"
             + (" (BUSY: others ran beside it, these figures are worth little)" if about["load_before"] > BUSY else "") + f"\n{versions}",
             "CPU time of the proxy per unit, median (lowest) over the rounds; idle rows: KiB per connection.\n\n" + cost_table(comparison)]
    if any(not row.idle for row in comparison.rows):
        parts.append("Rate per second, p50/p99 in ms, share of its core that the proxy used.\n\n" + rate_table(comparison))
    if comparison.rated:
        parts.append("p50, p99 (of a twentieth of a second, median of them) and the whole run's p99, in ms, at a fixed rate, the same for all; counted "
                     "from when a request was due.\n\n" + fixed_rate_table(comparison))
    if any(two_workers(comparison)):
        parts.append("CPU time per unit with two workers, over that with one; both on the same " + ("core" if about["pinned"] else "cores, with client and origin") + ".\n\n" + two_workers_table(comparison))
    if comparison.traces:
        parts.append("System calls per request: data/waiting/all.\n\n" + call_table(comparison))
    problems = list(troubles(comparison))
    if problems:
        parts.append("Not measured, or not as it should be:\n\n" + "\n".join(f"- {problem}" for problem in problems))
    return "\n\n".join(parts)


def write(comparison, about, directory):
    flat = lambda store: [{"row": row, "clients": clients, "peer": name, **cell} for (row, clients, name), cell in store.items()]  # noqa: E731
    entries = list(judged(comparison))
    summary = [{"row": e["row"].key, "clients": e["clients"], "unit": e["row"].unit, "must": e["row"].must,
                **{k: e[k] for k in ("cell", "best", "ratio", "to_floor", "kept")}} for e in entries]
    (directory / "results.json").write_text(json.dumps(
        {"about": about, "summary": summary, "cells": flat(comparison.cells), "fixed_rate": flat(comparison.rated),
         "rates": comparison.rates,
         "two_workers": [{"row": row.key, "clients": c, "ratio": r, "kept": k} for row, c, r, k in two_workers(comparison)], "system_calls": flat(comparison.traces), "trouble": list(troubles(comparison))}, indent=1) + "\n")
    (directory / "table.md").write_text(text(comparison, about) + "\n")
    (directory / "chart.svg").write_text(chart.draw(entries, names_of(comparison), about))
