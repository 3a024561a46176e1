"""Who may talk to the server: hosts, origins, token, sizes; and the headers of every answer."""

import hmac
import ipaddress
from html import escape
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_BODY = 16 * 1024
COOKIE_SECONDS = 30 * 24 * 3600

FORMS_POLICY = (
    "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# The site's pages say themselves, by hashes in a policy of their own, which of their scripts may run.
SITE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """Middleware that lets through what may come in.

    - Bound to loopback, a request must name a loopback host: else another site's name that resolves to 127.0.0.1
      could read the answers with a visitor's browser.
    - With a token, a request must carry it in the cookie. An address with `?token=…` sets the cookie and leads to the
      same address without it. The comparison takes the same time for any wrong token.
    - What changes anything must come from a page of this server: the browser says so in Origin or Sec-Fetch-Site.
    """

    def __init__(self, app: ASGIApp, loopback: bool, token: str | None, port: int) -> None:
        self._app, self._loopback, self._token = app, loopback, token
        # Cookies are shared between the ports of a host.
        self._cookie = f"visual-summaries-token-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._loopback and not is_loopback(_host_name(host)):
            return PlainTextResponse("This server answers only to the name of this machine's loopback.", 421)
        if self._token is not None:
            given = dict(_query(scope)).get("token") if scope["method"] == "GET" else None
            if not self._same(given) and not self._same(cookie_parser(headers.get("cookie", "")).get(self._cookie)):
                return PlainTextResponse("Open the address with ?token=… that the server printed when it started.", 401)
            if given is not None:
                return self._welcome(scope, given)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if not _same_origin(headers, host):
            return PlainTextResponse("Answers are taken only from the pages of this server.", 403)
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("The length of the answer is missing.", 411)
        return PlainTextResponse("The answer is too long.", 413) if int(length) > LONGEST_BODY else None

    def _same(self, given: str | None) -> bool:
        return hmac.compare_digest((given or "").encode(), (self._token or "").encode())

    def _welcome(self, scope: Scope, given: str) -> Response:
        """Sets the cookie and leads on to the same address without the token, which is not for address bars.

        By a page: with a redirect the browser would not send a strict cookie to someone who followed a link from
        elsewhere.
        """
        rest = urlencode([(name, value) for name, value in _query(scope) if name != "token"])
        # Two slashes at the beginning would name another host.
        path = "/" + quote(scope["path"].lstrip("/\\"))
        address = escape(path + (f"?{rest}" if rest else ""))
        response = HTMLResponse(
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Welcome</title>'
            f'<meta http-equiv="refresh" content="0;url={address}"><p><a href="{address}">Go on</a></p></html>',
            headers={"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"},
        )
        if self._same(given):
            response.set_cookie(self._cookie, given, COOKIE_SECONDS, path="/", httponly=True, samesite="strict")
        return response


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _host_name(host: str) -> str:
    """The host of a Host header without its port; empty for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_origin(headers: Headers, host: str) -> bool:
    fetched = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if fetched not in (None, "same-origin") or (origin is None and fetched is None):
        return False
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _add_headers(headers: MutableHeaders, path: str) -> None:
    forms = path == "/review" or path.startswith("/review/")
    headers["Content-Security-Policy"] = FORMS_POLICY if forms else SITE_POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    # Not "no-referrer": with that, browsers say of a form only that its origin is "null".
    headers.setdefault("Referrer-Policy", "same-origin")
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault("Cache-Control", "no-store" if forms else "no-cache")
