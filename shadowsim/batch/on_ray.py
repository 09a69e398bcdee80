"""Pieces of work to the nodes of a Ray cluster; those of a node that dies go to another one.

Ray is imported when it is first used. It tells nobody that it is used, and nothing of it is started
here: the cluster is there, and this machine is one of its nodes.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from shadowsim.batch.engine import Answer, Answers, Died, Piece, Result, worked
from shadowsim.errors import BadInput, MachineLacks, ShadowsimError

ANSWER_S = 3.0  # for the cluster to say that it is there; Ray would try for more than a minute
RETRIES = 5  # of a piece whose worker or node died
AHEAD = 512  # pieces that the cluster is told of at once
# What both sides of an HTTP/2 connection, and so of gRPC, begin with (RFC 9113, 3.4).
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
SETTINGS_FRAME, FRAME_HEADER = 4, 9


@dataclass(frozen=True)
class OnRay:
    """The engine of a Ray cluster, by the HOST:PORT of its head."""

    address: str

    def reached(self) -> OnRay:
        """Itself, if there is a cluster. Raises BadInput within seconds, MachineLacks."""
        host, port = _parted(self.address)
        _imported()
        try:
            with socket.create_connection((host, port), ANSWER_S) as connection:
                connection.sendall(HELLO)
                frame = connection.recv(FRAME_HEADER, socket.MSG_WAITALL)
        except OSError as error:
            why = "no answer" if isinstance(error, TimeoutError) else error.strerror
            raise BadInput(f"--address {self.address}: no Ray cluster: {why}") from None
        if len(frame) < FRAME_HEADER or frame[3] != SETTINGS_FRAME:
            raise BadInput(f"--address {self.address}: something answers there that is not Ray")
        return self

    def answers(
        self, work: Callable[[Piece], Result], pieces: Sequence[Piece]
    ) -> Answers[Piece, Result]:
        """See Engine. A piece may be worked on again after a node was lost; it has one answer."""
        left = deque(pieces)
        if not left:
            return
        with _connected(self.address) as ray:
            shared = ray.put(work)
            remote = ray.remote(num_cpus=1, max_retries=RETRIES)(worked)
            running: dict[Any, Piece] = {}
            while left or running:
                while left and len(running) < AHEAD:
                    piece = left.popleft()
                    running[remote.remote(shared, piece)] = piece
                done, _ = ray.wait(list(running), num_returns=1)
                for ref in done:
                    yield _got(ray, ref, running.pop(ref))


def _got(ray: Any, ref: Any, piece: Piece) -> Answer[Piece, Any]:
    try:
        found: Answer[Piece, Any] = ray.get(ref)
        return found
    except ray.exceptions.RayError as error:
        return Answer(piece, error=Died(f"lost on the cluster: {_words(error)}"))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    ray = _imported()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # its own, of gRPC, of the system: it does not say which
        raise ShadowsimError(
            f"--address {address}: the Ray cluster cannot be used: {_words(error)}; is this machine"
            f" one of its nodes ('ray start --address={address}')?"
        ) from None
    with redirect_stdout(sys.stderr):  # Ray tells there that a node died, whatever it was asked
        try:
            yield ray
        finally:
            ray.shutdown()


def _imported() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MachineLacks(
            f"Ray cannot be imported ({_words(error)}), which --engine ray needs: "
            "pip install 'shadowsim[ray]'"
        ) from None


def _parted(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadInput(f"--address: '{address}' is not HOST:PORT, as 10.0.0.1:6379")
    return host.strip("[]"), int(port)


def _words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
