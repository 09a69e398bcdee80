"""YAML bytes or text to plain values and the line of every node, or to the mistakes in it.

A small and safe YAML: one document, a mapping at the top, no anchors, aliases or tags of one's
own. Scalars as in YAML 1.2: `no`, `on` and `yes` are text. Keys are always text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from shadowsim.errors import BadInput, Mistake

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 50_000
TOO_MANY = f"the file has more than {MAX_NODES:,} keys and values"
MAX_DIGITS = 30
MAX_MISTAKES = 100
SHOWN = 60

NULLS = {"", "~", "null", "Null", "NULL"}
BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
BEYOND = re.compile(r"\\U(?!000[0-9a-fA-F]|0010)[0-9a-fA-F]{8}")
CORE = ("str", "int", "float", "bool", "null", "map", "seq")
CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in CORE}
TAG_OF_TYPE = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null"}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """The values of a YAML file and where they stand.

    `lines`: the line of every key and list item by its path. `blocks`: for every literal block
    (`key: |`), the line on which its text begins. `folded`: the paths of folded blocks (`>`).
    `comment`: the comment the file opens with.
    """

    file: str
    values: dict[str, Any]
    lines: Mapping[Path, int]
    blocks: Mapping[Path, int]
    folded: frozenset[Path]
    comment: str

    def line(self, path: Path) -> int:
        """The line of a node, or of the closest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def mistake(self, path: Path, message: str) -> Mistake:
        return Mistake(message, self.file, self.line(path))


def shorten(text: str) -> str:
    """A text as one line of bounded length, control characters escaped."""
    line = text if text.isprintable() else ascii(text)[1:-1]
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def read_yaml(source: bytes | str, *, file: str = "") -> Document:
    """Raises BadInput with every mistake in the YAML itself."""
    text = _decode(source, file)
    reader = _Reader(file)
    if (line := _too_many(text)) is not None:
        reader.fail(TOO_MANY, line)
    try:
        values = reader.document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.reader.ReaderError as error:
        reader.fail(_unreadable(error), text.count("\n", 0, error.position) + 1)
    except yaml.MarkedYAMLError as error:
        reader.fail(*_not_yaml(error))
    except ValueError:  # PyYAML makes a character of any number after \U
        reader.fail("an escape \\U is beyond the last character, \\U0010FFFF", _beyond(text))
    if reader.mistakes:
        raise BadInput(list(reader.mistakes))
    return Document(
        file, values, reader.lines, reader.blocks, frozenset(reader.folded), _comment(text)
    )


