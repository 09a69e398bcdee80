"""The change algebra: scripts to commands, commands to configs, and two configs to commands.

    parse(render(change)) == change
    apply(a, difference(a, b)) == b
    apply(apply(a, c), c) == apply(a, c)

Rollback is `difference` with its arguments swapped, of the whole change or, with the target
`apply(before, the change without the blamed)`, of a part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.config import DeviceConfig, Settings
from shadowsim.model.grammar import (
    CONTEXTS,
    NotACommand,
    Slot,
    Value,
    context_of,
    locate,
    read_header,
    read_removal,
    read_set,
    slot_order,
    write_line,
)
from shadowsim.model.words import NotThisLine

Configs = Mapping[str, DeviceConfig]
LAST_SEQUENCE = 2**31 - 1
LONGEST_LINE = 1000  # characters
MOST_MISTAKES = 100
HINT = "did you mean"


class Command(NamedTuple):
    """One config line of one device, under the line that opens its context ("" at the top)."""

    device: str
    context: str
    line: str

    @property
    def brief(self) -> str:
        """The line, with the port or list it is about, but without the device."""
        about = self.context.removeprefix("interface ").removeprefix("ip access-list extended ")
        return f"{about}: {self.line}" if about else self.line

    def __str__(self) -> str:
        inside = f"{self.context} / " if self.context else ""
        return f"{self.device}: {inside}{self.line}"


@dataclass(frozen=True)
class Change:
    """An ordered script of commands over one or more devices."""

    summary: str
    commands: tuple[Command, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices touched, in order of first touch."""
        return tuple(dict.fromkeys(command.device for command in self.commands))

    def without(self, blamed: Iterable[Command]) -> Change:
        """The change less those commands."""
        gone = set(blamed)
        return Change(self.summary, tuple(c for c in self.commands if c not in gone))


class _Edit(NamedTuple):
    """What one command does: first remove every slot beginning so, then set these.

    With `only`, of the slots that differ from `removes` in the last key only those of that value.
    """

    removes: Slot | None
    sets: tuple[tuple[Slot, Value], ...]
    only: Value | None = None

    def gone(self, settings: Settings) -> list[Slot]:
        """The slots it removes from these settings."""
        removes = self.removes
        if removes is None:
            return []
        if self.only is None:
            return [slot for slot in settings if slot[: len(removes)] == removes]
        return [
            slot
            for slot, value in settings.items()
            if slot[:-1] == removes[:-1] and len(slot) == len(removes) and value == self.only
        ]


def parse_script(text: str, *, file: str = "", first_line: int = 1) -> tuple[Command, ...]:
    """A script to its commands; `device NAME` says for whom the lines below it are.

    Lines that open a context hold for the lines under them, up to a line of the top level,
    `!`, `exit` or another device; one with nothing under it is a command itself. `#` starts a
    comment. Raises BadInput with every mistake (the first MOST_MISTAKES) and its line.
    """
    commands: list[Command] = []
    mistakes: list[Mistake] = []
    device = context = ""
    pending: Command | None = None
    for number, raw in enumerate(text.splitlines(), first_line):
        line = " ".join(raw.split("#")[0].split())
        if not line:
            continue
        if len(mistakes) >= MOST_MISTAKES:
            mistakes.append(Mistake("too many mistakes; the rest was not read", file, number))
            break
        if len(line) > LONGEST_LINE:
            message = f"a line of {len(line):,} characters; at most {LONGEST_LINE:,}"
            mistakes.append(Mistake(message, file, number))
            continue
        if not line.isprintable():
            odd = next(character for character in line if not character.isprintable())
            message = f"the character U+{ord(odd):04X} may not stand in a line"
            mistakes.append(Mistake(message, file, number))
            continue
        if line.split()[0] == "device" or line[0] == "!" or line == "exit":
            commands += [pending] if pending else []
            pending, context = None, ""
            if line.startswith("device"):
                device = line[len("device") :].strip()
                if len(device.split()) != 1:
                    mistakes.append(Mistake("'device' needs one name after it", file, number))
            continue
        if not device:
            mistakes.append(Mistake("the script must begin with 'device NAME'", file, number))
            break
        try:
            if context and _belongs(context, line):
                commands.append(Command(device, context, line))
                pending = None
                continue
            commands += [pending] if pending else []
            pending, context = None, ""
            if _header(line):
                pending, context = Command(device, "", line), line
            else:
                _edit(Command(device, "", line))
                commands.append(Command(device, "", line))
        except ValueError as error:
            mistakes.append(Mistake(str(error), file, number))
    commands += [pending] if pending else []
    if mistakes:
        raise BadInput(mistakes)
    return tuple(commands)


