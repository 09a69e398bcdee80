"""Which file is which cable or stream, told to the process that moves the packets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import shadowsim
from shadowsim.errors import ShadowsimError
from shadowsim.network.emulated.board import Board
from shadowsim.network.emulated.framing import Channel, Closed, Garbled

START_S = 180.0  # the first start on a machine compiles the kernels
ANSWER_S = 20.0
END_S = 2.0
HUNG_S = 2.0  # a loop goes round at least 50 times a second
LOOK_S = 0.5  # what a look counts for at most: whoever looks may have stood still, too
_MODULE = "shadowsim.network.emulated.plant"


class PlantGone(ShadowsimError):
    """The process that moves the packets has ended, or does not answer, or refused."""


class Cable(NamedTuple):
    """Two files of frames (TAP devices), and the directed links from a to b and from b to a."""

    fd_a: int
    fd_b: int
    link_ab: int
    link_ba: int


class Stream(NamedTuple):
    """A socket to send from, bound if its port matters; TCP is not connected yet.

    `protocol` is board.UDP or board.TCP; `receiver` the number of the receiver that `address` and
    `port` lead to.
    """

    slot: int
    protocol: int
    fd: int
    address: str
    port: int
    receiver: int


class Receiver(NamedTuple):
    """A bound UDP socket or a listening TCP socket; the caller chooses its number."""

    number: int
    protocol: int
    fd: int


@dataclass(eq=False)
class Plant:
    """A running plant. Files given to it are copied: the caller may close its own."""

    board: Board
    _process: subprocess.Popen[bytes]
    _channel: Channel
    _words: int  # a file that takes what the process says on stderr
    _rounds: tuple[int, ...] = ()  # of its loops, when last looked at
    _looked_s: float = field(default_factory=monotonic)
    _still_s: float = 0.0  # for which one of them was seen to stand still

    @classmethod
    def start(cls, board: Board) -> Plant:
        """Start the process and return when its kernels run. Raises PlantGone."""
        ours, theirs = socket.socketpair()
        words = os.memfd_create("plant-stderr")
        search = [str(Path(shadowsim.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=[theirs.fileno()],
                # Where the group loses its last parent the kernel ends it even if it was stopped.
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))},
            )
        plant = cls(board, process, Channel(ours), words)
        try:
            plant._ask(START_S, [board.fd], do="board", links=board.links, slots=board.slots)
        except BaseException:
            plant.close()
            raise
        return plant

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def hangs(self) -> bool:
        """Whether it stands still; to be asked often, since only looks close together count."""
        rounds, now_s = tuple(self.board.rounds.tolist()), monotonic()
        moved = all(a != b for a, b in zip(rounds, self._rounds or (-1, -1), strict=True))
        self._still_s = 0.0 if moved else self._still_s + min(now_s - self._looked_s, LOOK_S)
        self._rounds, self._looked_s = rounds, now_s
        return self._still_s > HUNG_S

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def wire(
        self, cables: Sequence[tuple[int, int, int, int]], inject_fd: int | None = None
    ) -> None:
        """Have these cables and no others, whatever was told before; see `Cable`.

        Frames under way stay under way where a cable of the same link is there again. `inject_fd`
        is a datagram socket: each message is a directed link number (8 bytes, little-endian) and a
        frame, which comes in at the tail of that link. Raises PlantGone, ValueError.
        """
        links = [link for *_, ab, ba in cables for link in (ab, ba)]
        if len(set(links)) < len(links) or not all(0 <= n < self.board.links for n in links):
            raise ValueError("a link has two cables, or is not on the board")
        fds = [fd for a, b, *_ in cables for fd in (a, b)]
        fds += [] if inject_fd is None else [inject_fd]
        self._ask(ANSWER_S, fds, do="wire", links=[[ab, ba] for *_, ab, ba in cables])

    def streams(self, streams: Sequence[Stream], receivers: Sequence[Receiver] = ()) -> None:
        """Have these streams and receivers too; one of the same slot or number is replaced.

        The board's `packet_bytes` of a slot must be told before, and not changed while packets of
        it are under way. Raises PlantGone, ValueError.
        """
        if not all(0 <= s.slot < self.board.slots for s in streams):
            raise ValueError("a slot is not on the board")
        self._ask(
            ANSWER_S,
            [*(s.fd for s in streams), *(r.fd for r in receivers)],
            do="streams",
            senders=[[s.slot, s.protocol, s.address, s.port, s.receiver] for s in streams],
            receivers=[[r.number, r.protocol] for r in receivers],
        )

    def drop(self, slots: Sequence[int]) -> None:
        """Close the senders of these slots; their ports are free then. Raises PlantGone."""
        self._ask(ANSWER_S, [], do="drop", slots=list(slots))

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process; a second call does nothing."""
        if self._words < 0:
            return
        self._channel.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()
        os.close(self._words)
        self._words = -1

    def _ask(self, within_s: float, fds: Sequence[int], **message: object) -> None:
        """Send a request and wait until it was obeyed. Raises PlantGone."""
        if self._words < 0:
            raise PlantGone("the plant was closed")
        self._channel.connection.settimeout(within_s)
        try:
            self._channel.send(message, fds)
            answer = self._channel.receive_line()
        except TimeoutError:
            self.kill()  # a later request would read the answer to this one
            raise PlantGone(f"the plant did not answer within {within_s:g} s") from None
        except (Closed, Garbled, OSError) as error:
            raise PlantGone(f"the plant has ended: {self._last_words() or error}") from None
        if "error" in answer:
            raise PlantGone(f"the plant refused: {answer['error']}")

    def _last_words(self) -> str:
        """The last line that the process said."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        said = os.pread(self._words, 1 << 16, max(0, os.fstat(self._words).st_size - (1 << 16)))
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