def _decode(source: bytes | str, file: str) -> str:
    raw = source.encode("utf-8", "replace") if isinstance(source, str) else source
    if len(raw) > MAX_BYTES:
        raise BadInput([Mistake(f"the file has more than {MAX_BYTES:,} bytes", file)])
    if isinstance(source, str):
        return source.removeprefix("\ufeff")
    if b"\0" in raw:
        raise BadInput([Mistake("this is a binary file; wanted YAML text in UTF-8", file)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"byte {raw[error.start]:#04x} is not UTF-8 text; wanted YAML text in UTF-8"
        raise BadInput([Mistake(message, file, line)]) from None


def _too_many(text: str) -> int | None:
    """The line of the first node that is too many; None if there is none, or it is not known.

    Where PyYAML has libyaml, that counts them in a tenth of the time that reading them takes.
    """
    if len(text) <= MAX_NODES or not yaml.__with_libyaml__:
        return None
    nodes = depth = 0
    with suppress(yaml.YAMLError, ValueError):  # told in other words by who reads it
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            nodes += isinstance(event, yaml.NodeEvent)
            if nodes > MAX_NODES:
                return _line(event)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return None
    return None


def _comment(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if "yaml-language-server" not in line:
            lines.append(line.lstrip("#").strip())
    return " ".join(line for line in lines if line)


@dataclass
class _Reader:
    """Builds values from the events of PyYAML, event by event."""

    file: str
    mistakes: dict[Mistake, None] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    blocks: dict[Path, int] = field(default_factory=dict)
    folded: set[Path] = field(default_factory=set)
    nodes: int = 0

    def document(self, events: Iterator[Any]) -> dict[str, Any]:
        values: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fail("a second document begins here; one file holds one", _line(event))
            elif isinstance(event, yaml.NodeEvent):
                values = self.node(event, events, ())
        if values is None:
            self.fail("the file is empty; wanted a mapping of keys to values", None)
        if not isinstance(values, dict):
            self.fail("wanted a mapping of keys to values at the top of the file", 1)
        return dict(values)

    def node(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        self.count(event, path)
        if isinstance(event, yaml.AliasEvent):
            self.note(f"alias '*{shorten(str(event.anchor))}' is not allowed; write it out", event)
            return ""
        if event.anchor is not None:
            self.note(f"anchor '&{shorten(event.anchor)}' is not allowed; write it out", event)
        if event.tag not in (None, "!") and event.tag not in CORE_TAGS:
            self.note(f"tag '{shorten(event.tag)}' is not allowed", event)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(events, path)
        return self.scalar(event, path)

    def mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            self.count(event, path)
            if not isinstance(event, yaml.ScalarEvent):
                self.fail("a key must be plain text, not a list, mapping or alias", _line(event))
            key, line = self.whole(event), _line(event)
            here = (*path, key)
            if key in found:
                first = self.lines[here]
                self.note(f"key '{shorten(key)}' stands twice; the first is on line {first}", event)
                self.node(next(events), events, (*path, f"{key} (again)"))
                continue
            self.lines[here] = line
            found[key] = self.node(next(events), events, here)
        return found

    def sequence(self, events: Iterator[Any], path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            here = (*path, len(found))
            self.lines[here] = _line(event)
            found.append(self.node(event, events, here))
        return found

    def scalar(self, event: Any, path: Path) -> Any:
        event.value = self.whole(event)
        if event.style == "|":
            self.blocks[path] = _line(event) + 1
        if event.style == ">":
            self.folded.add(path)
        if event.tag in CORE_TAGS and event.tag.endswith(":str"):
            return event.value
        plain = event.style is None and event.tag != "!"
        if not plain and event.tag not in CORE_TAGS:
            return event.value
        value = self.plain(event)
        if event.tag in CORE_TAGS and not event.tag.endswith(f":{TAG_OF_TYPE[type(value)]}"):
            self.note(f"'{shorten(event.value)}' is no {event.tag.rpartition(':')[2]}", event)
        return value

    def whole(self, event: Any) -> str:
        """The text with escaped halves of a character joined, as JSON writes them."""
        text: str = event.value
        if text.isascii():
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.note(f"'{shorten(text)}' holds half a character (a lone surrogate)", event)
            return ""

    def plain(self, event: Any) -> Any:
        text = event.value
        if text in NULLS:
            return None
        if text in BOOLS:
            return BOOLS[text]
        if INT.fullmatch(text):
            if len(text) > MAX_DIGITS:
                self.note(f"the number {shorten(text)} has more than {MAX_DIGITS} digits", event)
                return 0
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if match := INFINITE.fullmatch(text):
            return float(f"{match[1]}inf" if match[2] else "nan")
        return float(text) if FLOAT.fullmatch(text) else text

    def count(self, event: Any, path: Path) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(TOO_MANY, _line(event))
        if len(path) > MAX_DEPTH:
            self.fail(f"nested more than {MAX_DEPTH} deep", _line(event))

    def note(self, message: str, event: Any) -> None:
        self.mistakes[Mistake(message, self.file, _line(event))] = None
        if len(self.mistakes) > MAX_MISTAKES:
            self.fail("too many mistakes; the rest of the file was not read", _line(event))

    def fail(self, message: str, line: int | None) -> None:
        raise BadInput([*self.mistakes, Mistake(message, self.file, line)]) from None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _unreadable(error: yaml.reader.ReaderError) -> str:
    code = error.character if isinstance(error.character, int) else ord(error.character)
    return f"character U+{code:04X} is not allowed in YAML text"


def _beyond(text: str) -> int | None:
    match = BEYOND.search(text)
    return text.count("\n", 0, match.start()) + 1 if match else None


def _not_yaml(error: yaml.MarkedYAMLError) -> tuple[str, int | None]:
    """What PyYAML says, as one line that a person can act on."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else None
    problem = error.problem or "cannot be read"
    hint = ""
    if "'\\t'" in problem:
        return "a tab stands where YAML wants spaces; indent with spaces", line
    if "mapping values are not allowed" in problem:
        hint = "; check the indentation, and quote a text that holds ': '"
    elif "expected ':'" in problem:
        hint = "; is a ':' or its space missing on this line or the one before?"
    elif "expected ',' or" in problem or "<stream end>" in problem or "end of stream" in problem:
        hint = "; is a bracket or a quote left open?"
    context = f" ({error.context})" if error.context else ""
    return f"not YAML: {shorten(problem)}{shorten(context)}{hint}", line
