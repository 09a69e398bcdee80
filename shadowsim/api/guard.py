"""A request to itself, or to a refusal: who may ask, of whom, how much, and in what form."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 64 * 1024
SENT_WITHIN_S = 10.0
READING = frozenset({"GET", "HEAD", "OPTIONS"})
UNARMED = (
    "this session only answers questions and changes nothing; it was started without --writes"
    " ('shadowsim serve', 'shadowsim shadow serve') or --api-writes ('shadowsim run')"
)
OPEN = frozenset({"/docs", "/openapi.json"})  # what they say is in the source code too


class Refused(Exception):
    """A request that goes no further; `status` and words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Guard:
    """Wraps an application. Lets through only what names this very server as its host (else a
    page of the web could rebind its own name to 127.0.0.1), comes from no other page, shows the
    token, is small, and is JSON; and, unless `writes`, what changes nothing. The paths `open_to`
    all, which may only be read, need no token.
    """

    def __init__(
        self, app: App, token: str, *, writes: bool, open_to: frozenset[str] = OPEN
    ) -> None:
        self._app = app
        self._open_to = open_to
        self._writes = writes
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            body = await asyncio.wait_for(_body(receive), SENT_WITHIN_S)
        except Refused as refused:
            await _refuse(send, refused.status, str(refused))
        except TimeoutError:
            await _refuse(send, 408, f"the request did not arrive within {SENT_WITHIN_S:g} s")
        else:
            await self._app(scope, _again(body, receive), send)

    def _check(self, scope: Scope) -> None:
        port = (scope.get("server") or ("", 0))[1]
        names = (b"127.0.0.1:%d" % port, b"localhost:%d" % port)
        if _headers(scope, b"host") not in [[name] for name in names]:
            raise Refused(400, f"the Host header must be 127.0.0.1:{port}")
        if not {*_headers(scope, b"origin")} <= {b"http://" + name for name in names}:
            raise Refused(403, "pages of other origins are not answered")
        is_open = scope["method"] in READING and scope["path"] in self._open_to
        if not is_open and not self._is_known(_headers(scope, b"authorization")):
            raise Refused(401, "a token is needed: 'Authorization: Bearer TOKEN'")
        if scope["method"] not in READING and not self._writes:
            raise Refused(403, UNARMED)
        length = b"".join(_headers(scope, b"content-length"))
        if length.isdigit() and (len(length) > 9 or int(length) > MOST_BYTES):
            raise Refused(413, f"a request may have {MOST_BYTES} bytes")
        if scope["method"] == "POST" and not _is_json(_headers(scope, b"content-type")):
            raise Refused(415, "the body must be JSON: 'Content-Type: application/json'")

    def _is_known(self, given: list[bytes]) -> bool:
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"


def _headers(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _is_json(given: list[bytes]) -> bool:
    return [value.split(b";")[0].strip().lower() for value in given] == [b"application/json"]


async def _body(receive: Receive) -> bytes:
    """All of the request. Raises Refused as soon as it is too much."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "the request broke off")
        body += bytes(message.get("body", b""))
        if len(body) > MOST_BYTES:
            raise Refused(413, f"a request may have {MOST_BYTES} bytes")
        if not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """What has been received already, then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return left.pop() if left else await receive()

    return next_message


async def _refuse(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": words}).encode()})
