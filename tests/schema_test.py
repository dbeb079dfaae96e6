#!/usr/bin/python3
"""The JSON Schema that `edgemux schema` prints, with a validator of its own: it takes every configuration of this repository
that `check` takes, and refuses what `check` refuses for a key, a kind or a value."""

import json
import os
import pathlib
import re
import subprocess

import jsonschema
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("EDGEMUX_BIN", ROOT / "build/release/edgemux"))
CASES = ROOT / "tests/config/cases"

# What the schema of one node at a time can tell, by the words of `check`.
STRUCTURAL = re.compile(
    r"unknown key|is missing in|the file has no '|must be (a|an|one of|at least|[0-9])|must not be empty|has no value; it must"
    r"|is not a (time|size|whole number)|has no unit|not supported yet|belongs into the main file")
# The same words where it takes more than one node: the value of a text, or two keys together.
ELSEWHERE = re.compile(r"admin API over TCP|'alpn'|endpoints with|'weight'|'\{tenant\}'|client CA|which needs a token|bad bind|bad endpoint")


def schema(*arguments):
    return json.loads(subprocess.run([BINARY, "schema", *arguments], check=True, capture_output=True).stdout)


@pytest.fixture(scope="module")
def validators():
    made = {}
    for name, arguments in (("main", ()), ("include", ("--include",))):
        text = schema(*arguments)
        jsonschema.Draft202012Validator.check_schema(text)
        made[name] = jsonschema.Draft202012Validator(text)
    return made


def as_written(value):
    """PyYAML speaks YAML 1.1, where the key `on` of a retry is a truth value."""
    if isinstance(value, dict):
        return {"on" if key is True else key: as_written(below) for key, below in value.items()}
    return [as_written(below) for below in value] if isinstance(value, list) else value


def problems(validator, text):
    tree = as_written(yaml.safe_load(text))
    return [f"{'.'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(tree)]


def examples():
    for path in sorted(ROOT.glob("**/*.yaml")):
        place = path.relative_to(ROOT)
        if place.parts[0] not in ("build", ".state") and "fuzz" not in place.parts and not place.name.startswith("."):
            # The file of ./dev compare has places to fill in, and a line of two.
            text = re.sub(r"^@log@|^@nolog@.*", "", path.read_text(), flags=re.MULTILINE)
            yield pytest.param(re.sub(r"@\w+@", "1", text), id=str(place))
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
            yield pytest.param(text, id=f"{page.relative_to(ROOT)}-{number}")


def cases():
    """(name, files, expected) of tests/config/cases, but for the files that are no text."""
    for path in sorted(CASES.glob("*.txt")):
        for block in re.split(r"^=== ", path.read_text(), flags=re.MULTILINE)[1:]:
            name, _, rest = block.partition("\n")
            parts = re.split(r"^--- (.+)\n", rest, flags=re.MULTILINE)
            files = dict(zip(parts[1::2], parts[2::2]))
            expected = files.pop("expect")
            if not any(title.endswith(" escaped") for title in files):
                yield pytest.param(files, expected, id=name)


@pytest.mark.parametrize("text", examples())
def test_every_example_is_valid(validators, text):
    kind = "main" if "listeners" in yaml.safe_load(text) else "include"
    assert problems(validators[kind], text) == []


def loads(text):
    try:
        return yaml.safe_load(text) is not None
    except yaml.YAMLError:
        return False


def errors_of(expected, name):
    return [line for line in expected.splitlines() if re.match(rf"{re.escape(name)}(:\d+)*: error: ", line)]


@pytest.mark.parametrize(("files", "expected"), cases())
def test_it_agrees_with_check(validators, files, expected):
    for name, text in files.items():
        if not name.endswith(".yaml") or not loads(text):
            continue
        kind = "main" if name == "edgemux.yaml" else "include"
        errors = errors_of(expected, name)
        if not errors and "no snapshot" not in expected:
            assert problems(validators[kind], text) == []
            continue
        told = [line for line in errors if STRUCTURAL.search(line) and not ELSEWHERE.search(line)]
        if told:
            assert problems(validators[kind], text) != [], told


def test_the_cases_hold_enough_of_both():
    of_schema = [p for p in cases() if any(STRUCTURAL.search(line) for line in p.values[1].splitlines())]
    assert len(of_schema) > 15
    assert sum(1 for p in cases() if p.values[1].startswith("OK")) > 5


WRONG = {
    "a key of no kind": "listeners: []\ncolour: red",
    "no listeners": "version: 1",
    "another version": "version: 2\nlisteners: [{ name: a, bind: [':1'], protocol: http }]",
    "a listener without a protocol": "listeners: [{ name: a, bind: [':1'] }]",
    "a protocol that is none": "listeners: [{ name: a, bind: [':1'], protocol: udp }]",
    "a port out of range": "listeners: [{ name: a, bind: [':1'], protocol: http, redirect_port: 70000 }]",
    "a time without a unit": "listeners: [{ name: a, bind: [':1'], protocol: http }]\ntimeouts: { idle: 5 }",
    "a size of another unit": "listeners: [{ name: a, bind: [':1'], protocol: http }]\nlimits: { request_head: 64kB }",
    "routes as a map": "listeners: [{ name: a, bind: [':1'], protocol: http }]\nroutes: {}",
    "workers none": "listeners: [{ name: a, bind: [':1'], protocol: http }]\nworkers: 0",
    "no time": "listeners: [{ name: a, bind: [':1'], protocol: http }]\ntimeouts: { idle: 0s }",
    "no size": "listeners: [{ name: a, bind: [':1'], protocol: http }]\nlimits: { request_head: 0KiB }",
    "the main file for a tenant": "listeners: [{ name: a, bind: [':1'], protocol: http }]\ntenant: a",
}

RIGHT = {
    "no admin": "listeners: [{ name: a, bind: [':1'], protocol: http }]\nadmin: { bind: null, probes: ~ }",
    "shares as people write them": "listeners: [{ name: a, bind: [':1'], protocol: http }]\nreload: { max_removed: 020 % }",
    "numbers with zeros": "listeners: [{ name: a, bind: [':1'], protocol: http }]\ntimeouts: { idle: 05s }",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_wrong_ones_are_refused(validators, text):
    assert problems(validators["main"], text) != []


@pytest.mark.parametrize("text", RIGHT.values(), ids=RIGHT.keys())
def test_right_ones_are_taken(validators, text, tmp_path):
    assert problems(validators["main"], text) == []
    (tmp_path / "edgemux.yaml").write_text(text)
    checked = subprocess.run([BINARY, "check", "-c", tmp_path / "edgemux.yaml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG.keys())
def test_check_refuses_the_wrong_ones_too(text, tmp_path):
    (tmp_path / "edgemux.yaml").write_text(text)
    assert subprocess.run([BINARY, "check", "-c", tmp_path / "edgemux.yaml"], capture_output=True).returncode == 1
