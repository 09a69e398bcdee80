"""The file of a session and a request to what the session answers."""

from __future__ import annotations

import http.client
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shadowsim.errors import BadInput, MachineLacks, Mistake

HERE = "127.0.0.1"  # wherever a file says it is: the token goes nowhere else
MOST_BYTES = 16 * 2**20
LONGEST_FILE = 4096
START = "start one with 'shadowsim shadow serve SCENARIO'"


class NoSession(MachineLacks):
    """There is none at this address, or another one."""


@dataclass(frozen=True)
class Address:
    """Where a session is to be found on this machine, and the token it wants to see."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://{HERE}:{self.port}"

    def text(self) -> str:
        return json.dumps({"url": self.url, **asdict(self)}, indent=2) + "\n"


def read_session(file: Path) -> Address:
    """Where the session of this file is. Raises MachineLacks if there is none, BadInput if the
    file says something else.
    """
    try:
        with file.open("rb") as stream:
            found = json.loads(stream.read(LONGEST_FILE))
        port, token = found["port"], found["token"]
        fits = type(port) is int and 0 < port < 2**16 and type(token) is str and token.isascii()
    except FileNotFoundError:
        raise MachineLacks(f"{file}: no session is running; {START}") from None
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(file))]) from None
    except (ValueError, LookupError, TypeError, RecursionError):
        fits = False
    if not fits or not token.isprintable():
        raise BadInput([Mistake("this is not the file of a session", str(file))])
    return Address(port, token)


def ask(
    address: Address, method: str, path: str, wish: Any = None, *, within_s: float = 30.0
) -> Any:
    """What the session answers.

    Raises BadInput with its words, NoSession, and MachineLacks if it has no time or fails.
    """
    body = None if wish is None else json.dumps(wish).encode()
    headers = {"Authorization": f"Bearer {address.token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(HERE, address.port, timeout=within_s)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        status, text = answer.status, answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        kind = MachineLacks if isinstance(error, TimeoutError) else NoSession
        raise kind(f"no session answers at {address.url} ({words}); {START}") from None
    finally:
        connection.close()
    return _understood(address, status, text)


def _understood(address: Address, status: int, text: bytes) -> Any:
    try:
        found = json.loads(text)
        words = str(found["error"]) if status >= 400 else ""
    except (ValueError, LookupError, TypeError):
        if status == 503:
            raise MachineLacks(f"the session at {address.url} is busy; try again") from None
        raise NoSession(f"what answers at {address.url} is no session; {START}") from None
    if status == 401:
        raise NoSession(f"the session at {address.url} is another one: it refuses the token")
    if status >= 500:
        raise MachineLacks(words)
    if status >= 400:
        raise BadInput(words)
    return found
