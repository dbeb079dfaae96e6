"""What a request should get, written from README.md, docs/ and the Gateway API alone: slow, plain, and nothing of the proxy's own.

A verdict is a tuple: ("rule", place) and ("preflight", place) of the rule that answers, ("refused", status, reason),
("redirect", status, location), ("through",) to a passthrough backend, ("closed", reason) of a TLS connection.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

# What edgemux writes itself; a client that is not trusted cannot say it.
FORWARDING = {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip", "x-request-id"}


@dataclass
class Rule:
    place: str
    kind: str  # of its path: path, exact_path, regex_path
    path: str
    priority: int = 0
    methods: tuple = ()
    headers: dict = field(default_factory=dict)  # name: a text, or {"regex": text}
    query: dict = field(default_factory=dict)
    cors: bool = False


@dataclass
class Route:
    hosts: list
    listeners: list  # of all: None
    rules: list  # of a passthrough: None
    on_http: str = "redirect"
    denied: bool = False  # to whoever asks


@dataclass
class Listener:
    name: str
    tls: bool
    port: int
    redirect_port: int = 443


@dataclass
class Request:
    listener: Listener
    authority: str
    path: str
    query: str = None
    method: str = "GET"
    headers: list = field(default_factory=list)
    sni: str = None

    @property
    def target(self):
        return self.path if self.query is None else f"{self.path}?{self.query}"


def host_of(authority):
    """Lower case, without port and trailing dot; "" where no route could have it, None where it is none at all."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{1,5}))?", authority)
    if not found or (found[2] and not 0 < int(found[2]) < 65536):
        return None
    name = found[1].lower().removesuffix(".")
    labels = name.split(".")
    if not all(re.fullmatch("[a-z0-9_-]+", label) for label in labels) or labels[-1].isdigit():
        return ""
    return name


def covers(pattern, name):
    """A wildcard covers one or more labels and never the apex."""
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else pattern == name


def certified(names, host):
    """A wildcard of a certificate is one label."""
    return host in names or "*." + host.partition(".")[2] in names


def normal_path(path):
    """The path that rules see, or None where it is refused."""
    if not path.startswith("/") or "\\" in path:
        return None
    if re.search(r"%(?![0-9A-Fa-f]{2})|%[01][0-9A-Fa-f]|%7[Ff]", path):
        return None

    def spelled(escape):
        char = chr(int(escape[1], 16))
        return char if re.fullmatch("[A-Za-z0-9._~-]", char) else "%" + escape[1].upper()

    segments = re.sub("/+", "/", re.sub("%(..)", spelled, path)).split("/")[1:]
    kept = []
    for segment in segments:
        if re.match(r"\.\.?;", segment):
            return None
        if segment == "..":
            if not kept:
                return None
            kept.pop()
        elif segment not in (".", ""):
            kept.append(segment)
    ends = segments[-1] in (".", "..", "") and kept
    return "/" + "/".join(kept) + ("/" if ends else "")


def rank(indexed):
    """Who comes first: the smallest."""
    index, rule = indexed
    kind = ["exact_path", "regex_path", "path"].index(rule.kind)
    length = len(normal_path(rule.path).rstrip("/")) if rule.kind == "path" else 0
    return (-rule.priority, kind, -length, not rule.methods, -len(rule.headers), -len(rule.query), index)


def takes_path(rule, path):
    if rule.kind == "regex_path":
        return re.fullmatch(rule.path, path) is not None
    wanted = normal_path(rule.path)
    if rule.kind == "exact_path":
        return path == wanted
    wanted = wanted.rstrip("/")  # Gateway API: a trailing '/' is ignored
    return path == wanted or path.startswith(wanted + "/")


def takes_value(wanted, values):
    if isinstance(wanted, dict):
        return any(re.search(wanted["regex"].encode(), value) for value in values)
    return wanted.encode() in values


def value_of(request, name):
    """Of the first field of that name."""
    return next((value.strip(" \t") for n, value in request.headers if n.lower() == name), "")


def takes(rule, request, path):
    if not takes_path(rule, path):
        return False
    if rule.methods and request.method not in rule.methods:
        asked = value_of(request, "access-control-request-method")
        if not (rule.cors and is_preflight(request) and asked in rule.methods):
            return False
    dropped = {word.strip().lower() for n, value in request.headers if n.lower() == "connection" for word in value.split(",")}
    for name, wanted in rule.headers.items():
        name = name.lower()
        values = [v.strip(" \t").encode() for n, v in request.headers if n.lower() == name and name not in dropped | FORWARDING]
        if not takes_value(wanted, values):
            return False
    parameters = [parameter.partition("=")[::2] for parameter in (request.query or "").split("&")]
    for name, wanted in rule.query.items():
        if not takes_value(wanted, [decoded(v) for n, v in parameters if decoded(n) == name.encode()]):
            return False
    return True


def decoded(text):
    return unquote_to_bytes(text.replace("+", " "))


def is_preflight(request):
    return (request.method == "OPTIONS" and value_of(request, "origin") != ""
            and value_of(request, "access-control-request-method") != "")


class Model:
    def __init__(self, routes, certificate):
        self.routes, self.certificate = routes, certificate  # the names that the one certificate is for

    def find(self, listener, name):
        """(the winning host, its route here) or None: nobody's, or not attached here."""
        patterns = [p for route in self.routes for p in route.hosts if covers(p, name)]
        if not name or not patterns:
            return None
        best = max(patterns, key=lambda p: (not p.startswith("*."), len(p)))
        for route in self.routes:
            if best in route.hosts and (route.listeners is None or listener.name in route.listeners):
                return best, route
        return None

    def answer(self, request):
        """(the verdict, the host that won or None)"""
        listener = request.listener
        if not listener.tls:
            return self._plain(request, listener)
        sni = host_of(request.sni)
        found = self.find(listener, sni)
        if found is None:
            return ("closed", "unknown_host"), None
        host, made_for = found
        if made_for.rules is None:
            return (("closed", "access_denied") if made_for.denied else ("through",)), host
        if not certified(self.certificate, sni):
            return ("closed", "no_certificate"), host
        name, path = host_of(request.authority), normal_path(request.path)
        if name is None or path is None:
            return ("refused", 400, "bad_request"), host
        if name != sni:
            found = self.find(listener, name)
            if found is None:
                return ("refused", 404, "unknown_host"), host
            host, route = found
            if route is not made_for:
                return ("refused", 421, "misdirected"), host
        return self._serve(request, made_for, path), host

    def _plain(self, request, listener):
        name, path = host_of(request.authority), normal_path(request.path)
        if name is None or path is None:
            return ("refused", 400, "bad_request"), None
        found = self.find(listener, name)
        if found is None:
            return ("refused", 404, "unknown_host"), None
        host, route = found
        if route.on_http == "redirect":
            status = 301 if request.method in ("GET", "HEAD") else 308
            port = "" if listener.redirect_port == 443 else f":{listener.redirect_port}"
            return ("redirect", status, f"https://{request.authority.partition(':')[0]}{port}{request.target}"), host
        if route.on_http == "off" or route.rules is None:
            return ("refused", 404, "done"), host
        return self._serve(request, route, path), host

    @staticmethod
    def _serve(request, route, path):
        if route.denied:
            return ("refused", 403, "access_denied")
        for _, rule in sorted(enumerate(route.rules), key=rank):
            if takes(rule, request, path):
                return ("preflight" if rule.cors and is_preflight(request) else "rule", rule.place)
        return ("refused", 404, "no_rule")
