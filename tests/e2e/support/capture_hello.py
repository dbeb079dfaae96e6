#!/usr/bin/env python3
"""Captures the ClientHellos of headless Chromium and Firefox on loopback.

    python3 tests/e2e/support/capture_hello.py [FOLDER]

Each browser is sent to https://captured.example.com:PORT, which is this script; what it sends first, up to the end of the
ClientHello, is kept as FOLDER/chromium.hello and FOLDER/firefox.hello (FOLDER is tests/e2e/data by default).
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HOST = "captured.example.com"
DEADLINE = 90


def read_hello(listener):
    """The records of the next connection that begins with a ClientHello for HOST, until its message is whole."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            data, message, at = b"", b"", 0
            while True:
                while len(data) >= at + 5 and len(data) >= at + 5 + int.from_bytes(data[at + 3 : at + 5], "big"):
                    end = at + 5 + int.from_bytes(data[at + 3 : at + 5], "big")
                    message += data[at + 5 : end]
                    at = end
                if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4], "big"):
                    break
                try:
                    piece = connection.recv(65536)
                except OSError:
                    piece = b""
                if not piece:
                    break
                data += piece
            if data[:1] == b"\x16" and HOST.encode() in message:
                return data[:at]


def chromium(url, profile, port):
    return ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--no-proxy-server", f"--user-data-dir={profile}", f"--host-resolver-rules=MAP {HOST} 127.0.0.1", url]


def firefox(url, profile, port):
    (Path(profile) / "user.js").write_text(
        f'user_pref("network.dns.localDomains", "{HOST}");\n'
        'user_pref("network.proxy.type", 0);\n'
        'user_pref("network.dns.disableIPv6", true);\n'
        'user_pref("app.update.enabled", false);\n'
        'user_pref("datareporting.policy.dataSubmissionEnabled", false);\n'
    )
    return ["firefox-esr", "--headless", "--no-remote", "--profile", profile, url]


def capture(name, command, folder):
    with socket.socket() as listener, tempfile.TemporaryDirectory() as profile:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        listener.settimeout(DEADLINE)
        port = listener.getsockname()[1]
        browser = subprocess.Popen(command(f"https://{HOST}:{port}/", profile, port), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True,
                                   env={**os.environ, "HOME": profile, "MOZ_CRASHREPORTER_DISABLE": "1"})
        try:
            data = read_hello(listener)
        finally:
            os.killpg(browser.pid, 9)
            browser.wait()
            shutil.rmtree(profile, ignore_errors=True)
            os.makedirs(profile, exist_ok=True)
    (folder / f"{name}.hello").write_bytes(data)
    print(f"{name}: {len(data)} bytes, SNI at byte {data.index(HOST.encode())}")


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    capture("chromium", chromium, folder)
    capture("firefox", firefox, folder)


if __name__ == "__main__":
    main()
