"""Test traffic over HTTP and by `shadowsim shadow`: who may, what is refused, and what it does."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from test_command_line import Said, Shell

from shadowsim.api.desk import Desk, NoAnswer, Room
from shadowsim.errors import BadInput
from shadowsim.mirror import testtraffic
from shadowsim.network import NETWORKS
from shadowsim.scenario import parse
from shadowsim.session import Session

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from shadowsim.api import connections, guard  # noqa: E402
from shadowsim.api.app import make_app  # noqa: E402
from shadowsim.api.client import Address, read_session  # noqa: E402
from shadowsim.api.server import Server  # noqa: E402

SQUARE = """
name: square
seed: 5
topology:
  nodes: [A, B, C, D]
  links: [[A, B], [B, C], [C, D], [A, D]]
  hosts: {web: {on: A, groups: [servers]}, db: {on: A, groups: [servers]}}
traffic:
  demands:
    - {from: C, to: web, rate_mbps: 5, class: critical, protocol: udp, port: 5004}
    - {from: B, to: db, rate_mbps: 4}
    - {from: D, to: db, rate_mbps: 3}
    - {from: B, to: D, rate_mbps: 2, class: bulk, port: 873}
change: {script: "device A\\ninterface to-B\\n ip ospf cost 70\\n"}
"""
GENERATE = {"from": "h-B", "to": "h-C", "rate_mbps": 8, "for_s": 3600}
STEER = {"class": "normal", "to": "db", "port": 443, "for_s": 3600}


class Running:
    """A session in a thread of its own, thirty network seconds a second, and clients of it."""

    def __init__(self, file: Path, *, writes: bool = True) -> None:
        self.file = file
        self.session = Session(parse(SQUARE), NETWORKS["simulated"])
        self.desk = Desk()
        self.server = Server(self.desk, 0, file, writes=writes)
        self.room = Room(
            "square", "simulated", self.session.scenario.traffic.demands,
            self.session.production, self.session.shadow, self.session.tests,
        )  # fmt: skip
        self.going = threading.Event()
        self.hanging = threading.Event()
        self.hangs = threading.Event()
        self.resting = threading.Event()  # it answers, and its time stands still
        self.thread = threading.Thread(target=self._hold, daemon=True)

    def __enter__(self) -> Running:
        self.server.start()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.going.set()
        self.thread.join(20)
        self.server.__exit__(None, None, None)

    def _hold(self) -> None:
        while not self.going.is_set():
            if self.hanging.is_set():
                self.hangs.set()
                time.sleep(0.01)
                continue
            self.hangs.clear()
            if not self.resting.is_set():
                self.session.advance(0.5)
            self.desk.attend(self.room, 0.5 / 30)
        self.session.close()

    @property
    def url(self) -> str:
        return self.server.address.url

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.server.address.token}"}

    def client(self, **other: Any) -> Any:
        return httpx.Client(
            **{"base_url": self.url, "headers": self.headers, "timeout": 30, "trust_env": False}
            | other
        )

    def wait(self, seconds: float) -> None:
        """Until so much more time has passed in the network."""
        with self.client() as client:
            until_s = client.get("/status").json()["now_s"] + seconds
            while client.get("/status").json()["now_s"] < until_s:
                time.sleep(0.02)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("session") / "shadow.json") as found:
        yield found


@pytest.fixture
def client(running: Running) -> Iterator[Any]:
    with running.client() as found:
        yield found
        for status in found.get("/traffic").json():
            if status["state"] == "going":
                assert found.delete(f"/traffic/{status['id']}").status_code == 200


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys, monkeypatch)


# -- what it does ------------------------------------------------------------------------------


def test_steered_traffic_is_proven_to_be_in_the_shadow_only(running: Running, client: Any) -> None:
    said = client.post("/traffic/steer", json=STEER)
    assert said.status_code == 201
    name = said.json()["id"]
    running.wait(5.0)
    (found,) = [s for s in client.get("/traffic").json() if s["id"] == name]
    assert (found["kind"], found["state"]) == ("steer", "going")
    assert "h-B>db:normal/tcp/443, h-D>db:normal/tcp/443" in found["what"]
    assert found["packets"] > 4000
    assert (found["leaked"], found["returned"]) == (0, 0)
    status = client.get("/status").json()
    assert status["diverted_packets"] >= found["packets"]
    assert (status["leaked"], status["returned"]) == (0, 0)
    # And as measured, not as told:
    offered = running.desk.ask(lambda room: _offered(running.session, "production"))
    assert offered == pytest.approx([5e6, 0, 0, 2e6], rel=0.1)
    offered = running.desk.ask(lambda room: _offered(running.session, "shadow"))
    assert offered == pytest.approx([5e6, 4e6, 3e6, 2e6], rel=0.1)  # the rest is mirrored


def _offered(session: Session, network: str) -> list[float]:
    telemetry = session._run.telemetry[network]
    return list(telemetry.samples[-1].column("demand", "offered_bps"))


def test_generated_traffic_arrives(running: Running, client: Any) -> None:
    said = client.post("/traffic/generate", json=GENERATE)
    assert said.status_code == 201
    assert said.json()["packets"] == 0
    running.wait(4.0)
    found = client.delete(f"/traffic/{said.json()['id']}").json()
    assert found["state"] == "cancelled"
    assert found["packets"] >= 4000
    assert found["delivered"] == found["packets"]
    assert 0.001 < found["latency_s"] < 0.1
    assert client.delete(f"/traffic/{said.json()['id']}").json() == found


def test_a_deadline_comes_by_itself(running: Running, client: Any) -> None:
    name = client.post("/traffic/steer", json=STEER | {"for_s": 2}).json()["id"]
    running.wait(4.0)
    (found,) = [s for s in client.get("/traffic").json() if s["id"] == name]
    assert found["state"] == "over"
    assert found["until_s"] - found["since_s"] == 2.0


def test_the_status_says_what_runs(client: Any) -> None:
    found = client.get("/status").json()
    names = ("scenario", "network", "devices", "demands", "going")
    assert [found[n] for n in names] == ["square", "simulated", 4, 4, 0]


def test_the_page_and_its_schema_are_right(running: Running) -> None:
    with running.client(headers={}) as client:
        found = client.get("/openapi.json").json()
        page = client.get("/docs")
    assert page.status_code == 200
    assert found["openapi"].startswith("3.")
    assert {(path, verb) for path, verbs in found["paths"].items() for verb in verbs} == {
        ("/status", "get"),
        ("/traffic", "get"),
        ("/traffic/generate", "post"),
        ("/traffic/steer", "post"),
        ("/traffic/{name}", "delete"),
    }
    keys = found["components"]["schemas"]["Generate"]["properties"]
    assert {"from", "to", "rate_mbps", "class", "for_s"} <= set(keys)
    assert found["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_twenty_clients_at_once(running: Running, client: Any) -> None:
    def one(number: int) -> list[int]:
        with running.client() as mine:
            codes = []
            wish = GENERATE | {"port": 1000 + number, "rate_mbps": 0.1}
            for _ in range(4):
                said = mine.post("/traffic/generate", json=wish)
                codes += [said.status_code, mine.get("/traffic").status_code]
                codes.append(mine.delete(f"/traffic/{said.json()['id']}").status_code)
            assert f"udp/{1000 + number}" in said.json()["what"]
            return codes

    before = {s["id"] for s in client.get("/traffic").json()}
    with ThreadPoolExecutor(20) as pool:
        codes = list(itertools.chain.from_iterable(pool.map(one, range(20))))
    assert codes == [201, 200, 200] * 80
    after = [s for s in client.get("/traffic").json() if s["id"] not in before]
    assert len(after) == 80
    assert {s["state"] for s in after} == {"cancelled"}


def test_thirty_two_is_the_most(client: Any) -> None:
    codes = [client.post("/traffic/generate", json=GENERATE).status_code for _ in range(33)]
    assert codes == [201] * 32 + [422]
    assert "32" in client.post("/traffic/steer", json=STEER).json()["error"]


# -- who may -----------------------------------------------------------------------------------

PATHS = [
    ("GET", "/status"), ("GET", "/traffic"), ("POST", "/traffic/generate"),
    ("POST", "/traffic/steer"), ("DELETE", "/traffic/g1"), ("GET", "/no/such/path"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", "Basic {}", "{}", "Bearer {}x", "Bearer é"]
)
def test_without_the_token_nothing_is_told(
    method: str, path: str, given: str | None, running: Running
) -> None:
    token = running.server.address.token
    headers = {} if given is None else {"Authorization": given.format(token).encode()}
    with running.client(headers=headers) as client:
        said = client.request(method, path)
    assert said.status_code == 401
    assert said.headers["www-authenticate"] == "Bearer"
    assert said.json() == {"error": "a token is needed: 'Authorization: Bearer TOKEN'"}
    assert token not in said.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1:1", "", "[::1]:{}"])
def test_another_host_is_refused(host: str, running: Running) -> None:
    with running.client(headers={}) as client:
        headers = {"Host": host.format(running.server.address.port)}
        for path in ("/status", "/docs", "/openapi.json"):
            said = client.get(path, headers=headers | running.headers)
            assert said.status_code == 400, path
            assert "Host" in said.json()["error"]
        said = client.get("/status", headers={"Host": f"localhost:{running.server.address.port}"})
        assert said.status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1:1"])
def test_no_page_of_the_web_may_ask(origin: str, running: Running, client: Any) -> None:
    """Not even with the token, and whatever it may read of the answer: none is given."""
    before = client.get("/traffic").json()
    for method, path in (("GET", "/status"), ("GET", "/docs"), ("POST", "/traffic/steer")):
        said = client.request(method, path, json=STEER, headers={"Origin": origin})
        assert said.status_code == 403
        assert not [name for name in said.headers if name.startswith("access-control")]
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert client.options("/traffic/steer", headers=asked).status_code == 403
    assert client.get("/traffic").json() == before
    assert client.get("/status", headers={"Origin": running.url}).status_code == 200


def test_it_listens_on_this_machine_only(running: Running) -> None:
    assert running.server._socket.getsockname()[0] == "127.0.0.1"


def test_the_file_is_for_its_owner_only(running: Running) -> None:
    assert oct(running.file.stat().st_mode & 0o777) == "0o600"
    assert [p.name for p in running.file.parent.iterdir()] == ["shadow.json"]


# -- how much, and in what form ----------------------------------------------------------------


def test_too_much_is_refused(running: Running, client: Any) -> None:
    wish = json.dumps(GENERATE | {"from": "x" * 70_000}).encode()
    kind = {"Content-Type": "application/json"}
    assert client.post("/traffic/generate", content=wish, headers=kind).status_code == 413
    parts = (wish[i : i + 1000] for i in range(0, len(wish), 1000))  # in chunks, size not told
    assert client.post("/traffic/generate", content=parts, headers=kind).status_code == 413
    assert client.get("/status").status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_only_json_is_read(kind: str | None, client: Any) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    said = client.post("/traffic/steer", content=json.dumps(STEER), headers=headers)
    assert said.status_code == 415


BODIES = [
    b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"[" * 60_000, b"1" * 60_000,
    b'{"a":' * 10_000, b"NaN", b"{}" * 2,
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_what_is_no_wish_is_refused(body: bytes, client: Any) -> None:
    kind = {"Content-Type": "application/json"}
    for path in ("/traffic/generate", "/traffic/steer"):
        said = client.post(path, content=body, headers=kind)
        assert said.status_code in (400, 422)
        assert said.json()["error"]


def test_a_request_that_breaks_off_begins_nothing(running: Running, client: Any) -> None:
    before = client.get("/traffic").json()
    head = f"POST /traffic/steer HTTP/1.1\r\nHost: {running.url[7:]}\r\n"
    head += f"Authorization: {running.headers['Authorization']}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.server.address.port)) as line:
        line.sendall(head.encode() + json.dumps(STEER).encode())
    assert client.get("/traffic").json() == before


# -- who does not get on with it ---------------------------------------------------------------


# Only the limit that is looked at is made short: nothing else ends a connection that soon, and what
# drips does so for longer. So it is seen what ended it, on a machine that is slow, too.
SHORT_S, ANOTHER_S = 0.5, 4.5


def ended_after_s(line: socket.socket, drips: bytes = b"", every_s: float = 0.1) -> float:
    """How long a connection lasts over which these bytes come, one at a time; ANOTHER_S at most.

    It is read meanwhile, and has not ended while anything is left to read.
    """
    began_s, left = time.monotonic(), list(drips)
    line.settimeout(every_s)
    while (lasted_s := time.monotonic() - began_s) < ANOTHER_S:
        try:
            if left:
                line.sendall(bytes([left.pop(0)]))
            if not line.recv(4096):
                return lasted_s
        except TimeoutError:
            continue
        except OSError:
            return lasted_s
    return lasted_s


def head(running: Running, method: str = "GET", path: str = "/status", more: str = "") -> bytes:
    said = f"{method} {path} HTTP/1.1\r\nHost: {running.url[7:]}\r\n{more}"
    return f"{said}Authorization: {running.headers['Authorization']}\r\n\r\n".encode()


@pytest.mark.parametrize("first", [b"", b"whole"], ids=["at once", "after an answer"])
@pytest.mark.parametrize("drips", [b"", b"G", b"GET /status HTTP/1.1\r\nHost: " + b"x" * 99])
def test_a_request_that_never_comes_whole_is_not_waited_for(
    first: bytes, drips: bytes, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not first:
        monkeypatch.setattr(connections, "HEAD_WITHIN_S", SHORT_S)
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", running.server.address.port)) as line:
        if first:
            wait_until_open(running, line)
            monkeypatch.setattr(connections, "HEAD_WITHIN_S", SHORT_S)
            line.sendall(head(running))
            assert b" 200 " in line.recv(4096)
        assert ended_after_s(line, drips) < ANOTHER_S
    assert time.monotonic() - began_s > SHORT_S


def test_a_body_that_drips_is_not_waited_for(
    running: Running, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SENT_WITHIN_S", SHORT_S)
    before = client.get("/traffic").json()
    more = "Content-Type: application/json\r\nContent-Length: 500\r\n"
    with socket.create_connection(("127.0.0.1", running.server.address.port)) as line:
        line.sendall(head(running, "POST", "/traffic/steer", more))
        assert ended_after_s(line, b"{" + b" " * 99) < ANOTHER_S
    assert client.get("/traffic").json() == before


def test_answers_that_are_not_read_are_not_kept(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand questions are sent ahead, and no answer is read."""
    monkeypatch.setattr(connections, "ANSWERED_WITHIN_S", 1.5)
    with socket.create_connection(("127.0.0.1", running.server.address.port)) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(1.0)
        wait_until_open(running, line)  # before anything is sent: later it may be cut off
        with suppress(OSError):  # full, or cut off already
            line.sendall(head(running, path="/openapi.json") * 10_000)
        end_s = time.monotonic() + 50.0  # it would be kept for 60 s
        while is_open(running, line) and time.monotonic() < end_s:
            time.sleep(0.05)
        assert not is_open(running, line)


