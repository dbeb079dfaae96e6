"""Routing tables and requests made by chance, over so few words that nearly everything overlaps. The seed says all."""

import json
import random
import re


from .routing_model import FORWARDING, Listener, Model, Request, Route, Rule, host_of, normal_path
from .written import as_yaml

SUFFIX = "x.test"
LABELS = "abc"
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/A", "/a%2fb", "/%61/c", "/b", "/b//a", "/b/./c"]
PATTERNS = {  # with paths that they match
    "/a/.*": ["/a/", "/a/b/c"], "/[ab]+": ["/a", "/abba"], "/a(/.*)?": ["/a", "/a/b"], ".*b": ["/b", "/a/b", "/ab"],
    "/a/[^/]*": ["/a/", "/a/b"], "/(a|b)/c?": ["/a/c", "/b/"], "/.*": ["/", "/a%2fb"], "/a%2Fb": ["/a%2fb"]}
SEGMENTS = ["a", "b", "c"] * 6 + ["ab", "A", "%61", "a%2Fb", "a%2fb", "", ".", "..", "%2e", "%2E%2e", "a;x", "~", "%7Ea", "%C3%a4"]
BAD_SEGMENTS = ["..;x", ".;", "%00", "%zz", "%4", "a\\b", "%7f", "..", "%2e./.."]
VALUES = ["1", "2", "12", "A", "a b"]
VALUE_PATTERNS = ["^1", "2$", "[12]", "^A$", " "]
METHODS = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "PURGE"]
HEADERS = ["x-a", "X-B", "x-c"]
PARAMETERS = ["a", "b", "c d"]
BAD_AUTHORITIES = [f"a.{SUFFIX}:", f"a.{SUFFIX}:0", f"a.{SUFFIX}:99999",
                   f"a..{SUFFIX}", f".a.{SUFFIX}", "127.0.0.1", "[::1]:80", "nobody.test"]


