"""A desk to a server on 127.0.0.1 in a thread of its own, and to the file that says where it is."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType

import uvicorn

from shadowsim.api.app import Extend, make_app, nothing_more
from shadowsim.api.client import Address, NoSession, ask, read_session
from shadowsim.api.connections import Connection
from shadowsim.api.desk import Desk
from shadowsim.errors import BadInput, Mistake, ShadowsimError

STARTED_WITHIN_S = 10.0
HERE = "127.0.0.1"


class Server:
    """Serves from `start` until it is left, and keeps `file` (0600) with its port and token.

    Raises BadInput if the port is in use, the file cannot be written, or a session that lives
    keeps it already. Changes anything only with `writes`.
    """

    def __init__(
        self,
        desk: Desk,
        port: int,
        file: Path,
        *,
        writes: bool,
        extend: Extend = nothing_more,
    ) -> None:
        _check_free(file)
        self._desk = desk
        self._file = file
        self._socket = _listen(port)
        self.address = Address(self._socket.getsockname()[1], secrets.token_urlsafe(32))
        config = uvicorn.Config(
            make_app(desk, self.address.token, writes=writes, extend=extend),
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            http=Connection,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=16 * 1024,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="shadowsim-api", daemon=True)

    def __enter__(self) -> Server:
        return self

    def start(self) -> None:
        """Begin to answer, and write the file. Nothing is answered before."""
        self._thread.start()
        end_s = monotonic() + STARTED_WITHIN_S
        while not self._server.started and self._thread.is_alive() and monotonic() < end_s:
            sleep(0.01)
        if not self._server.started:
            raise BadInput(f"the server on port {self.address.port} did not come up")
        _write(self._file, self.address)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell who waits, and remove the file if it is still ours."""
        self._desk.close()
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(5.0)
        self._socket.close()
        with suppress(OSError, ShadowsimError):
            if read_session(self._file) == self.address:
                self._file.unlink()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


def _listen(port: int) -> socket.socket:
    # By this protocol asyncio knows that answers must not wait for acknowledgements (40 ms each).
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HERE, port))
    except OSError as error:
        listening.close()
        raise BadInput(
            f"port {port} cannot be used: {error.strerror}; 0 takes a free one"
        ) from None
    return listening


def _check_free(file: Path) -> None:
    """Two sessions must not share a file."""
    if not file.exists():
        return
    try:
        address = read_session(file)
    except ShadowsimError:
        raise BadInput(
            [Mistake("there is such a file, and it is not a session's", str(file))]
        ) from None
    try:
        found = ask(address, "GET", "/status", within_s=2.0)
        whose = f"a session of {found['scenario']} runs already"
    except NoSession:
        return  # it has died without removing its file
    except ShadowsimError:
        whose = f"the session at {address.url} is there, and does not answer now"
    words = f"{whose}; end it, or use --session FILE"
    raise BadInput([Mistake(words, str(file))])


def _write(file: Path, address: Address) -> None:
    """In one step, and readable for nobody else at any time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        partial.unlink()
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(address.text())
    partial.replace(file)
