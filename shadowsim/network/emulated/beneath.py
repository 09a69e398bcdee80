"""What is broken beneath the configs of a network to a file in its folder, and back.

Routes hang on it as much as on configs, and only the run knows it: whoever takes the devices over
when the run has died compiles with what it was last told.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from shadowsim.dataplane.forwarding import SOUND, Physical

FILE = "beneath.json"
_PHYSICAL = TypeAdapter(Physical)


def keep(folder: Path, physical: Physical) -> None:
    """Have it told to whoever asks from now on; a reader finds it whole.

    Where nothing can be written nothing is told, not even what was told before.
    """
    path, draft = folder / FILE, folder / f"{FILE}.draft"
    try:
        draft.write_bytes(_PHYSICAL.dump_json(physical))
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def kept(folder: Path) -> Physical:
    """What was told last; nothing is broken where nothing was told."""
    try:
        return _PHYSICAL.validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return SOUND