class RandomTable:
    def __init__(self, seed, listeners, backend, routes=30):
        self.random = random.Random(seed)
        self.listeners, self.backend = listeners, backend
        self.certificate = [SUFFIX, f"*.{SUFFIX}", *(f"*.{a}.{SUFFIX}" for a in LABELS),
                            *(f"*.{b}.{a}.{SUFFIX}" for a in LABELS for b in LABELS if self.random.random() < 0.9)]
        exact = [[f"{a}.{SUFFIX}" for a in LABELS], [f"{b}.{a}.{SUFFIX}" for a in LABELS for b in LABELS],
                 [f"{c}.{b}.{a}.{SUFFIX}" for a in LABELS for b in LABELS for c in LABELS]]
        wild = [f"*.{SUFFIX}", *(f"*.{name}" for name in exact[0] + exact[1])]
        # Not all: the apex of most wildcards is nobody's, or a shorter wildcard's.
        self.names = [*self.random.sample(exact[0], 1), *self.random.sample(exact[1], 4), *self.random.sample(exact[2], 16), *wild]
        self.taken = {}  # host: the listeners that somebody serves it on
        self.routes = []
        for _ in range(10 * routes):
            if len(self.routes) < routes and (route := self._route()):
                self.routes.append(route)
        self.model = Model(self.routes, self.certificate)

    # the table

    def _route(self):
        chance = self.random.random
        passthrough = chance() < 0.15
        names = [listener.name for listener in self.listeners]
        on = set(names)
        if chance() < 0.4:
            on = set(self.random.sample(names, self.random.randint(1, len(names) - 1)))
            if passthrough:
                on.add(self.random.choice([listener.name for listener in self.listeners if listener.tls]))
        free = [host for host in self.names if not on & self.taken.get(host, set())]
        if not free:
            return None
        hosts = self.random.sample(free, min(len(free), self.random.choice([1, 1, 1, 2, 3])))
        for host in hosts:
            self.taken.setdefault(host, set()).update(on)
        return Route(hosts=hosts, listeners=None if len(on) == len(names) else sorted(on),
                     rules=None if passthrough else self._rules(),
                     on_http=self.random.choice(["redirect", "off"] if passthrough else ["serve"] * 8 + ["redirect", "off"]),
                     denied=chance() < 0.06)

    def _rules(self):
        """Few, that are tried one after the other, or more, which have an index."""
        rules, known = [], set()
        for _ in range(self.random.choice([1, 3, 6, 8, 9, 15, 25])):
            rule = self._rule()
            path = rule.path if rule.kind == "regex_path" else normal_path(rule.path)
            same = (rule.priority, rule.kind, path.rstrip("/") if rule.kind == "path" else path, frozenset(rule.methods),
                    json.dumps([{k.lower(): v for k, v in rule.headers.items()}, rule.query], sort_keys=True))
            if same not in known:  # a second one is an error
                known.add(same)
                rules.append(rule)
        return rules

    def _rule(self):
        chance, pick = self.random.random, self.random.choice
        kind = pick(["path", "path", "path", "exact_path", "regex_path"])
        rule = Rule("", kind, pick(list(PATTERNS) if kind == "regex_path" else PATHS), priority=pick([0] * 6 + [1, 2]))
        if chance() < 0.35:
            rule.methods = tuple(self.random.sample(METHODS, self.random.randint(1, 2)))
        if chance() < 0.35:
            rule.headers = {name: self._wanted() for name in self.random.sample(HEADERS, self.random.randint(1, 3))}
            if chance() < 0.1:
                rule.headers[pick(sorted(FORWARDING))] = self._wanted()
        if chance() < 0.3:
            rule.query = {name: self._wanted() for name in self.random.sample(PARAMETERS, self.random.randint(1, 2))}
        rule.cors = chance() < 0.15
        return rule

    def _wanted(self):
        return {"regex": self.random.choice(VALUE_PATTERNS)} if self.random.random() < 0.3 else self.random.choice(VALUES)

    def write(self, config, main, included):
        """As two files, half of the routes in each; every rule stands in a line of its own, which it is named by."""
        half = len(self.routes) // 2
        for path, head, routes in ((included, "", self.routes[half:]), (main, as_yaml(config), self.routes[:half])):
            lines = [*head.splitlines(), "routes:"]
            for route in routes:
                lines.append("  - " + json.dumps({"hosts": route.hosts, "on_http": route.on_http})[:-1])
                if route.listeners is not None:
                    lines.append("    , " + json.dumps({"listeners": route.listeners})[1:-1])
                if route.denied:
                    lines.append('    , "deny": ["127.0.0.0/8"]')
                if route.rules is None:
                    lines.append(f'    , "passthrough": "{self.backend}"')
                else:
                    lines.append('    , "rules": [')
                    for rule in route.rules:
                        rule.place = f"{path.name}:{len(lines) + 1}"
                        lines.append("      " + json.dumps(written(rule)) + ("," if rule is not route.rules[-1] else ""))
                    lines.append("      ]")
                lines.append("    }")
            path.write_text("\n".join(lines) + "\n")

    # requests

    def request(self):
        """Most are made to meet a rule, but each part of them may be another all the same."""
        pick = self.random.choice
        route = pick(self.routes)
        rule = pick(route.rules) if route.rules and self.random.random() < 0.95 else None
        listener = pick([x for x in self.listeners if route.listeners is None or x.name in route.listeners])
        name = self._name(pick(route.hosts) if self._likely() else pick(self.names))
        sni = pick(self._spellings(name)) if listener.tls else None
        if self.random.random() < 0.15:  # the connection is for another name
            name = self._name(pick(route.hosts + self.names))
        authority = (sni if listener.tls and self.random.random() < 0.5 and host_of(sni) == name else pick(self._spellings(name)))
        authority += pick(["", "", f":{listener.port}", ":8080"])
        if self.random.random() < 0.02:
            authority = pick(BAD_AUTHORITIES)
        return Request(listener, authority, self._path(rule), self._query(rule), self._method(rule), self._headers(rule), sni)

    def _likely(self):
        return self.random.random() < 0.92

    def _name(self, name):
        """What the name is, or one that it covers, or one beside it."""
        if name.startswith("*.") and self.random.random() < 0.75:
            return self.random.choice(["a.", "c.", "z.", "b.z."]) + name[2:]
        return name.removeprefix("*.") if self.random.random() < 0.97 else "b." + name.removeprefix("*.")

    @staticmethod
    def _spellings(name):
        return [name] * 5 + [name.upper(), name + ".", name.title() + "."]

    def _path(self, rule):
        segments = [self.random.choice(SEGMENTS) for _ in range(self.random.choice([0, 0, 0, 0, 1, 1, 2, 3]))]
        if self.random.random() < 0.04:
            segments.insert(self.random.randint(0, len(segments)), self.random.choice(BAD_SEGMENTS))
        base = ""
        if rule and self._likely():
            base = self.random.choice(PATTERNS[rule.path]) if rule.kind == "regex_path" else rule.path
            if rule.kind != "path" and self._likely():
                return base
        path = "/".join([base.rstrip("/"), *segments])
        return (path or "/") + ("/" if path and self.random.random() < 0.15 else "")

    def _given(self, wanted):
        """A value that does, or any."""
        if not self._likely():
            return self.random.choice([*VALUES, "1,2", "", "a"])
        return self.random.choice([v for v in VALUES if re.search(wanted["regex"], v)]) if isinstance(wanted, dict) else wanted

    def _query(self, rule):
        texts = {"1": ["1", "%31"], "12": ["12", "1%32"], "a b": ["a+b", "a%20b", "a%2Bb"], "a": ["a", "%61"], "c d": ["c+d", "c%20d"]}
        pairs = [(name, self._given(wanted)) for name, wanted in rule.query.items()] if rule else []
        pairs += [(self.random.choice(PARAMETERS), self.random.choice(VALUES)) for _ in range(self.random.choice([0, 0, 0, 1, 2]))]
        self.random.shuffle(pairs)
        parts = []
        for pair in pairs:
            name, value = (self.random.choice(texts.get(text, [text])) for text in pair)
            parts.append(f"{name}={value}" if self._likely() else
                         self.random.choice([name, f"{name}=", f"{name}=={value}", f"={value}", f"{name}=%", f"{name}={value};x", ""]))
        return "&".join(parts) if parts or self.random.random() < 0.1 else None

    def _method(self, rule):
        if rule and rule.cors and self.random.random() < 0.6:
            return "OPTIONS"
        wanted = rule.methods if rule and rule.methods and self._likely() else [*METHODS, "GET", "GET", "get"]
        return self.random.choice(wanted)

    def _headers(self, rule):
        chance, pick = self.random.random, self.random.choice
        headers = [(name, self._given(wanted)) for name, wanted in rule.headers.items()] if rule else []
        headers += [(pick(HEADERS), pick([*VALUES, "1,2", ""])) for _ in range(pick([0, 0, 0, 1, 2]))]
        if chance() < 0.03:
            headers.append((pick(sorted(FORWARDING)), pick(VALUES)))
        headers = [(pick([name, name, name.upper()]), pick([value, value, f"  {value}\t"])) for name, value in headers]
        if chance() < 0.08:
            headers.append(("Connection", pick(["X-A", "x-b, x-c"])))
        if chance() < (0.8 if rule and rule.cors else 0.05):
            headers += [("Origin", "https://o.test"),
                        ("Access-Control-Request-Method", pick(rule.methods if rule and rule.methods and self._likely() else METHODS))]
        self.random.shuffle(headers)
        return headers


def written(rule):
    """The rule as the configuration says it; the path stands in `match` or outside, where both may."""
    conditions = {key: value for key, value in (("methods", list(rule.methods)), ("headers", rule.headers), ("query", rule.query)) if value}
    path = {rule.kind: rule.path}
    out = path if len(rule.path) % 2 or not conditions else {}
    if conditions:
        out["match"] = conditions if out else {**path, **conditions}
    if rule.priority:
        out["priority"] = rule.priority
    if rule.cors:
        out["cors"] = {"origins": ["*"]}
    return {**out, "respond": {"body": rule.place}, "response_headers": {"set": {"x-rule": rule.place}}}


def listeners_of(*ports):
    """Two http listeners and two tls listeners; the first http listener redirects to the first port of tls."""
    http, other_http, tls, other_tls = ports
    return [Listener("http", False, http, redirect_port=tls), Listener("http-b", False, other_http),
            Listener("https", True, tls), Listener("kube-api", True, other_tls)]
