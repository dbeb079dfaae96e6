#!/usr/bin/python3
"""What the documents name exists: every linked file, every path in the tree, every test that SECURITY.md rests on."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(page for folder in (ROOT, ROOT / "docs") for page in folder.glob("*.md"))


def known_names():
    """Names of all tests: functions of pytest, both halves of GoogleTest's names, fuzz targets."""
    names = {path.stem for path in (ROOT / "tests/fuzz").rglob("*_fuzz.cc")}
    for path in (ROOT / "tests").rglob("*_test.cc"):
        for suite, name in re.findall(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", path.read_text(), re.MULTILINE):
            names |= {suite, name}
    for path in (ROOT / "tests").rglob("*.py"):
        names |= set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    return names


def cells(page, title):
    """The column of that title, of every table that has it."""
    column = None
    for line in page.read_text().splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else None
        if row is None:
            column = None
        elif column is None:
            column = row.index(title) if title in row else -1
        elif column >= 0 and not set(row[column]) <= {"-", ":"}:
            yield row[column]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text())
    inside = [(page.parent / file if file else page, anchor) for file, anchor in links if "://" not in file]
    assert [f"{file.name}#{anchor}" for file, anchor in inside if anchor not in anchors(file)] == []


def test_security_names_code_and_tests_that_exist():
    page = ROOT / "SECURITY.md"
    known = known_names()
    shown = [name for cell in cells(page, "shown by") for name in re.findall(r"`(\w+)`", cell)]
    assert len(shown) > 20
    assert [name for name in shown if name not in known] == []
    places = [name for cell in cells(page, "enforced in") for name in re.findall(r"`([\w/.]+)`", cell)]
    assert len(places) > 10
    assert [name for name in places if not (ROOT / name).is_file()] == []


def test_each_row_of_what_clients_see_is_a_test():
    known = known_names()
    shown = [re.findall(r"`(\w+)`", cell) for cell in cells(ROOT / "docs/upstreams.md", "test")]
    assert len(shown) > 12
    assert all(shown) and [name for row in shown for name in row if name not in known] == []


# What the Gateway API's conformance list says about traffic. A name may be taken away here only with the behaviour.
GATEWAY_BEHAVIOURS = """
    HTTPRouteSimpleSameNamespace HTTPRouteExactPathMatching HTTPRouteMatching HTTPRouteHeaderMatching HTTPRouteQueryParamMatching
    HTTPRouteMethodMatching HTTPRoutePathMatchOrder HTTPRouteMatchingAcrossRoutes HTTPRouteHostnameIntersection
    HTTPRouteListenerHostnameMatching HTTPRouteHTTPSListener HTTPRouteHTTPSListenerDetectMisdirectedRequests
    HTTPRouteRedirectHostAndStatus HTTPRouteRedirectScheme HTTPRouteRedirectPort HTTPRouteRedirectPortAndScheme HTTPRouteRedirectPath
    HTTPRoute303RedirectStatusCode HTTPRoute307RedirectStatusCode HTTPRoute308RedirectStatusCode HTTPRouteRewriteHost
    HTTPRouteRewritePath HTTPRouteRequestHeaderModifier HTTPRouteResponseHeaderModifier HTTPRouteBackendRequestHeaderModification
    HTTPRouteRequestHeaderModifierBackendWeights HTTPRouteRequestMirror HTTPRouteRequestMultipleMirrors
    HTTPRouteRequestPercentageMirror HTTPRouteCORS HTTPRouteWeight HTTPRouteInvalidNonExistentBackendRef
    HTTPRouteTimeoutRequest HTTPRouteTimeoutBackendRequest HTTPRouteRetry HTTPRouteRetryConnectionError HTTPRouteRetryBackendTimeout
    HTTPRouteBackendProtocolH2C HTTPRouteBackendProtocolWebSocket BackendTLSPolicy TLSRouteSimpleSameNamespace
    TLSRouteTerminateSimpleSameNamespace TLSRouteMixedTerminationSameNamespace
    GatewayHTTPSAndTLSPassthroughSamePort GRPCExactMethodMatching GRPCRouteHeaderMatching GRPCRouteWeight
""".split()


def test_each_traffic_behaviour_of_the_gateway_api_has_a_test():
    page = ROOT / "docs/gateway-api.md"
    assert list(cells(page, "Gateway API")) == GATEWAY_BEHAVIOURS
    known = known_names()
    shown = [re.findall(r"`(\w+)`", cell) for cell in cells(page, "test")]
    assert all(shown) and [name for row in shown for name in row if name not in known] == []


def test_the_readme_shows_the_lines_that_the_quickstart_prints():
    start = (ROOT / "deploy/quickstart/start").read_text()
    config = (ROOT / "deploy/quickstart/edgemux.yaml").read_text()
    ports = dict(re.findall(r'name: ([\w-]+),\s*bind: \["[^"]*:(\d+)"\]', config))
    printed = re.findall(r"^  (curl .*)$", start, re.MULTILINE)
    assert len(printed) == 3
    readme = (ROOT / "README.md").read_text()
    for line in printed:
        line = re.sub(r"\$\(port (\w+)\)", lambda m: ports[m.group(1)], line).replace("$shown", ".state/certs/quickstart.pem")
        assert re.search(rf"^    {re.escape(line)}\s*(#|$)", readme, re.MULTILINE), line


@pytest.mark.parametrize(("test", "begins"), [
    ("tests/admin/explain_test.cc", "GET https://shop.example.com/old"),
    ("tests/cli/status_test.cc", "edgemux 1.2.3, pid 7, up 1d 2h 3m 4s, ready\ngeneration 4, 9 hosts, 12 connections\n\nLISTENER  CONN"),
    ("tests/e2e/test_cli.py", "+ new.example.com"),
    ("tests/e2e/test_cli.py", "edgemux.yaml:4:5: error: unknown key 'pasthrough'"),
])
def test_the_readme_shows_what_the_commands_print(test, begins):
    texts = re.findall(r'(?:R"\(|"""\\\n)(.*?)(?:\)"|""")', (ROOT / test).read_text(), re.DOTALL)
    shown = [text for text in texts if text.startswith(begins)]
    assert len(shown) == 1
    indented = "".join(f"    {line}\n" if line else "\n" for line in shown[0].splitlines())
    assert indented in (ROOT / "README.md").read_text()


def words_of(header, enumeration):
    """The names of an enumeration."""
    body = (ROOT / header).read_text().split(f"enum class {enumeration}", 1)[1].split("};", 1)[0]
    return re.findall(r"^  (\w+),", body, re.MULTILINE)


@pytest.mark.parametrize("header, enumeration", [("listeners/close_reason.h", "CloseReason"), ("routing/table/access_fields.h", "AccessField")])
def test_every_word_of_the_access_log_is_explained(header, enumeration):
    page = (ROOT / "docs/reference.md").read_text()
    words = words_of(header, enumeration)
    assert len(words) > 20
    assert [word for word in words if f"`{word}`" not in page] == []


def test_the_defaults_of_timeouts_are_those_of_the_code():
    """In milliseconds there, in whatever is short here."""
    code = dict(re.findall(r"milliseconds (\w+)\{([\d']+)\};", (ROOT / "routing/table/snapshot.h").read_text().split("struct Timeouts", 1)[1].split("\n};", 1)[0]))
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
    page = re.findall(r"^\| `timeouts\.(\w+)` \| (\d+)(ms|s|m|h) \|", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    assert {name: int(number) * units[unit] for name, number, unit in page} == {name: int(value.replace("'", "")) for name, value in code.items()}