def wait_until_open(running: Running, line: socket.socket) -> None:
    end_s = time.monotonic() + 30.0
    while not is_open(running, line):
        assert time.monotonic() < end_s
        time.sleep(0.001)


def is_open(running: Running, line: socket.socket) -> bool:
    """Whether the server has this connection."""
    there = running.server._server.server_state.connections
    return line.getsockname() in [connection.client for connection in list(there)]


def test_a_hundred_connections_are_the_most(
    running: Running, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 3.0)
    assert client.get("/status").status_code == 200
    where = ("127.0.0.1", running.server.address.port)
    lines = [socket.create_connection(where) for _ in range(connections.MOST_CONNECTIONS + 20)]
    try:
        for line in lines:
            line.settimeout(0.05)
        told = [_heard(line) for line in lines]
        assert told.count(None) <= connections.MOST_CONNECTIONS
        assert sum(b" 503 " in words for words in told if words) >= 20
        assert client.get("/status").status_code == 200  # who was there before is still answered
        assert max(ended_after_s(line) for line in lines[:3]) < ANOTHER_S
    finally:
        for line in lines:
            line.close()
    with running.client() as fresh:
        assert fresh.get("/status").status_code == 200


def _heard(line: socket.socket) -> bytes | None:
    """What came over it, None where it is open and nothing did."""
    try:
        return line.recv(4096)
    except TimeoutError:
        return None


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown host": ("generate", {"from": "h-Bb"}, "did you mean 'h-B'"),
    "unknown group": ("steer", {"to": "servrs"}, "did you mean 'servers'"),
    "unknown key": ("steer", {"clas": "normal"}, "there is no 'clas'; did you mean 'class'"),
    "unknown class": ("steer", {"class": "norml"}, "did you mean 'normal'"),
    "unknown protocol": ("generate", {"protocol": "tpc"}, "did you mean 'tcp'"),
    "no rate": ("generate", {"rate_mbps": 0}, "rate_mbps: input should be greater than 0"),
    "rate in words": ("generate", {"rate_mbps": "5"}, "rate_mbps: input should be a valid number"),
    "port of nothing": ("steer", {"port": 65536}, "port: input should be less than"),
    "half a port": ("steer", {"port": 1.5}, "port"),
    "too long": ("steer", {"for_s": 3601}, "for_s: input should be less than or equal to 3600"),
    "backwards": ("generate", {"for_s": -1}, "for_s"),
    "small packets": ("generate", {"packet_bytes": 1}, "packet_bytes"),
    "true as a number": ("generate", {"flows": True}, "flows"),
    "matches nothing": ("steer", {"port": 22}, "no traffic of production matches"),
    "critical": ("steer", {"class": "critical", "to": "any", "port": 5004}, "say 'critical'"),
    "everything": (
        "steer", {"class": None, "to": "any", "port": None, "critical": True}, "say 'everything'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_fields_are_refused_in_words(name: str, client: Any) -> None:
    path, changed, told = BAD[name]
    before = client.get("/traffic").json()
    wish = (GENERATE if path == "generate" else STEER) | changed
    said = client.post(f"/traffic/{path}", json=wish)
    assert said.status_code == 422
    assert told in said.json()["error"]
    assert client.get("/traffic").json() == before


def test_everything_missing_is_told_at_once(client: Any) -> None:
    said = client.post("/traffic/generate", json={})
    words = said.json()["error"].splitlines()
    assert words == [f"'{k}' is missing" for k in ("from", "to", "rate_mbps", "for_s")]


def test_not_a_number_is_refused(client: Any) -> None:
    kind = {"Content-Type": "application/json"}
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = json.dumps(GENERATE | {"rate_mbps": 0.5}).replace("0.5", word)
        said = client.post("/traffic/generate", content=body, headers=kind)
        assert said.status_code == 422, word
        assert "rate_mbps" in said.json()["error"]


def test_unknown_paths_and_ids_are_404_in_the_same_form(client: Any) -> None:
    said = client.delete("/traffic/zz")
    assert said.status_code == 404
    assert said.json()["error"].startswith("there is no test traffic 'zz'")
    assert client.get("/nothing").json() == {"error": "Not Found"}
    assert client.put("/traffic").status_code == 405


PIECES = [
    "", " ", "\x00", "\n", "\r\n", "\x1b[31m", "'", '"', "`id`", "$(id)", ";id", "|id", "&& id",
    "../../etc/passwd", "%00", "%s%n", "{}", "{0.__class__}", "${jndi:ldap://x}", "<script>",
    "' OR 1=1 --", "\ud800", "\U0001f4a9", "é" * 50, "\u202e", "A" * 101, "A" * 5000, "-rf", "--to",
    "any\x00", "h-B\n", "10.0.0.0/33", "10.0.0.1/8", "1e309", "null", "true", "__proto__", "\\",
    "0x7f", "٣",
]  # fmt: skip
HOSTILE = [a + b for a, b in itertools.product(PIECES, ("", "h-B", "\x7f", "any", "\ud83d"))]


@pytest.fixture
def resting(running: Running) -> Iterator[None]:
    running.resting.set()
    yield
    running.resting.clear()


def test_200_hostile_strings_in_every_field(client: Any, resting: None) -> None:
    assert len(HOSTILE) == 200
    kind = {"Content-Type": "application/json"}
    fields = {
        "generate": [*GENERATE, "class", "protocol", "port", "packet_bytes", "flows"],
        "steer": [*STEER, "from", "protocol", "everything", "critical"],
    }
    for path, names in fields.items():
        base = GENERATE if path == "generate" else STEER
        for name, text in itertools.product(names, HOSTILE):
            body = json.dumps(base | {name: text})
            said = client.post(f"/traffic/{path}", content=body, headers=kind)
            fine = name in ("from", "to") and text in ("any", "h-B")
            assert said.status_code in ((201, 422) if fine else (422,)), (path, name, text)
            if said.status_code == 201:
                client.delete(f"/traffic/{said.json()['id']}")
            else:
                assert "Traceback" not in said.json()["error"]
    for text in HOSTILE:
        body = json.dumps(STEER | {f"x{text}": 1})
        assert client.post("/traffic/steer", content=body, headers=kind).status_code == 422
    assert not [s for s in client.get("/traffic").json() if s["state"] == "going"]


# -- one owner ---------------------------------------------------------------------------------


def test_what_was_given_up_is_never_done(running: Running, client: Any) -> None:
    done: list[str] = []
    running.hanging.set()
    try:
        assert running.hangs.wait(30)
        with pytest.raises(NoAnswer, match=r"within 0\.2 s"):
            running.desk.ask(lambda room: done.append("late"), within_s=0.2)
    finally:
        running.hanging.clear()
    running.wait(1.0)
    assert done == []


def test_a_desk_that_is_closed_answers_nobody() -> None:
    desk = Desk()
    asker = ThreadPoolExecutor(1).submit(desk.ask, lambda room: 1)
    time.sleep(0.1)
    desk.close()
    for failed in (asker.result, lambda: desk.ask(lambda room: 1)):
        with pytest.raises(NoAnswer, match="end"):
            failed()


def test_a_mistake_in_a_question_does_not_end_the_session(running: Running, client: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        running.desk.ask(lambda room: 1 / 0)
    assert client.get("/status").status_code == 200


def test_two_sessions_do_not_share_a_file(running: Running) -> None:
    with pytest.raises(BadInput, match="a session of square runs already"):
        Server(Desk(), 0, running.file, writes=True)
    assert running.file.exists()


def test_a_session_that_is_slow_keeps_its_file_and_one_that_is_gone_does_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "shadow.json"
    with socket.create_server(("127.0.0.1", 0)) as slow:
        text = Address(slow.getsockname()[1], "token").text()
        file.write_text(text)
        with pytest.raises(BadInput, match="is there, and does not answer now; end it"):
            Server(Desk(), 0, file, writes=True)
        assert file.read_text() == text
    with Server(Desk(), 0, file, writes=True) as server:
        server.start()
        assert read_session(file) == server.address


def test_a_file_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years of work")
    with pytest.raises(BadInput, match=r"thesis\.tex"):
        Server(Desk(), 0, thesis, writes=True)
    assert thesis.read_text() == "years of work"


def test_a_port_in_use_is_told(running: Running, tmp_path: Path) -> None:
    port = running.server.address.port
    with pytest.raises(BadInput, match=f"port {port} cannot be used"):
        Server(Desk(), port, tmp_path / "shadow.json", writes=True)


# -- the command line --------------------------------------------------------------------------


def said_by(shell: Shell, running: Running, *words: object) -> Said:
    return shell("shadow", *words, "--session", running.file)


def test_commands_speak_to_the_session(
    shell: Shell, running: Running, client: Any, resting: None
) -> None:
    said = said_by(
        shell, running, "generate", "--from", "h-B", "--to", "h-C", "--rate-mbps", 5,
        "--class", "bulk", "--protocol", "udp", "--port", 9, "--for-s", 30, "--json",
    )  # fmt: skip
    assert (said.code, said.err) == (0, "")
    assert said.json()["state"] == "going"
    said = said_by(
        shell, running, "steer", "--class", "normal", "--to", "db", "--port", 443, "--for-s", 20
    )
    assert said.code == 0
    assert "steer h-B>db:normal/tcp/443" in said.out
    assert "0 leaked, 0 returned" in said.out
    listed = said_by(shell, running, "list", "--json").json()
    assert [s["kind"] for s in listed[-2:]] == ["generate", "steer"]
    assert listed[-1]["id"] in said_by(shell, running, "list").out
    said = said_by(shell, running, "cancel", listed[-1]["id"], "--json")
    assert (said.code, said.json()["state"]) == (0, "cancelled")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("generate --from h-Bb --to h-C --rate-mbps 5 --for-s 3", "did you mean 'h-B'"),
        ("generate --from h-B --to h-C --rate-mbps nan --for-s 3", "rate_mbps"),
        ("steer --class norml --for-s 3", "did you mean 'normal'"),
        ("steer --port 5004 --for-s 3", "say 'critical'"),
        ("steer --class normal --for-s 4000", "3600"),
        ("cancel s999", "no test traffic 's999'"),
        ("cancel ../status", "no test traffic"),
        ("cancel é", "no test traffic"),
        ("steer --class normal", "--for-s"),
    ],
)
def test_bad_words_are_2(words: str, told: str, shell: Shell, running: Running) -> None:
    said = said_by(shell, running, *words.split())
    assert (said.code, said.out) == (2, "")
    assert told in said.err