def render_script(commands: Iterable[Command]) -> str:
    """The script of these commands: `parse_script(render_script(c)) == c`."""
    out: list[str] = []
    device = context = ""
    bare = False
    for command in commands:
        if command.device != device:
            out.append(f"device {command.device}")
            device, context, bare = command.device, "", False
        if bare or (context and not command.context):
            out.append("!")
            context = ""
        if command.context and command.context != context:
            out.append(command.context)
        out.append((" " if command.context else "") + command.line)
        context = command.context
        bare = not command.context and _header(command.line) is not None
    return "\n".join(out) + "\n" if out else ""


def parse_config(text: str, *, file: str = "", first_line: int = 1) -> DeviceConfig:
    """A config text to its value. Raises BadInput with every mistake and its line."""
    hostname = ""
    body: list[str] = []
    for raw in text.splitlines():
        words = raw.split()
        if len(words) == 2 and words[0] == "hostname" and not hostname:
            hostname = words[1]
            body.append("")
        else:
            body.append(raw)
    if not hostname:
        raise BadInput([Mistake("a config must begin with 'hostname NAME'", file, first_line)])
    foreign = [
        Mistake("a config is of one device; 'device' belongs to scripts", file, first_line + number)
        for number, raw in enumerate(body)
        if raw.split()[:1] == ["device"]
    ]
    if foreign:
        raise BadInput(foreign[:MOST_MISTAKES])
    script = f"device {hostname}\n" + "\n".join(body)
    commands = parse_script(script, file=file, first_line=first_line - 1)
    return apply_one(DeviceConfig(hostname, {}), commands)


def apply(configs: Configs, commands: Iterable[Command]) -> dict[str, DeviceConfig]:
    """The configs after these commands, in order; configs not touched are the same objects.

    Raises BadInput for a device that has no config.
    """
    after = dict(configs)
    by_device: dict[str, list[Command]] = {}
    for command in commands:
        by_device.setdefault(command.device, []).append(command)
    for device, mine in by_device.items():
        if device not in after:
            raise BadInput(f"there is no device '{device}'; {choices(device, after)}")
        after[device] = apply_one(after[device], mine)
    return after


def apply_one(config: DeviceConfig, commands: Iterable[Command]) -> DeviceConfig:
    """The config after these commands; the same object if they change nothing."""
    settings = dict(config.settings)
    for command in commands:
        _obey(settings, command)
    return config if settings == config.settings else DeviceConfig(config.hostname, settings)


def _obey(settings: dict[Slot, Value], command: Command) -> dict[Slot, Value | None]:
    """Do in these settings what a command says. What stood in the slots it spoke of, or None."""
    edit = _edit(command)
    stood: dict[Slot, Value | None] = {slot: settings.pop(slot) for slot in edit.gone(settings)}
    for unnumbered, value in edit.sets:
        slot = _numbered(unnumbered, value, settings)
        stood.setdefault(slot, settings.get(slot))
        settings[slot] = value
    return stood


def difference(before: Configs, after: Configs) -> tuple[Command, ...]:
    """The commands that turn `before` into `after`, exactly; devices in order of name.

    Within a device: lists are defined before they are used, ports opened before anything is
    moved, references dropped before what they refer to.
    """
    return tuple(
        command
        for device in sorted(after)
        if before.get(device) is not after[device]
        for command in _difference_one(before[device], after[device])
    )


