"""Good inputs and chance to bad inputs: bytes, texts, and the values of YAML and JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

CANARY = "fuzz-canary"  # a file of this name is made by whatever executes what it reads

SHELL = f"touch {CANARY}"
NAMES = (
    "", " ", "..", ".", "../x", "../../../../etc/passwd", "/etc/passwd", "/dev/zero", "~/x",
    "a/b", "a\\b", "-rf", "--help", "con", "x" * 63, "x" * 64, "x" * 300, "any", "all", "device",
    f"; {SHELL}", f"$({SHELL})", f"`{SHELL}`", f"| {SHELL}", f"&& {SHELL} #", "a b", "a\tb", "a#b",
    "%s%n%x", "%(x)s", "{0.__class__}", "{x}", "${x}", "$x", "\\", "'", '"', "\\x00",
    "\x00", "\x1b[31mred\x1b[0m", "\x07", "\r", "a\nb", "\u2028", "\u202eabc", "\ufeff", "\ud800",
    "\udfff\ud800", "\ud83d\ude00", "\U0001f600", "e\u0301", "İ", "ß", "١٢", "²", "0x10", "1_000",
    "+1", "-0", "1e5",
    "nan", "inf", "null", "true", "no", "Null0",
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "&amp;&lt;", "]]>", "--",
    f"!!python/object/apply:os.system ['{SHELL}']", f"__import__('os').system('{SHELL}')",
    f"cos\nsystem\n(S'{SHELL}'\ntR.", "\x80\x04\x95", "' OR 1=1 --", "$.a", "$\\frac{",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63,
    2**64, 10**18, 10**30, 10**400, -(10**30), 0.0, -0.0, 0.1, 1e-300, 5e-324, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), True, False, None,
)  # fmt: skip

PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")

Value = Any
Text = str


def nested(rng: random.Random) -> Value:
    """A value inside a value inside a value."""
    depth = rng.choice((2, 10, 31, 33, 40, 100, 500))
    value: Value = rng.choice(({}, [], 1, "x"))
    kinds = rng.choice(((dict,), (list,), (dict, list)))
    for _ in range(depth):
        value = {"a": value} if rng.choice(kinds) is dict else [value]
    return value


def strange(rng: random.Random) -> Value:
    """A value that nobody wanted there."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(NAMES)
    if kind < 0.75:
        return rng.choice(NUMBERS)
    if kind < 0.8:
        return rng.choice("aA1 .#\u00e9\n") * rng.choice((100, 1000, 10_000))
    if kind < 0.85:
        return nested(rng)
    if kind < 0.9:
        return [rng.choice(NAMES) for _ in range(rng.choice((0, 1, 3, 200)))]
    if kind < 0.95:
        return {rng.choice(NAMES): rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 5)))}
    return "".join(chr(rng.choice((rng.randrange(32), rng.randrange(0x3000)))) for _ in range(8))