def test_without_a_session_it_is_3(shell: Shell, tmp_path: Path) -> None:
    for words in (("list",), ("cancel", "s1"), ("steer", "--for-s", 3)):
        said = shell("shadow", *words)
        assert (said.code, said.out) == (3, "")
        assert "no session is running; start one with 'shadowsim shadow serve" in said.err


def test_a_session_that_has_died_is_3(shell: Shell, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    (tmp_path / "dead.json").write_text(json.dumps({"port": port, "token": "t"}))
    said = shell("shadow", "list", "--session", "dead.json")
    assert (said.code, said.out) == (3, "")
    assert "no session answers" in said.err


def test_another_session_than_the_file_says_is_3(
    shell: Shell, running: Running, tmp_path: Path
) -> None:
    port = running.server.address.port
    (tmp_path / "old.json").write_text(json.dumps({"port": port, "token": "t"}))
    said = shell("shadow", "list", "--session", "old.json")
    assert (said.code, "another one" in said.err) == (3, True)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"port": "80", "token": "t"}', '{"port": 0, "token": "t"}',
     '{"port": 80, "token": "a\\nb"}', '{"port": 80, "token": 7}', "[" * 4000,
     '{"port": true, "token": "t"}', '{"port": 80, "token": "\\u00e9"}'],
)  # fmt: skip
def test_a_file_that_is_no_session_is_2(text: str, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    said = shell("shadow", "list", "--session", "bad.json")
    assert (said.code, said.out) == (2, "")
    assert "bad.json" in said.err


def test_serving_what_cannot_be_served_is_2(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "square.yml").write_text(SQUARE)
    for words, told in (
        (("none.yml",), "none.yml"),
        (("square.yml", "--network", "simulatd"), "did you mean 'simulated'"),
        (("square.yml", "--port", 70000), "--port"),
        (("square.yml", "--session", "square.yml"), "square.yml"),
        (("square.yml", "--session", "square.yml/x.json"), "square.yml"),
    ):
        said = shell("shadow", "serve", *words, "--for-s", 1)
        assert (said.code, said.out) == (2, ""), words
        assert told in said.err


def test_serving_needs_packages(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    (shell.folder / "square.yml").write_text(SQUARE)
    for name in [n for n in sys.modules if n.split(".")[0] in ("fastapi", "uvicorn")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("shadowsim.api.app", "shadowsim.api.server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    said = shell("shadow", "serve", "square.yml")
    assert (said.code, said.out) == (3, "")
    assert "pip install 'shadowsim[api]'" in said.err


@pytest.mark.parametrize("name", ["serve", "generate", "steer", "list", "cancel"])
def test_every_command_helps(name: str, shell: Shell) -> None:
    said = shell("shadow", name, "--help")
    assert (said.code, said.err) == (0, "")
    assert "--json" in said.out
    assert "--session" in said.out


# -- read-only ---------------------------------------------------------------------------------


def test_what_was_not_armed_answers_and_changes_nothing(tmp_path: Path) -> None:
    with Running(tmp_path / "shadow.json", writes=False) as unarmed, unarmed.client() as client:
        assert client.get("/status").json()["scenario"] == "square"
        assert client.get("/traffic").json() == []
        for answer in (
            client.post("/traffic/generate", json=GENERATE),
            client.post("/traffic/steer", json=STEER),
            client.delete("/traffic/g1"),
            client.put("/traffic"),
            client.request("SMASH", "/status"),
        ):
            assert answer.status_code == 403, answer.text
            assert "started without --writes" in answer.json()["error"]
        assert client.post("/traffic/generate", headers={"Authorization": ""}).status_code == 401
        assert client.get("/traffic").json() == []


def test_reading_is_all_that_counts_as_changing_nothing(running: Running) -> None:
    """Whatever the application takes with another verb changes something."""
    schema = httpx.get(running.url + "/openapi.json", trust_env=False).json()
    verbs = {verb.upper() for path in schema["paths"].values() for verb in path}
    assert verbs - guard.READING == {"POST", "DELETE"}


def test_arming_what_nobody_can_ask_is_told(shell: Shell) -> None:
    (shell.folder / "square.yml").write_text(SQUARE)
    said = shell("run", "square.yml", "--api-writes")
    assert (said.code, said.out) == (2, "")
    assert "--api PORT" in said.err


@pytest.mark.parametrize("query", [b"\xff\xfe", b"a=\xe4", b"%ff"])
def test_a_query_of_raw_bytes_does_not_keep_mistakes_from_being_told(query: bytes) -> None:
    """As a server hands it on whose parser takes it; ours answers raw bytes with 400 before."""
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        said.append(message)

    headers = [
        (b"host", b"127.0.0.1:80"), (b"authorization", b"Bearer x"),
        (b"content-type", b"application/json"),
    ]  # fmt: skip
    scope = {
        "type": "http", "method": "POST", "path": "/traffic/generate", "query_string": query,
        "headers": headers, "server": ("127.0.0.1", 80), "raw_path": b"/traffic/generate",
    }  # fmt: skip
    asyncio.run(make_app(Desk(), "x", writes=True)(scope, receive, send))
    assert said[0]["status"] == 422
    assert "'from' is missing" in json.loads(said[1]["body"])["error"]


# -- as a program ------------------------------------------------------------------------------


def serve(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "square.yml").write_text(SQUARE)
    command = [
        sys.executable,
        "-m",
        "shadowsim",
        "shadow",
        "serve",
        "square.yml",
        "--writes",
        *words,
    ]
    return subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "SHADOWSIM_KEY": str(folder / "key")},
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_session_goes_on_until_it_is_ended(how: int, shell: Shell) -> None:
    with serve(shell.folder, "--pace", "5") as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told.startswith("http://127.0.0.1:")
        file = shell.folder / "runs" / "shadow.json"
        assert json.loads(file.read_text())["token"] not in told
        assert shell("shadow", "steer", "--to", "db", "--for-s", 60).code == 0
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
    assert not file.exists()
    assert shell("shadow", "list").code == 3


def test_a_killed_session_is_replaced_by_the_next(shell: Shell) -> None:
    with serve(shell.folder, "--json") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{\n"
        process.kill()
    assert (shell.folder / "runs" / "shadow.json").exists()
    assert shell("shadow", "list").code == 3
    said = shell("shadow", "serve", "square.yml", "--for-s", 2, "--pace", 20, "--json")
    assert (said.code, said.err) == (0, "")
    assert set(said.json()) == {"url", "session"}
    assert not (shell.folder / "runs" / "shadow.json").exists()


def test_test_traffic_of_the_module_is_what_is_served(running: Running) -> None:
    assert isinstance(running.room.tests, testtraffic.TestTraffic)


# -- beside a run ------------------------------------------------------------------------------


def test_a_run_takes_test_traffic_too(shell: Shell) -> None:
    (shell.folder / "square.yml").write_text(SQUARE + "workflow: {shadow_s: 10, monitor_s: 60}\n")
    command = [sys.executable, "-m", "shadowsim", "run", "square.yml", "--api", "0", "--api-writes"]
    with subprocess.Popen(
        [*command, "--pace", "10", "--json"], cwd=shell.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "SHADOWSIM_KEY": str(shell.folder / "key")},
    ) as process:  # fmt: skip
        file = shell.folder / "runs" / "shadow.json"
        while process.poll() is None and not (file.exists() and shell("shadow", "list").code == 0):
            time.sleep(0.05)
        wish = ("generate", "--from", "h-B", "--to", "h-C", "--rate-mbps", 1, "--for-s", 5)
        assert shell("shadow", *wish).code == 0
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["end_state"] == "confirmed"
    journal = (shell.folder / "runs" / "square" / "journal.jsonl").read_text().splitlines()
    states = [e["state"] for e in map(json.loads, journal) if e["event"] == "test_traffic"]
    assert states == ["going", "over"]
    assert not file.exists()


def test_an_interrupted_run_ends_its_test_traffic(shell: Shell) -> None:
    (shell.folder / "square.yml").write_text(
        SQUARE + "workflow: {autonomy: automatic, monitor_s: 3600}\n"
    )
    command = [sys.executable, "-m", "shadowsim", "run", "square.yml", "--api", "0", "--api-writes"]
    with subprocess.Popen(
        [*command, "--pace", "20"], cwd=shell.folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "SHADOWSIM_KEY": str(shell.folder / "key")},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        told = iter(process.stdout)
        next(line for line in told if "5 real-time monitoring" in line)
        assert shell("shadow", "steer", "--to", "db", "--for-s", 3000).code == 0
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    journal = (shell.folder / "runs" / "square" / "journal.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in journal]
    assert [e["state"] for e in events if e["event"] == "test_traffic"][-1] == "ended"
    assert "interrupted" in [e["event"] for e in events]


def test_an_unpaced_run_has_no_time_for_that(shell: Shell) -> None:
    (shell.folder / "square.yml").write_text(SQUARE)
    said = shell("run", "square.yml", "--api", 0)
    assert (said.code, said.out) == (2, "")
    assert "--pace" in said.err