def revert(
    before: Configs,
    now: Configs,
    change: Change,
    blamed: Iterable[Command],
    under_way: Iterable[Command] = (),
) -> tuple[Command, ...]:
    """The commands that take the blamed part of a change back and leave all else as it is.

    Without the blamed commands the change would have led to `apply(before, the rest of it)`;
    where that differs from what the whole of it leads to, the config of now is set to it. What
    others have changed meanwhile stays. Only devices whose config is known now are spoken of.

    Of the commands `under_way` nobody knows how far they have come. What they set only in passing
    (a port shut while its MTU is changed) is taken back too where it is found in force. Of all
    others it is known that they are done, so such a value is somebody else's, and stays.
    """
    return difference(now, reverted(before, now, change, blamed, under_way))


def reverted(
    before: Configs,
    now: Configs,
    change: Change,
    blamed: Iterable[Command],
    under_way: Iterable[Command] = (),
) -> dict[str, DeviceConfig]:
    """The configs that `revert` leads to."""
    known = {name: before[name] for name in now if name in before}
    unsure = frozenset(under_way)
    kept = change.without(blamed).commands
    whole = apply(known, [c for c in change.commands if c.device in known])
    part = apply(known, [c for c in kept if c.device in known])
    found = dict(now)
    for name in change.devices:
        if name not in known:
            continue
        mine = [c for c in change.commands if c.device == name] if unsure else []
        passed = _passed(known[name], mine, unsure)
        if whole[name] is not part[name] or passed:
            found[name] = _patched(now[name], whole[name], part[name], passed)
    return found


def _passed(
    config: DeviceConfig, commands: Iterable[Command], unsure: frozenset[Command]
) -> dict[Slot, set[Value | None]]:
    """Slot by slot what stands there, None for nothing, while the unsure of these are carried out,
    from before the first to after the last.
    """
    settings = dict(config.settings)
    found: dict[Slot, set[Value | None]] = {}
    for command in commands:
        stood = _obey(settings, command)
        for slot, value in stood.items() if command in unsure else ():
            found.setdefault(slot, set()).update((value, settings.get(slot)))
    return found


def _patched(
    now: DeviceConfig,
    old: DeviceConfig,
    new: DeviceConfig,
    passed: Mapping[Slot, set[Value | None]],
) -> DeviceConfig:
    """The config with those slots set as in `new` that differ between `old` and `new`, or in which
    stands what was to stand there only in passing.
    """
    settings = dict(now.settings)
    for slot in {*old.settings, *new.settings, *passed}:
        wanted, found = new.settings.get(slot), settings.get(slot)
        if old.settings.get(slot) == wanted and found not in passed.get(slot, ()):
            continue
        if wanted is None:
            settings.pop(slot, None)
        else:
            settings[slot] = wanted
    opened = {context_of(slot) for slot in settings} - {()}
    for slot in opened - settings.keys():
        settings[slot] = old.settings.get(slot, now.settings.get(slot, ()))
    return now if settings == now.settings else DeviceConfig(now.hostname, settings)


def _difference_one(before: DeviceConfig, after: DeviceConfig) -> list[Command]:
    old, new = before.settings, after.settings
    gone = [slot for slot in old if slot not in new]
    gone = [slot for slot in gone if not (context_of(slot) and context_of(slot) in gone)]
    kept = [slot for slot in new if slot not in old or old[slot] != new[slot]]
    filled = {context_of(slot) for slot in kept}
    kept = [slot for slot in kept if slot not in filled]
    steps = [(_rank(slot, removal=False), slot_order(slot), slot, False) for slot in kept]
    steps += [(_rank(slot, removal=True), slot_order(slot), slot, True) for slot in gone]
    return [
        Command(after.hostname, _header_of(slot, new, old), write_line(
            slot, old[slot] if removal else new[slot], removal=removal
        ))
        for _, _, slot, removal in sorted(steps, key=lambda step: step[:2])
    ]  # fmt: skip


