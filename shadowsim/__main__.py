"""The process of the command line: signals and failures to words and exit codes.

What is slow to load is loaded while it listens already.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from shadowsim.errors import BadInput, ShadowsimError

STOPPED = 130
UNREAD = 141  # what a shell says of a program that a closed pipe has ended


def main() -> None:
    """Entry point of the `shadowsim` command."""
    # Whoever ends the process politely gets the armed rollback as well.
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), _interrupt)
    with told():
        from shadowsim.commands import app

        app()


@contextmanager
def told() -> Iterator[None]:
    """Turn every failure a user can cause into words and an exit code."""
    try:
        yield
    except SystemExit as leaving:
        # typer makes exits of an interruption and of a closed pipe before they can be seen here.
        if leaving.code == STOPPED:
            _say_stopped(leaving.__context__)
        if isinstance(leaving.__context__, BrokenPipeError):
            _leave(UNREAD)
        raise
    except ShadowsimError as error:
        _say(str(error))
        _leave(error.exit_code)
    except KeyboardInterrupt as interruption:
        _say_stopped(interruption)
        _leave(STOPPED)
    except BrokenPipeError:
        sys.stderr.close()
        _leave(UNREAD)
    except OSError as error:
        _say(f"{error.filename or 'i/o'}: {error.strerror or error}")
        _leave(BadInput.exit_code)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _say_stopped(interruption: BaseException | None) -> None:
    """With what else was on its way to be told."""
    if interruption and isinstance(interruption.__context__, ShadowsimError):
        _say(str(interruption.__context__))
    _say("stopped")


def _leave(code: int) -> NoReturn:
    raise SystemExit(code)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
