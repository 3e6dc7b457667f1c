import http.client
import pathlib
import subprocess
import sys
import urllib.parse

import pytest


def closed(platform):
    """Whether the server says, within 1,100 requests on one connection, that it closes it."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(platform.endpoint).netloc, timeout=10)
    for _ in range(1100):
        connection.request("GET", "/_ministack/health")
        answer = connection.getresponse()
        answer.read()
        if answer.getheader("connection", "").lower() == "close":
            return True
    return False


def test_upstream_a_connection_is_closed(plain):
    assert closed(plain)


def test_a_connection_is_kept(patched):
    assert not closed(patched)


@pytest.mark.parametrize("patch", [False, True])
def test_an_idle_connection_outlives_a_client(patch):
    """The server's own 75 seconds are less than the 90 for which a client in Go keeps an idle connection."""
    code = "from hypercorn.config import Config; config = Config(); config.keep_alive_timeout = 75; print(config.keep_alive_timeout)"
    if patch:
        code = "import kept_connections; kept_connections.apply(); " + code
    patches = str(pathlib.Path(__file__).parents[1] / "patches")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=patches)
    assert (int(out.stdout) > 90) == patch
