#!/usr/bin/python3
"""The arrows between folders run one way, and every outside library has one door.

The single source is CMakeLists.txt: a folder may include its own headers and those of the folders that its DEPENDS name,
nothing else; a folder may name only folders that stand above it there. Here is only what CMake does not know: the order of the
layers, which header belongs to which library, and that no file names a path of one machine.

Runs under pytest or by itself.
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# From below to above; folders of one layer do not know each other, but those of core and of routing may.
LAYERS = [["core"], ["routing"], ["acme"], ["config", "listeners"], ["admin"], ["cli"]]

# Header -> the library it belongs to. Each library's headers are included in one folder only.
DOORS = {
    r"uv\.h|uv/.*": "libuv",
    r"llhttp\.h": "llhttp",
    r"nghttp2/.*": "nghttp2",
    r"openssl/.*": "OpenSSL",
    r"ares(_\w+)?\.h": "c-ares",
    r"libfyaml\.h": "libfyaml",
    r"re2/.*": "RE2",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
# The bracket keeps this file from matching itself.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:wor[k]|far[m]|hom[e]/\w+)/|/tm[p]/b-")


def modules():
    """{folder: folders it may include}, in the order of CMakeLists.txt."""
    text = re.sub(r"#.*", "", (ROOT / "CMakeLists.txt").read_text())
    found = {}
    for folder, depends in re.findall(r"edgemux_(?:module|program)\(\s*(?:edgemux\s+)?([\w/]+)\s+DEPENDS\s+([^)]*)\)", text):
        found[folder] = [name for name in depends.split() if "::" not in name]
    return found


def tree():
    """Every file that belongs to the project, as paths relative to its top."""
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if listing.returncode == 0:
        names = [os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]
    else:  # an unpacked archive
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
        names = [name for name in names if not re.match(r"(build|\.state|\.git)/|.*__pycache__", name)]
    return [pathlib.PurePosixPath(name) for name in sorted(names) if (ROOT / name).is_file()]


def folder_of(path, known):
    """The module that a source file or an included header belongs to, or None."""
    return next((folder for folder in sorted(known, key=len, reverse=True) if str(path).startswith(folder + "/")), None)


def includes(path):
    """(line, "project header" or None, <system header> or None) of one file."""
    text = (ROOT / path).read_text(errors="replace")
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)


def sources():
    return [path for path in tree() if path.suffix in (".cc", ".h")]


def wrong_includes(known, files):
    for path in files:
        inside = pathlib.PurePosixPath(re.sub(r"^(tests/fuzz|tests|bench)/", "", str(path)))
        owner = folder_of(inside, known)
        product = inside == path
        for line, header, _ in includes(path):
            if header is None:
                continue
            target = folder_of(header, known)
            if target is None:
                if product or not header.startswith(("tests/", "bench/")):
                    yield f"{path}:{line}: {header} is in no folder of CMakeLists.txt; write the path from the top"
            elif owner is None and product:
                yield f"{path}:{line}: {path.parent} is in no folder of CMakeLists.txt"
            elif owner is not None and target != owner and target not in known[owner]:
                yield f"{path}:{line}: {owner} may not include {header}: {target} is not among its DEPENDS"


def wrong_arrows(known):
    rank = {name: level for level, names in enumerate(LAYERS) for name in names}
    seen = set()
    for folder, depends in known.items():
        top = folder.split("/")[0]
        if top not in rank:
            yield f"{folder} is in no layer"
            continue
        for dependency in depends:
            below = dependency.split("/")[0]
            if dependency not in seen:
                yield f"{folder} DEPENDS {dependency}, which does not stand above it in CMakeLists.txt"
            if below != top and rank.get(below, len(LAYERS)) >= rank[top]:
                yield f"{folder} DEPENDS {dependency}: against the order of the layers"
        seen.add(folder)


def wrong_doors(known, files):
    doors = {}
    for path in files:
        owner = folder_of(path, known)
        if owner is None:
            continue  # tests and benchmarks may look behind the doors
        for line, header, system in includes(path):
            for pattern, library in DOORS.items():
                if re.fullmatch(pattern, header or system):
                    doors.setdefault(library, {}).setdefault(owner, f"{path}:{line}")
    for library, users in doors.items():
        if len(users) > 1:
            yield f"{library} is included in {len(users)} folders: {', '.join(users.values())}"


def machine_paths(files):
    for path in files:
        if (ROOT / path).is_symlink():
            text = os.readlink(ROOT / path)
        else:
            content = (ROOT / path).read_bytes()
            if b"\0" in content:
                continue
            text = content.decode(errors="replace")
        for number, line in enumerate(text.split("\n"), 1):
            if MACHINE_PATH.search(line) or str(ROOT) + "/" in line:
                yield f"{path}:{number}: {line.strip()[:160]}"


def check(problems):
    problems = list(problems)
    assert not problems, "\n" + "\n".join(problems)


def test_every_folder_includes_only_what_it_depends_on():
    check(wrong_includes(modules(), sources()))


def test_dependencies_follow_the_layers():
    known = modules()
    assert {"core/base", "routing/table", "listeners", "config", "cli"} <= set(known)  # the parser above still reads CMakeLists.txt
    check(wrong_arrows(known))


def test_every_library_is_included_in_one_folder():
    check(wrong_doors(modules(), sources()))


def test_no_file_names_a_path_of_one_machine():
    check(machine_paths(tree()))


def test_the_checks_find_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "edgemux_module(core/io DEPENDS core/base dep::uv)\nedgemux_module(core/base DEPENDS listeners)\n"
        "edgemux_module(listeners DEPENDS config core/io)\nedgemux_module(config DEPENDS core/io)\n")
    for name, text in {"core/io/a.cc": '#include <uv.h>\n#include "listeners/b.h"\n', "listeners/b.h": "#  include <uv.h>\n",
                       "tests/core/io/a_test.cc": '#include "config/c.h"\n#include "tests/support/d.h"\n',
                       "tests/e.py": 'X = "/wor' + 'k/main"\n'}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    known = modules()
    assert list(known) == ["core/io", "core/base", "listeners", "config"]
    assert [p.split(" ")[0] for p in wrong_includes(known, sources())] == ["core/io/a.cc:2:", "tests/core/io/a_test.cc:1:"]
    arrows = list(wrong_arrows(known))
    assert any("core/base DEPENDS listeners: against" in p for p in arrows)
    assert any("listeners DEPENDS config: against" in p for p in arrows) or any("listeners DEPENDS config, which" in p for p in arrows)
    assert any("core/io DEPENDS core/base, which" in p for p in arrows)
    assert len(list(wrong_doors(known, sources()))) == 1
    assert [p.split(":")[0] for p in machine_paths(tree())] == ["tests/e.py"]


if __name__ == "__main__":
    known = modules()
    problems = [*wrong_includes(known, sources()), *wrong_arrows(known), *wrong_doors(known, sources()), *machine_paths(tree())]
    print("\n".join(problems) or "arrows: all as CMakeLists.txt says")
    sys.exit(1 if problems else 0)
