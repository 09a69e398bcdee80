"""Production's devices as the holder of a rollback reaches them: read, fenced, written.

`FileDevices` are those of a simulated production. A real device keeps its running config when the
tool that manages it dies; these keep it in a folder, each in a file of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from shadowsim.commit.disk import Disk
from shadowsim.errors import BadInput, Fenced, Mistake, Unreachable
from shadowsim.model.change import Configs, parse_config
from shadowsim.model.config import DeviceConfig


class Gone(Unreachable):
    """Production does not exist any more, so there is nothing to take back."""


class Devices(Protocol):
    """What a rollback needs of production, whatever that runs on."""

    def read(self) -> Configs:
        """The running config of every device that answers. Changes nothing. Raises Gone."""
        ...

    def prepare(self) -> None:
        """Have ready what the other calls will need, so that they take no longer than they must."""
        ...

    def fence(self, generation: int) -> None:
        """From now on no write of an earlier generation succeeds, though it began before."""
        ...

    def write(self, config: DeviceConfig, generation: int) -> None:
        """Have this config in force. Raises Fenced, Unreachable, OSError.

        After any of them it may be in force or not. After Fenced it is for whoever has fenced: what
        began before is seen by what that one reads afterwards, and nothing comes after.
        """
        ...

    def enforce(self, generation: int) -> None:
        """Have the running configs in force, also where whoever wrote them did not get that far.

        From now on nobody of an earlier generation can have anything else in force. Raises Fenced,
        Unreachable, OSError.
        """
        ...

    def verify(self, configs: Configs) -> tuple[str, ...]:
        """What is not in force of these configs by all that can be read back, in words."""
        ...

    @property
    def held(self) -> bool:
        """Whether they would be gone with whoever holds what keeps them up."""
        ...

    def close(self) -> None:
        """Nothing more is asked of them; what was only there for them may go."""
        ...


class FileDevices:
    """The devices of a simulated production.

    The config of a device is the file of the highest generation, `NAME@GENERATION`. To fence is
    first to say so, then to carry every config over into one's own generation: whoever writes to an
    earlier one afterwards writes where nobody looks, and finds the fence when it has written.
    """

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder

    def fill(self, configs: Configs, generation: int) -> None:
        """Make the folder, with these configs in it; durable on return.

        What is interrupted leaves some of them, each whole.
        """
        self._disk.make_folder(self._folder)
        self._put(configs.values(), generation)

    def read(self) -> Configs:
        return {name: self._config(name, number) for name, number in self._generations().items()}

    def prepare(self) -> None: ...

    def fence(self, generation: int) -> None:
        mark = self._folder / f"@fence.{generation}"
        if mark.name not in self._disk.names(self._folder):
            self._disk.create(mark, b"")
        self._disk.sync(self._folder)
        late = {name: n for name, n in self._generations().items() if n < generation}
        if late:
            self._put([self._config(name, n) for name, n in late.items()], generation)

    def write(self, config: DeviceConfig, generation: int) -> None:
        self._check(generation)
        self._put([config], generation)
        self._check(generation)

    def enforce(self, generation: int) -> None: ...

    def verify(self, configs: Configs) -> tuple[str, ...]:
        found = self.read()
        return tuple(
            f"config of {name} is not what the plan leads to"
            for name, config in configs.items()
            if name not in found or found[name].digest != config.digest
        )

    @property
    def held(self) -> bool:
        return False

    def close(self) -> None: ...

    def _put(self, configs: Iterable[DeviceConfig], generation: int) -> None:
        """Put them there, each whole or not at all; durable on return."""
        drafts: dict[Path, Path] = {}
        for config in configs:
            draft = self._folder / f"@draft.{secrets.token_hex(8)}"
            self._disk.create(draft, config.text.encode())
            drafts[draft] = self._path(config.hostname, generation)
        self._disk.sync(*drafts)
        for draft, path in drafts.items():
            self._disk.rename(draft, path)
        self._disk.sync(self._folder)

    def _check(self, generation: int) -> None:
        fences = [n for n in self._disk.names(self._folder) if n.startswith("@fence.")]
        if any(int(name.partition(".")[2]) > generation for name in fences):
            raise Fenced("production was taken over from this process, which may not write to it")

    def _generations(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for file in self._disk.names(self._folder):
            name, _, number = file.rpartition("@")
            device = unquote(name)
            # Names that begin with @ are no device's (`quote` leaves none), nor is what others put.
            if name and number.isdecimal() and self._path(device, int(number)).name == file:
                found[device] = max(int(number), found.get(device, 0))
        return found

    def _config(self, name: str, generation: int) -> DeviceConfig:
        path = self._path(name, generation)
        try:
            config = parse_config(self._disk.read(path).decode(), file=str(path))
        except UnicodeDecodeError:
            raise BadInput([Mistake("the config of a device that is no text", str(path))]) from None
        if config.hostname != name:
            raise BadInput([Mistake(f"the config of '{config.hostname}'", str(path))])
        return config

    def _path(self, name: str, generation: int) -> Path:
        return self._folder / f"{quote(name, safe='')}@{generation}"
