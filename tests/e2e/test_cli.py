"""The sub-commands that ask: explain, with the real binary, of files and of the running process."""

import json
import subprocess

from support.proxy import BINARY
from support.waiting import until


def edgemux(*arguments, cwd=None):
    run = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=cwd)
    return run.returncode, run.stdout, run.stderr


MAIN = """\
listeners:
  - { name: http, bind: [":80"], protocol: http }
  - { name: https, bind: [":443"], protocol: tls }
upstreams:
  shop: { endpoints: ["10.0.0.7:8080"] }
routes:
  - { host: shop.example.com, on_http: serve, rules: [{ path: /, upstream: shop }] }
"""


def test_explain_of_a_file(tmp_path):
    (tmp_path / "edgemux.yaml").write_text(MAIN)
    code, out, err = edgemux("explain", "-c", "edgemux.yaml", "http://shop.example.com/cart", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out == """\
GET http://shop.example.com/cart

  listener     http: http on :80  (edgemux.yaml:2:5)
  host         shop.example.com, an exact name  (edgemux.yaml:7:5)
               > shop.example.com  (edgemux.yaml:7:5)
  tenant       none: a route of the platform  (edgemux.yaml:7:5)
  on_http      serve: the rules hold for plain HTTP too  (edgemux.yaml:7:5)
  rule         path /  (edgemux.yaml:7:55)
               > path /: matches  (edgemux.yaml:7:55)
  upstream     shop  (edgemux.yaml:5:3)
               - endpoint 10.0.0.7:8080  (edgemux.yaml:5:23)

=> forwarded to upstream shop
"""
    code, out, _ = edgemux("explain", "-c", "edgemux.yaml", "--format", "json", "http://shop.example.com/", cwd=tmp_path)
    assert code == 0 and json.loads(out)["result"]["upstream"] == "shop"


def test_explain_says_what_is_wrong_with_the_question(tmp_path):
    (tmp_path / "edgemux.yaml").write_text(MAIN)
    for question, answer in (
        (["shop.example.com/"], "must begin with https:// or http://; write it like https://shop.example.com/"),
        (["https://" + "a" * 70_000], "the question is longer than 64 KiB"),
        (["https://a:b@c/"], "holds a user name"),
        ([], "ask about a URL, or about a server name with --sni NAME"),
    ):
        code, out, err = edgemux("explain", "-c", "edgemux.yaml", *question, cwd=tmp_path)
        assert (code, out) == (2, "") and answer in err
    (tmp_path / "edgemux.yaml").write_text("listeners: []\n")
    code, out, err = edgemux("explain", "-c", "edgemux.yaml", "http://a/", cwd=tmp_path)
    assert (code, out) == (1, "") and "edgemux.yaml:1:12: error: 'listeners' must not be empty" in err


def test_explain_asks_the_running_process(edge, origin):
    route = {"host": "a.example", "on_http": "serve", "rules": [{"path": "/", "upstream": f"127.0.0.1:{origin.port}"}]}
    folder = edge.folder / "routes.d"
    folder.mkdir()
    include = folder / "a.yaml"
    include.write_text(json.dumps({"routes": [route]}))
    edge.start(include=["routes.d/*.yaml"])

    def explain(*arguments):
        code, out, err = edgemux("explain", "-c", edge.path, "--running", "--listener", "http", *arguments)
        assert code == 0, err
        return out

    column = include.read_text().index(f'"127.0.0.1:{origin.port}"') + 1
    assert f"- endpoint 127.0.0.1:{origin.port}  ({include}:1:{column})\n\n=> forwarded to upstream 127.0.0.1:{origin.port}\n" in explain("http://a.example/")
    # A file that breaks keeps its last good bytes in force, and the explanation says so.
    include.write_text("routes: [{ colour: red }]")
    out = until(lambda: (text := explain("http://a.example/")) and "quarantine" in text and text,
                lambda: "the explanation tells of the quarantine; it is:\n" + explain("http://a.example/"))
    assert "this route is from the last good version of its file, which is set aside" in out
    assert "=> forwarded to upstream" in out
    result = json.loads(explain("--format", "json", "http://b.example/"))["result"]
    assert result == {"action": "refuse", "status": 404, "reason": "unknown_host", "listener": "http"}


def test_explain_ends_as_a_request_does_where_no_endpoint_is_there(edge):
    upstream = {"endpoints": ["no-such-name.invalid:80"]}
    edge.start(routes=[{"host": "a.example", "on_http": "serve", "rules": [{"path": "/", "upstream": upstream}]}])

    def explained():
        code, out, err = edgemux("explain", "-c", edge.path, "--running", "--listener", "http", "--format", "json",
                                 "http://a.example/")
        assert code == 0, err
        return json.loads(out)

    def end():
        result = explained()["result"]
        return result["action"], result.get("status"), result.get("reason")

    until(lambda: end() == ("refuse", 503, "no_endpoint"), lambda: f"nothing is forwarded; it is {explained()}")
    until(lambda: "no-such-name.invalid" in explained()["summary"].split(": ", 2)[2], lambda: explained()["summary"])


def test_explain_says_why_nobody_answers(tmp_path):
    path = tmp_path / "edgemux.yaml"
    path.write_text(MAIN + f"admin: {{ bind: 'unix:{tmp_path}/no.sock' }}\n")
    code, _, err = edgemux("explain", "-c", path, "--running", "http://a.example/")
    assert code == 1 and "No such file or directory; is edgemux running with this configuration?" in err
    path.write_text(MAIN + "admin: { bind: off }\n")
    code, _, err = edgemux("explain", "-c", path, "--running", "http://a.example/")
    assert code == 1 and "names no admin socket; set admin.bind to unix:/path" in err


def test_check_tells_everything_at_once(tmp_path):
    (tmp_path / "edgemux.yaml").write_text("""\
listeners: [{ name: https, bind: [":443"], protocol: tls }]
routes:
  - host: a.example.com
    pasthrough: 10.0.0.1:443
""")
    code, out, err = edgemux("check", "-c", "edgemux.yaml", cwd=tmp_path)
    assert (code, err) == (1, "")
    assert out == """\
edgemux.yaml:4:5: error: unknown key 'pasthrough'; did you mean 'passthrough'?
        pasthrough: 10.0.0.1:443
        ^
1 error, 0 warnings
"""
    code, out, _ = edgemux("check", "-c", "edgemux.yaml", "--format", "json", cwd=tmp_path)
    told = json.loads(out)
    assert code == 1 and (told["ok"], told["errors"], told["warnings"]) == (False, 1, 0)
    assert told["diagnostics"] == [{
        "severity": "error", "file": "edgemux.yaml", "line": 4, "column": 5, "message": "unknown key 'pasthrough'",
        "hint": "did you mean 'passthrough'?", "tenant": "", "source": "    pasthrough: 10.0.0.1:443",
        "source_column": 5}]


def test_check_warns_with_exit_0(tmp_path, authority):
    soon = authority.issue("a.example.com", days=10)
    (tmp_path / "edgemux.yaml").write_text(f"""\
listeners: [{{ name: https, bind: [":443"], protocol: tls }}]
certificates: [{{ cert: {soon.cert}, key: {soon.key} }}]
upstreams: {{ unused: {{ endpoints: ["10.0.0.1:80"] }} }}
routes:
  - host: a.example.com
    rules: [{{ path: /, respond: {{}} }}]
  - host: "*.b.example.com"
    rules: [{{ path: /, respond: {{}} }}]
""")
    code, out, _ = edgemux("check", "-c", "edgemux.yaml", cwd=tmp_path)
    assert code == 0, out
    assert "edgemux.yaml:2:16: warning: " in out and "the certificate for a.example.com expires on " in out
    assert "edgemux.yaml:3:14: warning: no route uses the upstream 'unused'" in out
    assert "edgemux.yaml:7:11: warning: no certificate serves '*.b.example.com'; its TLS connections are refused" in out
    assert out.endswith("OK: 1 listener, 2 hosts, 0 upstreams; 3 warnings\n")


def test_diff_says_what_changes_hands(tmp_path):
    (tmp_path / "old.yaml").write_text(MAIN)
    (tmp_path / "new.yaml").write_text(MAIN.replace("10.0.0.7", "10.0.0.8")
                                       + "  - { host: new.example.com, passthrough: '10.0.0.1:443' }\n")
    assert edgemux("diff", "old.yaml", "old.yaml", cwd=tmp_path) == (0, "no listener differs, and no host in its owner, kind, listeners and upstreams\n", "")
    code, out, err = edgemux("diff", "old.yaml", "new.yaml", cwd=tmp_path)
    assert (code, err) == (1, "")
    assert out == """\
+ new.example.com: passthrough to 10.0.0.1:443, on http, https  (new.yaml:8:5)
~ shop.example.com: upstream shop [10.0.0.7:8080] -> shop [10.0.0.8:8080]  (old.yaml:7:5 -> new.yaml:7:5)
hosts: 1 appear, 0 vanish, 1 change
"""
    code, out, _ = edgemux("diff", "--format", "json", "new.yaml", "old.yaml", cwd=tmp_path)
    told = json.loads(out)
    assert code == 1 and not told["same"]
    assert told["vanish"] == [{"host": "new.example.com", "listeners": "http, https", "tenant": "", "kind": "passthrough",
                               "upstream": "10.0.0.1:443", "wildcard": "",
                               "at": {"file": "new.yaml", "line": 8, "column": 5}}]
    assert [(change["what"], change["listeners"]) for change in told["change"]] == [("upstream", "")]


THREE = """\
listeners:
  - { name: aa, bind: ["127.0.0.1:1"], protocol: tls }
  - { name: bb, bind: ["127.0.0.1:2"], protocol: tls }
  - { name: cc, bind: ["127.0.0.1:3"], protocol: tls }
"""


def test_diff_tells_which_listener_gets_another_route(tmp_path):
    routes = "routes:\n" + "  - {{ host: a.test, listeners: [{}], passthrough: '127.0.0.1:{}' }}\n" * 2
    (tmp_path / "old.yaml").write_text(THREE + routes.format("aa, cc", 1, "bb", 2))
    (tmp_path / "new.yaml").write_text(THREE + routes.format("aa", 1, "bb, cc", 2))
    code, out, _ = edgemux("diff", "old.yaml", "new.yaml", cwd=tmp_path)
    assert (code, out) == (1, """\
~ a.test on cc: upstream 127.0.0.1:1 -> 127.0.0.1:2  (old.yaml:6:5 -> new.yaml:7:5)
hosts: 0 appear, 0 vanish, 1 change
""")


def test_diff_tells_what_a_claim_takes_from_a_wildcard(tmp_path):
    routes = "routes: [{ host: '*.w.test', passthrough: '127.0.0.1:1' }]\n"
    (tmp_path / "old.yaml").write_text(THREE + routes)
    (tmp_path / "new.yaml").write_text(THREE + routes + "tenants: { t: { hosts: [x.w.test], networks: [10.0.0.0/8] } }\n")
    code, out, _ = edgemux("diff", "old.yaml", "new.yaml", cwd=tmp_path)
    assert (code, out) == (1, """\
- x.w.test: passthrough to 127.0.0.1:1 by *.w.test, on aa, bb, cc  (old.yaml:5:10)
hosts: 0 appear, 1 vanish, 0 change
""")
    assert edgemux("diff", "new.yaml", "new.yaml", cwd=tmp_path)[0] == 0


def test_diff_of_what_cannot_be_compiled_is_trouble(tmp_path):
    (tmp_path / "old.yaml").write_text(MAIN)
    (tmp_path / "new.yaml").write_text("listeners: []\n")
    code, out, err = edgemux("diff", "old.yaml", "new.yaml", cwd=tmp_path)
    assert (code, out) == (2, "") and "new.yaml:1:12: error" in err
    assert edgemux("diff", "old.yaml", "none.yaml", cwd=tmp_path)[0] == 2
    assert edgemux("diff", "old.yaml", cwd=tmp_path)[0] == 2


def test_status_and_top_ask_the_running_process(edge, origin):
    route = {"host": "a.example", "on_http": "serve", "rules": [{"path": "/", "upstream": f"127.0.0.1:{origin.port}"}]}
    broken = edge.folder / "broken.yaml"
    broken.write_text("routes: [{ colour: red }]")
    edge.start(routes=[route], include=["broken.yaml"])
    code, out, err = edgemux("status", "-c", edge.path)
    assert (code, err) == (0, "")
    assert f"pid {edge.process.pid}, up " in out and ", ready\ngeneration 1, 1 hosts, " in out
    assert f"\n  127.0.0.1:{origin.port}: 127.0.0.1:{origin.port}  (" in out
    assert f"\nSET ASIDE: their last good bytes serve, or nothing\n  {broken}\n" in out
    assert "broken.yaml:1:12: error: unknown key 'colour'" in out
    code, out, _ = edgemux("status", "--socket", f"{edge.short}/admin.sock", "--format", "json")
    assert code == 0 and json.loads(out)["set_aside"] == [str(broken)]
    code, out, err = edgemux("top", "--once", "-c", edge.path)
    assert (code, err) == (0, "")
    assert "LISTENER  CONNECTIONS  NEW/S  REQUESTS/S" in out and "\x1b" not in out


def test_status_says_why_nobody_answers(tmp_path):
    for command in ("status", "top"):
        code, out, err = edgemux(command, "--socket", tmp_path / "none.sock")
        assert (code, out) == (1, "") and "is edgemux running with this configuration?" in err


def test_what_cannot_be_answered_or_written_is_no_success(tmp_path):
    (tmp_path / "edgemux.yaml").write_text("listeners: [{ name: http, bind: [':80'], protocol: http }]\nroutes: []\n")
    code, out, err = edgemux("explain", "-c", "edgemux.yaml", "--listener", "nobody", "http://a.example/", cwd=tmp_path)
    assert (code, out) == (2, "") and "there is no listener 'nobody'" in err
    with open("/dev/full", "w") as full:
        run = subprocess.run([BINARY, "schema"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert run.returncode == 1 and "could not be written" in run.stderr


def test_a_main_file_that_fails_leaves_what_is_said_of_the_others(edge):
    broken = edge.folder / "broken.yaml"
    broken.write_text("routes: [{ colour: red }]")
    edge.start(routes=[{"host": "a.example", "passthrough": "127.0.0.1:9"}], include=["broken.yaml"])
    assert edge.metrics().total("edgemux_config_files_set_aside") == 1
    (edge.folder / "edgemux.yaml").write_text("listeners: [")
    until(lambda: edge.metrics().total("edgemux_reloads_total", result="failed") > 0, edge.log)
    assert edge.metrics().total("edgemux_config_files_set_aside") == 1
    assert "solved:" not in edge.log()


def test_a_metric_tells_as_long_as_what_is_on_the_disk_does_not_serve(edge, tap):
    def successful():
        return edge.metrics().total("edgemux_config_last_reload_successful")

    edge.start(routes=[{"host": "a.example", "passthrough": "127.0.0.1:9"}])
    began = edge.metrics().total("edgemux_config_last_reload_success_timestamp_seconds")
    assert successful() == 1 and began >= edge.metrics().total("process_start_time_seconds") > 0
    good = edge.path.read_text()
    edge.write("listeners: [")
    until(lambda: successful() == 0, edge.log)
    edge.write(good)  # what serves all the time
    until(lambda: successful() == 1, edge.log)
    config = edge.base()
    config["listeners"].append({"name": "taken", "bind": [f"127.0.0.1:{tap.port}"], "protocol": "http"})
    edge.write(config)
    until(lambda: successful() == 0, edge.log)
    until(lambda: "cannot be put in force" in edge.log(), edge.log)
    edge.reload()
    until(lambda: successful() == 1, edge.log)
    assert edge.metrics().total("edgemux_config_last_reload_success_timestamp_seconds") >= began


def test_what_cannot_be_put_in_force_leaves_what_is_said_of_files(edge, tap):
    """That one is broken whose last good version goes on serving, whatever was written since."""
    broken = edge.folder / "broken.yaml"
    broken.write_text("routes: [{ colour: red }]")
    config = edge.base(routes=[{"host": "a.example", "passthrough": "127.0.0.1:9"}], include=["broken.yaml"])
    edge.start(**{key: config[key] for key in ("routes", "include")})
    broken.write_text("routes: []")
    config["listeners"].append({"name": "taken", "bind": [f"127.0.0.1:{tap.port}"], "protocol": "http"})
    edge.write(config)
    edge.wait_log("cannot be put in force")
    assert edge.metrics().total("edgemux_config_files_set_aside") == 1
    code, out, _ = edgemux("status", "-c", edge.path, "--format", "json")
    assert code == 0 and json.loads(out)["set_aside"] == [str(broken)]