def _rank(slot: Slot, *, removal: bool) -> int:
    """Set in the order of the table; remove afterwards, in reverse. Opening a port comes first."""
    rank = locate(slot)[1].rank
    if not removal:
        return 20 if _is_shutdown(slot) else rank
    return -1 if _is_shutdown(slot) else 19 - rank


def rank_of(command: Command) -> int:
    """The place of a command in the order of a difference; equal ranks may stand in any order."""
    edit = _edit(command)
    if edit.removes is not None:
        return _rank(edit.removes, removal=True)
    return _rank(edit.sets[-1][0], removal=False)


def subject_of(command: Command) -> tuple[Slot, bool]:
    """The slot a command sets, or the beginning of the slots it removes; and whether it removes.

    An access list line without a number has None in the place of it.
    """
    edit = _edit(command)
    return (edit.sets[-1][0], False) if edit.removes is None else (edit.removes, True)


def _is_shutdown(slot: Slot) -> bool:
    return locate(slot)[1].pattern == "shutdown"


def _header_of(slot: Slot, new: Settings, old: Settings) -> str:
    context = context_of(slot)
    return write_line(context, new.get(context, old.get(context, ()))) if context else ""


def _header(line: str) -> tuple[Slot, Value] | None:
    try:
        return read_header(line)
    except NotThisLine:
        return None


def _belongs(context: str, line: str) -> bool:
    """Whether a line stands under this context rather than at the top. ValueError if at neither."""
    try:
        _edit(Command("", context, line))
        return True
    except ValueError as error:
        inner = error
    try:
        if _header(line) is None:
            _edit(Command("", "", line))
        return False
    except ValueError as error:
        # Whichever recognises the line tells what is wrong with it; the inner one in doubt.
        lost = isinstance(inner, NotACommand)
        known = not isinstance(error, NotACommand)
        hinted = HINT in str(error) and HINT not in str(inner)
        raise (error if lost and (known or hinted) else inner) from None


def _edit(command: Command) -> _Edit:
    """What a command does. Raises ValueError with the reason when it is none."""
    return _meant(command.context, command.line)


@lru_cache(4096)  # the same few commands are asked about at every look at a network
def _meant(context: str, line: str) -> _Edit:
    header: tuple[tuple[Slot, Value], ...] = ()
    base: Slot = ()
    head = ""
    if context:
        opened = _header(context)
        if opened is None:
            raise ValueError(f"'{context}' opens no context; valid: {', '.join(CONTEXTS)}")
        header, base, head = (opened,), opened[0], opened[0][0]
    if line.startswith("no "):
        slot, only = read_removal(head, line[3:])
        return _Edit(base + slot, header, only)
    slot, value = read_set(head, line)
    return _Edit(None, (*header, (base + slot, value)))


def _numbered(slot: Slot, value: Value, settings: Settings) -> Slot:
    """Give an access list line without a number the next one; the same line twice keeps its own."""
    if slot[-1] is not None:
        return slot
    mine = {s[-1]: v for s, v in settings.items() if len(s) == len(slot) and s[:-1] == slot[:-1]}
    same = [number for number, other in mine.items() if other == value]
    number = min(same) if same else max(mine, default=0) + 10
    if number > LAST_SEQUENCE:
        raise BadInput(f"list '{slot[1]}' has no number left after {max(mine)}")
    return (*slot[:-1], number)


def numbered(configs: Configs, commands: Iterable[Command]) -> tuple[Command, ...]:
    """The same commands with a number on every access list line, as these configs give it.

    Only with it is a script idempotent: a line without one goes to wherever the end then is.
    """
    found = []
    for command in commands:
        after = apply(configs, [command])
        edit = _edit(command)
        if edit.sets and edit.sets[-1][0][-1] is None:
            slot, value = edit.sets[-1]
            slot = _numbered(slot, value, configs[command.device].settings)
            command = command._replace(line=write_line(slot, value))
        elif edit.only is not None:
            slots = edit.gone(configs[command.device].settings)
            command = command._replace(line=f"no {slots[0][-1]}") if slots else command
        found.append(command)
        configs = after
    return tuple(found)
