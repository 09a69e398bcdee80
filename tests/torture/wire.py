"""What other processes send, attacked: HTTP, the agent's messages, OVSDB and Redis."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from shadowsim.network.emulated import framing as frames
from shadowsim.network.emulated import ovsdb as databases
from shadowsim.network.emulated import resp as redis
from shadowsim.network.emulated.store import ConfigStore, put
from shadowsim.network.emulated.verbs import Refused, check_request
from torture import seeds
from torture.mutate import NAMES, as_json, mutated_bytes, mutated_value
from torture.stored import JSON
from torture.watch import Broken, Target

RAW_JSON = tuple(piece.encode("utf-8", "surrogatepass") for piece in JSON)


def _line(rng: random.Random, seeds_: tuple[str, ...]) -> bytes:
    seed = rng.choice(seeds_)
    if rng.random() < 0.6:
        return as_json(mutated_value(rng, json.loads(seed), seeds_)).encode()
    return mutated_bytes(rng, seed.encode(), RAW_JSON)


# ---- HTTP

TOKEN, PORT = "t" * 43, 40123
PATHS = ("/status", "/traffic", "/traffic/generate", "/traffic/steer", "/traffic/g1", "/docs",
         "/openapi.json", "/", "/traffic/", "//status", "/status/..",
         "/traffic/%2e%2e/status")  # fmt: skip
BODIES = (
    '{"from": "h-B", "to": "h-C", "rate_mbps": 8, "for_s": 3600, "protocol": "tcp", "flows": 3}',
    '{"class": "normal", "to": "db", "port": 443, "for_s": 3600, "everything": true}',
)


class Asked(NamedTuple):
    """A request; `pieces` are the parts in which its body arrives."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    pieces: tuple[bytes, ...]


def rest(folder: Path) -> Target:
    """The HTTP interface: always an answer, in JSON, and never one that says `internal error`."""
    from shadowsim.api.app import make_app
    from shadowsim.api.desk import Desk, Room
    from shadowsim.network import NETWORKS
    from shadowsim.scenario import parse
    from shadowsim.session import Session

    running = Session(parse(seeds.SQUARE), NETWORKS["simulated"])
    demands = running.scenario.traffic.demands
    room = Room("square", "simulated", demands, running.production, running.shadow, running.tests)

    class Here(Desk):
        """Answers in the thread that asks, for here nobody else owns the networks."""

        def ask(self, work: Callable[[Room], Any], within_s: float = 0.0) -> Any:
            return work(room)

    app = make_app(Here(), TOKEN, writes=True)
    loop = asyncio.new_event_loop()

    def attack(asked: Asked) -> None:
        status, body = loop.run_until_complete(_answer(app, asked))
        try:
            _check_answer(asked, status, body)
        finally:
            for test in running.tests.status():
                if test.going:
                    running.tests.cancel(test.id)

    loop.run_until_complete(_answer(app, Asked("GET", "/openapi.json", b"", _headers(), (b"",))))
    return Target(_request, attack)


def _headers(*more: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"host", b"127.0.0.1:%d" % PORT),
        (b"authorization", b"Bearer " + TOKEN.encode()),
        (b"content-type", b"application/json"),
        *more,
    )


STRANGE_HEADERS = (
    (b"host", b"evil.example"), (b"authorization", b"Bearer \xff\xfe"), (b"authorization",
    b"Bearer"),
    (b"content-length", b"-1"), (b"content-length", b"9" * 5000), (b"content-length", b"\xb2"),
    (b"content-type", b"text/plain"), (b"content-type", b"application/json; charset=utf-7"),
    (b"transfer-encoding", b"chunked"), (b"origin", b"http://evil.example"), (b"x" * 300,
    b"y" * 9000),
    (b"x-forwarded-host", b"evil"), (b"cookie", b"a=\x00"), (b"range", b"bytes=0-"), (b"expect",
    b"x"),
    (b"accept", b"\xff"), (b"upgrade", b"websocket"), (b"x-http-method-override", b"DELETE"),
)  # fmt: skip


def _request(rng: random.Random) -> Asked:
    path = rng.choice(PATHS)
    if rng.random() < 0.3:
        path = "/traffic/" + rng.choice(NAMES)
    headers = list(_headers())
    if rng.random() < 0.2:
        headers.append(rng.choice(STRANGE_HEADERS))
    if rng.random() < 0.1:
        place = rng.randrange(len(headers))
        headers[place] = (headers[place][0], mutated_bytes(rng, headers[place][1]))
    if rng.random() < 0.1:
        del headers[rng.randrange(len(headers))]
    body = _line(rng, BODIES) if rng.random() < 0.9 else b"x" * rng.choice((0, 65_537, 200_000))
    cut = rng.randrange(len(body) + 1)
    pieces = (body[:cut], body[cut:]) if rng.random() < 0.2 else (body,)
    methods = (
        "POST",
        "POST",
        "POST",
        "POST",
        "GET",
        "DELETE",
        "PUT",
        "OPTIONS",
        "HEAD",
        "TRACE",
        "X",
    )
    query = rng.choice((b"", b"", b"a=b", b"%ff=%fe&%00", b"x" * 5000))
    return Asked(rng.choice(methods), path, query, tuple(headers), pieces)


