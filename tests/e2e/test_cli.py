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
               - endpoint 10.0.0.7:8080

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

    assert f"- endpoint 127.0.0.1:{origin.port}\n\n=> forwarded to upstream 127.0.0.1:{origin.port}\n" in explain("http://a.example/")
    # A file that breaks keeps its last good bytes in force, and the explanation says so.
    include.write_text("routes: [{ colour: red }]")
    out = until(lambda: (text := explain("http://a.example/")) and "quarantine" in text and text,
                lambda: "the explanation tells of the quarantine; it is:\n" + explain("http://a.example/"))
    assert "this route is from the last good version of its file, which is set aside" in out
    assert "=> forwarded to upstream" in out
    result = json.loads(explain("--format", "json", "http://b.example/"))["result"]
    assert result == {"action": "refuse", "status": 404, "reason": "unknown_host", "listener": "http"}


def test_explain_says_why_nobody_answers(tmp_path):
    path = tmp_path / "edgemux.yaml"
    path.write_text(MAIN + f"admin: {{ bind: 'unix:{tmp_path}/no.sock' }}\n")
    code, _, err = edgemux("explain", "-c", path, "--running", "http://a.example/")
    assert code == 1 and "No such file or directory; is edgemux running with this configuration?" in err
    path.write_text(MAIN + "admin: { bind: off }\n")
    code, _, err = edgemux("explain", "-c", path, "--running", "http://a.example/")
    assert code == 1 and "names no admin socket; set admin.bind to unix:/path" in err
