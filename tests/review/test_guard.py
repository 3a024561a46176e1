"""Who may talk to the server, by real requests."""

import http.client
from html.parser import HTMLParser
from urllib.parse import urlsplit

import httpx
import pytest

from visual_summaries.pipeline.review.app import review_app
from visual_summaries.pipeline.review.guard import is_loopback

TOKEN = "a-token-that-nobody-guesses"


def test_loopback_hosts() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.0.1", "::", "", "127.0.0.1.evil.com", "localhost.evil.com")))


def test_no_server_for_others_without_a_token(known_run) -> None:
    with pytest.raises(ValueError, match="token"):
        review_app(known_run, None, None, loopback=False, token=None, port=1)


def test_the_token_opens_and_nothing_else_does(own_run, serve, caplog) -> None:
    address = serve(own_run, loopback=False, token=TOKEN)
    with httpx.Client(base_url=address, headers={"Origin": address}) as client:
        for path in ("/", "/index.html", "/review", "/review/part", "/review/review.css"):
            assert client.get(path).status_code == 401, path
        assert client.get("/review?token=wrong").status_code == 401
        assert client.get(f"/review?token={TOKEN}x").status_code == 401
        assert client.get("/review", headers={"Cookie": "visual-summaries-token=x"}).status_code == 401
        assert client.post(f"/review/rater?token={TOKEN}", data={"rater": "ann"}).status_code == 401
        assert not client.cookies
        welcome = client.get(f"/review?token={TOKEN}&x=1")
        assert welcome.status_code == 200 and 'url=/review?x=1"' in welcome.text and TOKEN not in welcome.text
        cookie = welcome.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert client.get("/review").status_code == 200
        assert client.post("/review/rater", data={"rater": "ann"}).status_code == 303
        # With the cookie too the token leaves the address.
        assert 'url=/"' in client.get("/?token=whatever").text
    assert TOKEN not in caplog.text


def test_the_way_on_stays_here(own_run, serve) -> None:
    address = serve(own_run, loopback=False, token=TOKEN)
    host, port = urlsplit(address).hostname, urlsplit(address).port
    for path in ("//evil.com/", "/%22%3E%3Cscript%3E", "/\\evil.com"):
        connection = http.client.HTTPConnection(host, port)
        connection.request("GET", f"{path}?token={TOKEN}")
        text = connection.getresponse().read().decode()
        connection.close()

        class Links(HTMLParser):
            found: list[str] = []

            def handle_starttag(self, tag: str, attributes: list) -> None:
                self.found += [value for name, value in attributes if name == "href"]
                assert tag != "script"

        Links.found = []
        Links().feed(text)
        assert len(Links.found) == 1 and Links.found[0].startswith("/") and not Links.found[0].startswith("//")


def test_other_names_for_loopback_are_refused(own_run, serve) -> None:
    address = serve(own_run)
    port = urlsplit(address).port
    for host in ("evil.com", f"evil.com:{port}", "127.0.0.1.evil.com", ""):
        assert httpx.get(f"{address}/review", headers={"Host": host}).status_code in (400, 421), host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert httpx.get(f"{address}/review", headers={"Host": host}).status_code == 200, host


def test_forms_of_other_sites_are_refused(own_run, serve) -> None:
    address = serve(own_run)
    port = urlsplit(address).port

    def post(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{address}/review/rater", data={"rater": "ann"}, headers=named).status_code

    assert post(Origin="http://evil.com") == post(Origin="null") == post() == 403
    assert post(Origin=f"http://127.0.0.1:{port + 1}") == post(Origin=f"http://localhost:{port}") == 403
    assert post(Origin=address, Sec_Fetch_Site="cross-site") == post(Sec_Fetch_Site="same-site") == 403
    assert post(Origin=address) == post(Sec_Fetch_Site="same-origin") == 303
    assert httpx.delete(f"{address}/index.html").status_code == 403


def test_long_bodies_are_refused(own_run, serve) -> None:
    address = serve(own_run)
    headers = {"Origin": address}
    long = httpx.post(f"{address}/review/rater", data={"rater": "a" * 20_000}, headers=headers)
    assert long.status_code == 413
    chunks = httpx.post(f"{address}/review/rater", content=iter([b"rater=ann"]), headers=headers)
    assert chunks.status_code == 411


def test_headers(own_run, serve) -> None:
    address = serve(own_run)
    for path in ("/", "/review", "/nowhere", "/review/nowhere"):
        headers = httpx.get(address + path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert "script-src 'none'" in httpx.get(f"{address}/review").headers["content-security-policy"]
    # Browsers would call the origin of a form "null" under "no-referrer".
    assert httpx.get(f"{address}/review").headers["referrer-policy"] == "same-origin"


def test_only_the_report_is_served(own_run, serve) -> None:
    address = serve(own_run)
    (own_run.folder / "report" / "way-out").symlink_to(own_run.folder / "tables")
    (own_run.folder / "report" / ".half.html.part.tmp").write_text("half")
    host, port = urlsplit(address).hostname, urlsplit(address).port
    paths = (
        "/../tables/images/manifest.json",
        "/%2e%2e/tables/images/manifest.json",
        "/..%2ftables/images/manifest.json",
        "/classes/../../tables/images/manifest.json",
        "/..%5ctables%5cimages%5cmanifest.json",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/way-out/images/manifest.json",
        "/ratings.sqlite",
        "/../ratings.sqlite",
        "/.half.html.part.tmp",
        "/index.html%00.css",
    )
    for path in paths:
        # By hand: httpx would tidy the path up.
        connection = http.client.HTTPConnection(host, port)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 404 and b"shards" not in body and b"root:" not in body, path