async def _answer(app: Any, asked: Asked) -> tuple[int, bytes]:
    left = list(asked.pieces)
    status, body, headers = 0, b"", []

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, body
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(message["headers"])
        body += message.get("body", b"")

    raw = quote(asked.path, safe="/%", errors="surrogatepass").encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": asked.method,
        "scheme": "http", "path": asked.path, "raw_path": raw, "query_string": asked.query,
        "root_path": "", "headers": list(asked.headers), "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", PORT),
    }  # fmt: skip
    await app(scope, receive, send)
    for name, value in headers:
        if b"\n" in name + value or b"\r" in name + value:
            raise Broken("an answer with a header that is broken in two")
    return status, body


def _check_answer(asked: Asked, status: int, body: bytes) -> None:
    if not 200 <= status < 500 and status not in (501, 503):
        raise Broken(f"answered {status}: {body[:200]!r}")
    known = (b"authorization", b"Bearer " + TOKEN.encode()) in asked.headers
    if not known and status < 300 and asked.path not in ("/docs", "/openapi.json"):
        shown = [value for key, value in asked.headers if key == b"authorization"]
        if not any(TOKEN.encode() in value for value in shown):
            raise Broken(f"answered {status} to somebody without the token")
    if status >= 400 and asked.method != "HEAD":
        error = json.loads(body)["error"]
        if not isinstance(error, str) or not error.strip() or len(error) > 100_000:
            raise Broken(f"a refusal without words, or too many: {body[:200]!r}")


# ---- the agent

REQUESTS = tuple(map(json.dumps, (
    {"verb": "build", "switches": [{"index": 0, "ports": 2}, {"index": 1, "ports": 2}],
     "hosts": [{"index": 0, "switch": 0, "address": "10.0.0.2", "gateway": "10.0.0.1"}],
     "cables": [[["switch", 0, 1], ["switch", 1, 1]], [["switch", 0, 2], ["host", 0, 0]]]},
    {"verb": "remove", "switches": [0], "hosts": [0]}, {"verb": "taps"},
    {"verb": "extra", "switch": 0, "name": "mirror"},
    {"verb": "sockets", "flows": [{"source": 0, "source_port": 1, "destination": 1, "port": 2,
                                   "protocol": "udp", "dscp": 46}]},
    {"verb": "power", "switch": 0, "on": True}, {"verb": "ping", "source": 0, "destination": 1,
    "count": 3},
    {"verb": "service", "host": 0, "kind": "redis", "port": 6379, "primary": True,
    "source_port": 9},
    {"verb": "dial", "host": 0, "port": 6379}, {"verb": "kill", "what": "ovs-vswitchd",
    "signal": 9},
    {"verb": "stop", "fds": 2},
)))  # fmt: skip