def _places(value: Value) -> list[tuple[Any, Any]]:
    """Every (container, key) of a nested value."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        here = waiting.pop()
        keys = here.keys() if isinstance(here, dict) else range(len(here))
        for key in keys:
            found.append((here, key))
            if isinstance(here[key], dict | list):
                waiting.append(here[key])
    return found


def mutated_value(rng: random.Random, value: Value, others: Sequence[Value] = ()) -> Value:
    """The same value with a few things in it wrong; `value` itself is altered."""
    box = [value]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        places = _places(box)
        if not places:
            break
        holder, key = places[rng.randrange(len(places))]
        _alter(rng, holder, key, places, others)
    return box[0] if box else None


def varied_value(rng: random.Random, value: Value) -> Value:
    """The same value with things in it that are otherwise, and perhaps as good."""
    for _ in range(rng.choice((1, 2, 4))):
        holder, key = rng.choice(_places([value]))
        old = holder[key]
        if isinstance(old, bool):
            holder[key] = not old
        elif isinstance(old, int):
            holder[key] = rng.choice((old + 1, old - 1, old * 2, old // 2, 1, 40))
        elif isinstance(old, float):
            holder[key] = old * rng.choice((0.5, 1.5, 10.0))
        elif isinstance(old, str):
            others = [h[k] for h, k in _places([value]) if isinstance(h[k], str)]
            holder[key] = rng.choice(others)
        elif isinstance(old, list) and old:
            rng.shuffle(old)
            del old[rng.randrange(len(old)) :]
        elif isinstance(holder, dict) and holder is not value:
            del holder[key]
    return value


def _alter(
    rng: random.Random, holder: Any, key: Any, places: list[tuple[Any, Any]], others: Sequence[Any]
) -> None:
    old = holder[key]
    kind = rng.randrange(12)
    if kind < 4:
        holder[key] = nearby(rng, old)
    elif kind < 6:
        holder[key] = strange(rng)
    elif kind == 6:
        del holder[key]
    elif kind == 7:
        there, other = places[rng.randrange(len(places))]
        found = there[other] if _is_at(there, other) else None
        holder[key] = json.loads(as_json(found)) if isinstance(found, dict | list) else found
    elif kind == 8:
        holder[key] = rng.choice(([old], {"a": old}, [old] * 50))
    elif kind == 9 and isinstance(holder, list):
        holder.insert(key, json.loads(as_json(old)))
    elif kind == 9:
        holder[rng.choice(NAMES)] = holder.pop(key)
    elif kind == 10 and isinstance(old, dict):
        old[rng.choice(NAMES)] = strange(rng)
    elif others:
        places_there = _places([json.loads(rng.choice(others))])
        there, other = places_there[rng.randrange(len(places_there))]
        holder[key] = there[other]


def _is_at(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def nearby(rng: random.Random, old: Value) -> Value:
    """A value of the same kind, a little or much beside the old one."""
    if isinstance(old, bool) or old is None:
        return rng.choice((True, False, None, 0, "true"))
    if isinstance(old, int):
        other = rng.choice((old + 1, old - 1, -old, old * 1000, ascii(old)[:3000], [old], 0.5))
        return rng.choice((rng.randrange(70_000), other))
    if isinstance(old, float):
        return rng.choice((-old, old * 1e6, old / 1e9, str(old), old // 1))
    if isinstance(old, str):
        return rng.choice((
            old.upper(), old + " ", old[::-1], old * 2, old[: len(old) // 2], f"{old}\x1b[0m",
            mutated_text(rng, old, NAMES), mutated_text(rng, old, NAMES), [old],
        ))  # fmt: skip
    return rng.choice(([], {}, None, "x"))


def mutated_text(rng: random.Random, text: Text, snippets: Sequence[Text]) -> Text:
    """The same text with a few places of it wrong."""
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        start, end = _span(rng, len(text))
        text = rng.choice(_CUTS)(rng, text, start, end, snippets)[:200_000]
    return text


def _span(rng: random.Random, length: int) -> tuple[int, int]:
    start = rng.randrange(length + 1)
    return start, min(length, start + rng.choice((0, 1, 1, 2, 5, 20, 100)))


def _insert(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    return t[:start] + rng.choice(snippets) + t[start:]


def _replace(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    return t[:start] + rng.choice(snippets) + t[end:]


def _delete(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    return t[:start] + t[end:]


def _truncate(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    return t[:start]


def _repeat(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    return t[:start] + t[start:end] * rng.choice((2, 3, 10, 100, 1000)) + t[end:]


def _move(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    piece, left = t[start:end], t[:start] + t[end:]
    to = rng.randrange(len(left) + 1)
    return left[:to] + piece + left[to:]


def _swap_lines(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    lines = t.splitlines(keepends=True)
    if len(lines) < 2:
        return t
    i, k = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[k] = lines[k], lines[i]
    return t[:0].join(lines)


def _flip(rng: random.Random, t: Any, start: int, end: int, snippets: Sequence[Any]) -> Any:
    if start >= len(t):
        return t
    if isinstance(t, str):
        return t[:start] + chr(ord(t[start]) ^ (1 << rng.randrange(7))) + t[start + 1 :]
    return t[:start] + bytes([t[start] ^ (1 << rng.randrange(8))]) + t[start + 1 :]


_CUTS: tuple[Callable[..., Any], ...] = (
    _insert, _insert, _replace, _replace, _delete, _truncate, _repeat, _move, _swap_lines, _flip,
    _flip,
)  # fmt: skip

RAW = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r\n", b"\n", b"\x1b[2J", b"\xed\xa0\x80",
    b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\x80", b"\xff" * 8, b"\0" * 100, b"\x7f", b"\xe2\x80\xae",
)  # fmt: skip


def mutated_bytes(rng: random.Random, raw: bytes, snippets: Sequence[bytes] = RAW) -> bytes:
    """The same bytes with a few places of them wrong."""
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        start, end = _span(rng, len(raw))
        raw = rng.choice(_CUTS)(rng, raw, start, end, snippets)[:400_000]
    return raw


def as_json(value: Value) -> str:
    """JSON in ASCII, with NaN and Infinity as Python spells them; nothing is too deep for it."""
    try:
        return json.dumps(value)
    except RecursionError:  # deeper than Python can write: as deep as anything can be read
        return "[" * 100_000


def as_yaml(value: Value) -> str:
    """A value as YAML in flow style, which JSON nearly is: only odd numbers and escapes differ."""
    text = PAIR.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), json.dumps(value))
    for wrong, right in (("-Infinity", "-.inf"), ("Infinity", ".inf"), ("NaN", ".nan")):
        text = text.replace(wrong, right)
    return text
