"""Random routing tables: what the proxy answers, what `edgemux explain` says of the same file, and what a model says that was
written from the documents alone (support/routing_model.py). All three must agree about every request."""

import json
import socket
import ssl
from pathlib import PurePath
from urllib.parse import quote, urlencode

import pytest
from support.ports import free_port
from support.proxy import edgemux
from support.random_table import RandomTable, listeners_of
from support.wire import Wire

REASONS = {"no such host here": "unknown_host", "no rule of this host matches the request": "no_rule",
           "this connection was made for another host": "misdirected", "this host is not served over http": "done"}


class Clients:
    """Connections that are kept, one for each listener and server name."""

    def __init__(self, backend):
        self.backend = backend  # the certificate that only the passthrough backend has
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.set_alpn_protocols(["http/1.1"])
        self.kept = {}

    def close(self):
        for wire in self.kept.values():
            wire.close()

    def ask(self, request):
        key = request.listener.name, request.sni
        wire = self.kept.pop(key, None)
        if wire is None:
            try:
                wire = Wire.connect(request.listener.port, tls=self.context if request.listener.tls else None, name=request.sni)
            except (ssl.SSLError, ConnectionError):
                return ("closed", None)
        if request.listener.tls and wire.sock.getpeercert(True) == self.backend:
            self.kept[key] = wire
            return ("through",)
        answer = wire.ask(request.target, request.authority, request.method, request.headers)
        if answer.get("connection") == "close":
            wire.close()
        else:
            self.kept[key] = wire
        return verdict_of(request, answer)


def verdict_of(request, answer):
    if (rule := answer.get("x-rule")) is not None:
        assert request.method == "HEAD" or answer.body.decode() == ("" if answer.status == 204 else rule), answer
        return ({200: "rule", 204: "preflight"}[answer.status], rule)
    if answer.get("location") is not None:
        return ("redirect", answer.status, answer.get("location"))
    if answer.status in (400, 403):
        return ("refused", answer.status, {400: "bad_request", 403: "access_denied"}[answer.status])
    why = answer.body.decode().strip().partition(": ")[2]
    return ("refused", answer.status, None if request.method == "HEAD" else REASONS.get(why, why))


def question(request):
    """What `edgemux explain` is asked, as (parameter, value)."""
    listener, authority = request.listener, request.authority
    asked = [("method", request.method), ("from", "127.0.0.1"), ("alpn", "http/1.1")]
    if not authority.endswith(f":{listener.port}"):  # which says it, too
        asked.append(("listener", listener.name))
    if listener.tls:
        asked.append(("sni", request.sni))
    asked += [("header", f"{name}: {value}") for name, value in request.headers]
    if authority.endswith((":", ":0", ":99999")):  # no URL has these
        asked.append(("header", f"Host: {authority}"))
        authority = "any.test"
    return [*asked, ("url", f"{'https' if listener.tls else 'http'}://{authority}{request.target}")]


def explain_of_the_file(edge, asked):
    words = {"method": "-X", "header": "-H", "url": "--"}
    arguments = [word for name, value in asked for word in (words.get(name, f"--{name}"), value)]
    done = edgemux("explain", "--config", edge.path, "--format", "json", *arguments)
    assert done.returncode == 0, (arguments, done.stderr)
    return json.loads(done.stdout)


def explain_of_the_process(edge, asked):
    """What --running asks, without a process for each question."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(edge.short / "admin.sock"))
        answer = Wire(sock).ask("/explain?" + urlencode(asked, quote_via=quote), "admin")
    assert answer.status == 200, (asked, answer)
    return json.loads(answer.body)


def verdict_of_explanation(whole):
    """(verdict, host)"""
    result = whole["result"]
    kind = {"respond": "rule", "refuse": "refused", "close": "closed", "passthrough": "through"}.get(result["action"], result["action"])
    if kind == "rule":
        at = next(step["at"] for step in whole["steps"] if step["topic"] == "rule")
        return ("preflight" if result["status"] == 204 else "rule", f"{PurePath(at['file']).name}:{at['line']}"), result.get("host")
    rest = {"refused": ("status", "reason"), "closed": ("reason",), "redirect": ("status", "location")}.get(kind, ())
    return (kind, *(result[key] for key in rest)), result.get("host")


def same(seen, expected):
    """What a client cannot see is None."""
    return len(seen) == len(expected) and all(s is None or s == e for s, e in zip(seen, expected))


def compare(edge, origins, authority, closing, seed, count, of_file):
    """`of_file`: so many of the requests are explained by a program of their own, of the file. Returns the verdicts."""
    pair = authority.issue("backend.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    backend = origins("backend", tls=context)
    listeners = listeners_of(edge.http, free_port(), edge.https, edge.kube)
    table = RandomTable(seed, listeners, backend.address)
    own = authority.issue(*table.certificate)
    config = edge.base(
        listeners=[{"name": x.name, "bind": [f"127.0.0.1:{x.port}"], "protocol": "tls" if x.tls else "http",
                    **({} if x.tls else {"redirect_port": x.redirect_port})} for x in listeners],
        certificates=[{"cert": str(own.cert), "key": str(own.key)}], include=["more.yaml"], routes=None)
    table.write(config, edge.path, edge.folder / "more.yaml")
    edge.start(edge.path.read_text())
    requests = [table.request() for _ in range(count)]
    clients = closing(Clients(pair.der))
    answers = [clients.ask(request) for request in requests]
    wrong, verdicts = [], set()
    for number, (request, answer) in enumerate(zip(requests, answers)):
        expected, host = table.model.answer(request)
        verdicts.add(expected)
        explanation = explain_of_the_process(edge, question(request))
        if number < of_file:
            assert explain_of_the_file(edge, question(request)) == explanation
        if not same(answer, expected) or verdict_of_explanation(explanation) != (expected, host):
            wrong.append(f"{request}\n  proxy   {answer}\n  explain {verdict_of_explanation(explanation)}\n  model   {(expected, host)}")
    assert not wrong, f"seed {seed}: {len(wrong)} of {count} differ, of {edge.path}:\n" + "\n".join(wrong[:5])
    never = rules_that_never_match(edge)
    assert not [v for v in verdicts if v[1:] and v[1] in never], f"seed {seed}: `check` says that they never match, of {edge.path}"
    return verdicts


def rules_that_never_match(edge):
    told = json.loads(edgemux("check", "--config", edge.path, "--format", "json").stdout)
    assert told["ok"] and told["errors"] == 0, told
    return {f"{PurePath(d['file']).name}:{d['line']}" for d in told["diagnostics"] if "this rule never matches" in d["message"]}


@pytest.mark.parametrize("seed", [pytest.param(1, marks=pytest.mark.sanitizer), 2, 3, 4])
def test_proxy_explanation_and_model_agree(edge, origins, authority, closing, seed):
    verdicts = compare(edge, origins, authority, closing, seed, 500, 25)
    assert {verdict[0] for verdict in verdicts} == {"rule", "preflight", "refused", "redirect", "through", "closed"}
    assert sum(verdict[0] == "rule" for verdict in verdicts) > 50, "the requests meet few of the rules"
    assert rules_that_never_match(edge), "none is shadowed"


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 120))
def test_proxy_explanation_and_model_agree_at_length(edge, origins, authority, closing, seed):
    compare(edge, origins, authority, closing, seed, 3000, 100)