def framing(folder: Path) -> Target:
    """Bytes on the agent's socket: messages or Garbled; every file that came is closed again."""

    def make(rng: random.Random) -> bytes:
        lines = [_line(rng, REQUESTS) for _ in range(rng.choice((1, 1, 2, 4)))]
        return b"\n".join(lines) + rng.choice((b"\n", b"", b"FF", b"\nF"))

    def attack(raw: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            ours.settimeout(0.0)
            raw = raw[: theirs.send(raw)]
            theirs.close()
            channel = frames.Channel(ours)
            try:
                while True:
                    _check_message(channel.receive()[0])
            except frames.Closed:
                return
            finally:
                channel.close()

    refusals = (frames.Garbled, BlockingIOError, TimeoutError)
    return Target(make, attack, refusals)


def _check_message(message: dict[str, object]) -> None:
    if frames.decode(frames.encode(message)) != message:
        raise Broken("decode(encode(m)) is not m")


def verbs(folder: Path) -> Target:
    """Requests to the agent: what is let through holds plain values of the kinds it may have."""

    def make(rng: random.Random) -> Any:
        value = mutated_value(rng, json.loads(rng.choice(REQUESTS)), REQUESTS)
        if not isinstance(value, dict):
            value = {"verb": value}
        return value

    def attack(request: dict[str, Any]) -> None:
        verb, fields = check_request(request)
        if check_request({"verb": verb, **json.loads(json.dumps(fields))})[1] != fields:
            raise Broken("what was checked is refused, or something else, when checked again")
        if odd := [v for k, v in _leaves(fields) if not _is_plain(k, v)]:
            raise Broken(f"let through: {odd[:3]!r}")

    return Target(make, attack, (Refused,))


def _leaves(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every value that holds no other, with the name of the field it is in."""
    if isinstance(value, dict):
        return [leaf for name, one in value.items() for leaf in _leaves(one, name)]
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one, key)]
    return [(key, value)]


def _is_plain(key: str, value: Any) -> bool:
    if key in ("on", "primary"):
        return type(value) is bool
    if isinstance(value, str):
        return value.isascii() and all(c.isalnum() or c in ".-" for c in value)
    return type(value) is int and 0 <= value <= 65_535


# ---- OVSDB


def ovsdb(folder: Path) -> Target:
    """A database that answers anything: no failure but StoreGone, and only texts in `bridges`."""
    config = seeds.configs()[1]
    ids = [["shadowsim-config", config], ["shadowsim-digest", "0" * 64], ["shadowsim-epoch", "4"]]
    row = {"name": "s0", "external_ids": ["map", ids]}
    rows = {"u-0": {"new": row}, "u-1": {"new": {**row, "name": "s1"}}}
    changed = {"u-0": {"old": row}, "u-1": {"new": row}, "u-2": {"new": row}}
    answers = tuple(map(json.dumps, (
        {"id": "monitor", "result": {"Bridge": rows}, "error": None},
        {"id": "monitor", "result": None, "error": "no"},
        {"id": None, "method": "update", "params": ["bridges", {"Bridge": changed}]},
        {"id": "echo", "method": "echo", "params": [1, [2]]},
        {"id": "transact 1", "result": [{"count": 1}, {"error": "timed out", "details": "x"}],
        "error": None},
        {"id": "transact 1", "result": None, "error": {"a": 1}},
    )))  # fmt: skip
    path = folder / "db.sock"
    listening = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listening.bind(str(path))
    listening.listen(8)

    def make(rng: random.Random) -> tuple[bytes, ...]:
        said = [_line(rng, answers) for _ in range(rng.choice((1, 2, 3)))]
        if rng.random() < 0.7:
            said.insert(0, answers[0].encode())
        if rng.random() < 0.1:
            said.append(rng.choice((b'{"a":' * 30_000, b"[" * 50_000, b'{"a":[' * 30_000, b"\xff")))
        return tuple(said)

    def attack(said: tuple[bytes, ...]) -> None:
        store = ConfigStore(path, ["A", "B"], timeout_s=0.0)
        database = databases.Database(path)
        try:
            for client in (database.poll, store.poll):
                client()
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(0.0)
                    _say(connection, said)
                    client()
            _check_bridges(database)
            store.drifted(), store.epochs()
            database.transact([put("s0", {"a": "b"})], time.monotonic())
            store.read()
        finally:
            database.close()
            store.close()

    return Target(make, attack)


def _say(connection: socket.socket, said: tuple[bytes, ...]) -> None:
    for one in said:
        try:
            connection.send(one)
        except OSError:  # it has hung up, or is full
            return


def _check_bridges(database: Any) -> None:
    for name, ids in database.bridges.items():
        for word in (name, *ids, *ids.values()):
            if type(word) is not str:
                raise Broken(f"{word!r} stands among the texts of the bridges")


# ---- Redis

REPLIES = (
    b"+OK\r\n", b"-ERR no\r\n", b":42\r\n", b"$5\r\nhello\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n",
    b"*3\r\n:1\r\n$1\r\nx\r\n*2\r\n+a\r\n-b\r\n", b"*2\r\n*2\r\n:1\r\n:2\r\n$0\r\n\r\n",
)  # fmt: skip
RESP = (
    b"\r\n", b"*1\r\n", b"*1\r\n" * 5000, b"*1024\r\n", b"*1025\r\n", b"$16777217\r\n",
    b"$99999\r\n",
    b"$-2\r\n", b":" + b"9" * 5000 + b"\r\n", b"$1_0\r\n", b"$ 5 \r\n", b":-0\r\n", b"+", b"-",
    b":", b"$",
    b"*", b"\n", b"\r", b"\0", b"\xff", b"*-5\r\n", b":+1\r\n", b":\r\n", b"$\r\n", b"%1\r\n",
    b"_\r\n",
)  # fmt: skip


def resp(folder: Path) -> Target:
    """Replies of a Redis server: a value, nothing yet, or ValueError; values can be said again."""

    def make(rng: random.Random) -> bytes:
        return mutated_bytes(rng, rng.choice(REPLIES) + rng.choice(REPLIES), (*RESP, *REPLIES))

    def attack(raw: bytes) -> None:
        found = redis.decode(raw)
        if found is None:
            return
        value, end = found
        if not 0 < end <= len(raw):
            raise Broken(f"the value ends at {end} of {len(raw)}")
        if found_again := redis.decode(raw[:end]):
            if repr(found_again[0]) != repr(value):
                raise Broken("without what follows it is another value")
        else:
            raise Broken("without what follows it is not whole")

    return Target(make, attack, (ValueError, redis.RedisSaid))
