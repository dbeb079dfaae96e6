"""Backends that are real programs: nginx, and a WebSocket echo server."""

import asyncio
import subprocess
import threading
from pathlib import Path

import websockets

from .waiting import patience, until
from .wire import Wire


class _Server:
    """A server program on a port of its own, from the time it listens until close()."""

    def __init__(self, command, port, what):
        self.port, self.address = port, f"127.0.0.1:{port}"
        self._what = what
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        until(self._is_up, f"{what} listens")

    def _is_up(self):
        if self._process.poll() is not None:
            raise AssertionError(f"{self._what} ended: {self._process.stderr.read().decode()}")
        try:
            Wire.connect(self.port).close()
            return True
        except OSError:
            return False

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stderr.close()


class Nginx(_Server):
    """An nginx of its own. With a pair it speaks TLS; /upload goes on to `origin` unbuffered, files come from `root`.

    Every answer of `/` names it: "NAME HOST\\n". `options` are further words of its listen line, `server` further lines
    of its server block; with `unix` it listens on that socket too.
    """

    def __init__(self, folder, port, name, pair=None, origin=None, keepalive=True, options="", server="", unix=None):
        self.folder, self.name, self.pair = Path(folder), name, pair
        self.root = self.folder / "root"
        self.root.mkdir(parents=True)
        tls = f"ssl_certificate {pair.cert}; ssl_certificate_key {pair.key};" if pair else ""
        upload = f"""location /upload {{ proxy_pass http://{origin.address}; proxy_http_version 1.1;
            proxy_request_buffering off; client_max_body_size 0; }}""" if origin else ""
        (self.folder / "nginx.conf").write_text(f"""
daemon off;
master_process off;
worker_rlimit_nofile 4096;
pid {self.folder}/pid;
error_log {self.folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log {self.folder}/access.log;
  client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2;
  fastcgi_temp_path {self.folder}/t3; uwsgi_temp_path {self.folder}/t4; scgi_temp_path {self.folder}/t5;
  keepalive_timeout {'600s' if keepalive else '0'};
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{port}{' ssl' if pair else ''} backlog=4096 {options};
    {f"listen unix:{unix};" if unix else ""}
    {tls}
    ssl_protocols TLSv1.2 TLSv1.3;
    root {self.root};
    location = / {{ return 200 "{name} $host\\n"; }}
    location /files/ {{ alias {self.root}/; }}
    {upload}
    {server}
  }}
}}
""")
        super().__init__(["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")], port, f"nginx {name}")


class Haproxy(_Server):
    """A haproxy that answers every request with `answer`, a log-format string. With a pair it speaks TLS."""

    def __init__(self, folder, port, pair, answer, options=""):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        tls = ""
        if pair is not None:
            (self.folder / "pair.pem").write_bytes(pair.cert_pem + pair.key_pem)
            tls = f"ssl crt {self.folder}/pair.pem"
        (self.folder / "haproxy.cfg").write_text(f"""
global
  maxconn 200
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 10s
frontend it
  bind 127.0.0.1:{port} {tls} {options}
  http-request return status 200 content-type text/plain lf-string "{answer}"
""")
        super().__init__(["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")], port, "haproxy")


class WebSocketEcho:
    """Sends every message back. One thread with a loop of its own."""

    def __init__(self, port):
        self.port, self.address = port, f"127.0.0.1:{port}"
        self.paths = []
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(patience(10)), "the WebSocket server did not start"

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self):
        self._stop = asyncio.Event()

        async def echo(socket):
            self.paths.append(socket.path)
            async for message in socket:
                await socket.send(message)

        async with websockets.serve(echo, "127.0.0.1", self.port, max_size=None, compression=None):
            self._up.set()
            await self._stop.wait()

    def close(self):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(patience(15))
