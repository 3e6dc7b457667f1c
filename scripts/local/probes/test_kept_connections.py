import http.client
import urllib.parse


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
