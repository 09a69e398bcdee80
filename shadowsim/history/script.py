"""What an operator means to do, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from shadowsim.history.lines import Commands


@dataclass(frozen=True)
class Script:
    """What an operator means to do, and the commands that do it. `cable`: of a link, which."""

    summary: str
    commands: Commands
    cable: int | None = None
