"""The comparison as an SVG: for each row, every proxy's cost as a multiple of the best peer's, with the bound as a line."""

from xml.sax.saxutils import escape

COLOURS = {"edgemux": "#d1495b", "haproxy": "#30638e", "nginx": "#3a9d5d", "nghttpx": "#edae49", "sniproxy": "#8a6fb3", "caddy": "#5fb3c9",
           "floor": "#9a9a9a"}
CLIENTS = 32  # of the rows that have clients
LABELS, WIDTH, BAR, GAP, TOP = 290, 520, 11, 14, 64
LIMIT = 3.0  # multiples beyond it are cut off and written out


def draw(entries, names, about):
    wanted = [e for e in entries if (e["row"].idle or e["clients"] == CLIENTS) and e["best"]] or [e for e in entries if e["best"]]
    parts, y = [], TOP
    scale = WIDTH / LIMIT
    for entry in wanted:
        best = entry["cell"][entry["best"]]["figure"]
        present = [name for name in names if name in entry["cell"]]
        height = len(present) * BAR
        parts.append(text(LABELS - 10, y + height / 2, entry["row"].title, "end", 12))
        parts.append(text(LABELS - 10, y + height / 2 + 13, f"{entry['clients']} {'connections' if entry['row'].idle else 'clients'}, "
                          f"{entry['row'].unit}", "end", 10, "#777"))
        for i, name in enumerate(present):
            figure = entry["cell"][name]["figure"]
            ratio = figure / best if best > 0 else 0
            length = max(1, min(ratio, LIMIT) * scale)
            parts.append(f'<rect x="{LABELS}" y="{y + i * BAR}" width="{length:.1f}" height="{BAR - 1}" fill="{colour(name)}"/>')
            parts.append(text(LABELS + length + 4, y + i * BAR + 8.5, f"{figure:.3g}" + (f" ({ratio:.1f} x)" if ratio > LIMIT else ""),
                              "start", 9, "#555"))
        must = entry["row"].must / best if entry["row"].idle else entry["row"].must
        if best > 0 and must <= LIMIT:
            x = LABELS + must * scale
            parts.append(f'<line x1="{x:.1f}" y1="{y - 3}" x2="{x:.1f}" y2="{y + height + 2}" stroke="#000" stroke-dasharray="3 2"/>')
        y += max(height, 2 * 13) + GAP
    width, height = LABELS + WIDTH + 110, y + 10
    x = LABELS
    legend = []
    for name in names:
        legend.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{colour(name)}"/>' + text(x + 14, 43, name, "start", 11))
        x += 30 + 7 * len(name)
    title = "CPU time (idle rows: memory) per unit; the best peer is 1.0, the dashed line is where edgemux must be. Shorter is better."
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif"><rect width="100%" height="100%" fill="#fff"/>')
    note = text(12, 43, about["date"][:10] + ", " + about["commit"], "start", 10, "#777")
    return "\n".join([head, text(12, 20, title, "start", 13), note, *legend, *parts, "</svg>"]) + "\n"


def colour(name):
    kind = name.split("-")[0]
    return COLOURS.get(name, {"edgemux": "#edaab3"}.get(kind, "#c0c0c0"))


def text(x, y, words, anchor, size, fill="#222"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(words)}</text>'
