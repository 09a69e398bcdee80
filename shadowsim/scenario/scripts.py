"""The scripts and configs inside a scenario to commands, with the real line of every mistake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.change import Command, Configs, apply_one, parse_config, parse_script
from shadowsim.model.config import DeviceConfig
from shadowsim.model.topology import Topology
from shadowsim.scenario.addresses import addressed
from shadowsim.scenario.findings import Findings
from shadowsim.scenario.yamlfile import Path, shorten

EVERY_DEVICE = "all"
NOWHERE = "Null0"


class Scripts:
    """Reads scripts; the names in them are checked as far as the topology is known.

    `topology` None: no name can be checked. `whole` False: parts of it are missing, so that
    devices are known but not all ports. `nameless`: the lines of a text, from 0, on which an
    address could not be found; nothing else is said about how they are written.
    """

    def __init__(self, findings: Findings, topology: Topology | None, *, whole: bool) -> None:
        self.findings = findings
        self.document = findings.document
        self.devices = topology.device_index if topology else None
        self.ports = topology.ports if topology and whole else None
        self.topology = topology if whole else None
        self.nameless: dict[Path, set[int]] = {}

    def change(self, path: Path, text: str) -> tuple[Command, ...]:
        """A script that says itself for which devices its lines are."""
        text = self._addressed(path, text)
        self._check_names(path, text, None)
        return self._parse(path, text, "")

    def lines(self, path: Path, text: str, device: str) -> tuple[Command, ...]:
        """Lines for one device (or all)."""
        text = self._addressed(path, text)
        self._check_names(path, text, device)
        commands = self._parse(path, text, _usable(device))
        for name in {command.device for command in commands} - {_usable(device)}:
            message = f"these lines are for '{shorten(device)}', not for '{shorten(name)}'"
            self.findings.add(path, message)
        return commands

    def config(self, path: Path, text: str, device: str) -> DeviceConfig | None:
        """A whole config, of the device it stands under."""
        text = self._addressed(path, text)
        self._check_names(path, text, device)
        first, _ = self._lines_of(path)
        if self._is_folded(path):
            return None
        try:
            config = parse_config(text, file=self.document.file, first_line=first)
        except BadInput as error:
            self._include(path, error)
            return None
        if config.hostname != device:
            found = f"hostname '{shorten(config.hostname)}'"
            message = f"{found} stands in the config of '{shorten(device)}'"
            self.findings.add(path, message)
        return config

    def _addressed(self, path: Path, text: str) -> str:
        first, real = self._lines_of(path)

        nameless = self.nameless.setdefault(path, set())

        def unknown(place: int, kind: str, name: str, valid: list[str]) -> None:
            nameless.add(place)
            line = first + place if real else first
            self.findings.at_line(line, self.findings.no_such(kind, name, valid))

        return addressed(text, self.topology, unknown)

    def _parse(self, path: Path, text: str, device: str) -> tuple[Command, ...]:
        first, _ = self._lines_of(path)
        if self._is_folded(path):
            return ()
        head = f"device {device}\n" if device else ""
        try:
            return parse_script(
                head + text, file=self.document.file, first_line=first - bool(device)
            )
        except BadInput as error:
            self._include(path, error)
            return ()

    def _is_folded(self, path: Path) -> bool:
        if path in self.document.folded:
            self.findings.add(path, "'>' joins the lines of this script; write '|' instead")
        return path in self.document.folded

    def _include(self, path: Path, error: BadInput) -> None:
        first, real = self._lines_of(path)
        line = self.document.line(path)
        nameless = {first + place for place in self.nameless.get(path, ())}
        left = [m for m in error.mistakes if m.line not in nameless]
        placed = left if real else [Mistake(m.message, m.file, line) for m in left]
        self.findings.include(BadInput(placed))

    def _lines_of(self, path: Path) -> tuple[int, bool]:
        """The line of the file on which a text begins, and whether its lines are the file's."""
        if path in self.document.blocks:
            return self.document.blocks[path], True
        return self.document.line(path), False

    def _check_names(self, path: Path, text: str, device: str | None) -> None:
        """The devices and ports that a script names."""
        if self.devices is None or path in self.document.folded:
            return
        first, real = self._lines_of(path)
        for number, raw in enumerate(text.splitlines(), first):
            line = number if real else first
            words = raw.split("#")[0].split()
            removal = words[:1] == ["no"]
            words = words[removal:]
            if words[:1] == ["device"] and len(words) > 1 and not removal:
                device = " ".join(words[1:])
                if device not in self.devices:
                    self.findings.at_line(
                        line, self.findings.no_such("device", device, self.devices)
                    )
            elif words[:1] == ["interface"] and len(words) == 2:
                self._check_port(line, device, words[1])
            elif words[:2] == ["ip", "route"] and len(words) == 4 and words[3] != NOWHERE:
                self._check_port(line, device, words[3])

    def _check_port(self, line: int, device: str | None, port: str) -> None:
        if self.ports is None or device is None:
            return
        named = list(self.ports) if device == EVERY_DEVICE else [device]
        for name in named:
            if name in self.ports and port not in self.ports[name]:
                valid = choices(port, self.ports[name])
                message = f"device '{name}' has no port '{shorten(port)}'; {valid}"
                self.findings.at_line(line, message)
                return


def written(values: Mapping[str, Any], findings: Findings) -> None:
    """Find what is wrong with how the scripts and configs of a scenario are written, where the
    rest of it has mistakes of its own: no name in them can be checked.
    """
    scripts = Scripts(findings, None, whole=False)
    for device, text in _texts(values.get("configs")).items():
        whole = device != EVERY_DEVICE and _is_whole(text)
        read = scripts.config if whole else scripts.lines
        read(("configs", device), text, device)
    if script := _texts(values.get("change")).get("script"):
        scripts.change(("change", "script"), script)


def _texts(value: Any) -> dict[str, str]:
    """The texts of what should be a mapping, by their keys."""
    items = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in items if isinstance(key, str) and isinstance(text, str)}


def configure(
    defaults: Configs, given: Iterable[tuple[str, str]], scripts: Scripts
) -> dict[str, DeviceConfig]:
    """The default configs with the scenario's own lines on top; those for all devices first."""
    configs = dict(defaults)
    for device, text in sorted(given, key=lambda item: item[0] != EVERY_DEVICE):
        path: Path = ("configs", device)
        if device == EVERY_DEVICE:
            commands = scripts.lines(path, text, device)
            configs = {name: _applied(config, commands) for name, config in configs.items()}
        elif device not in configs:
            scripts.findings.unknown(path, "device", device, [*configs, EVERY_DEVICE])
        elif _is_whole(text):
            configs[device] = scripts.config(path, text, device) or configs[device]
        else:
            configs[device] = _applied(configs[device], scripts.lines(path, text, device))
    return configs


def _applied(config: DeviceConfig, commands: tuple[Command, ...]) -> DeviceConfig:
    return apply_one(config, commands) if commands else config


def _is_whole(text: str) -> bool:
    """Whether a text is a whole config: its first word is `hostname`."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    first = next((words for words in lines if words and words != ["!"]), [""])
    return first[0] == "hostname"


def _usable(device: str) -> str:
    """A device name that can stand in a script, also where the given one is none."""
    return "".join(device.split("#")[0].split()) or "unnamed"
