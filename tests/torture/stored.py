"""What runs leave in files, attacked: signatures, run folders, outcomes, session files."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from shadowsim.rollback.signature import RollbackSignature, read_signature
from torture import seeds
from torture.mutate import NAMES, as_json, mutated_bytes, mutated_text, mutated_value, strange
from torture.watch import POLARS_BYTES, Broken, Target

KEY = bytes(range(32))
JSON = (
    "null", "true", "NaN", "-Infinity", "1e999", "9" * 5000, "[" * 300, "[" * 100_000,
    '{"a":' * 300,
    '"\\ud800"', '"\\u0000"', "{}", "[]", ",", ":", '"', "\\", "\n", "\0", "//", "'", *NAMES,
)  # fmt: skip


def _json_case(rng: random.Random, seed: str) -> bytes:
    kind = rng.random()
    if kind < 0.6:
        return as_json(mutated_value(rng, json.loads(seed), (seed,))).encode()
    if kind < 0.9:
        return mutated_text(rng, seed, JSON).encode("utf-8", "surrogatepass")
    return mutated_bytes(rng, seed.encode())


# ---- signatures


def signature(folder: Path) -> Target:
    """Sealed signatures that were altered: none is taken that says anything else."""
    seed = (seeds.run_folder(folder, KEY) / "signature.json").read_text(encoding="utf-8")
    true = RollbackSignature.model_validate_json(seed)
    path = folder / "signature.json"

    def attack(raw: bytes) -> None:
        path.write_bytes(raw)
        if read_signature(path, KEY) != true:
            raise Broken("an altered signature is taken")

    return Target(lambda rng: _json_case(rng, seed), attack)


def sealed(folder: Path) -> Target:
    """Strange signatures with a true seal: even those can be carried out, or are refused."""
    seed = (seeds.run_folder(folder, KEY) / "signature.json").read_text(encoding="utf-8")
    path = folder / "signature.json"

    def attack(raw: bytes) -> None:
        path.write_bytes(_sealed(raw))
        found = read_signature(path, KEY)
        for step in found.ordered():
            for command in (*step.commands, *step.reverts):
                str(command.value())
        if RollbackSignature.model_validate_json(found.model_dump_json()) != found:
            raise Broken("written and read again it is something else")

    return Target(lambda rng: _json_case(rng, seed), attack)


def _sealed(raw: bytes) -> bytes:
    try:
        return RollbackSignature.model_validate_json(raw).sealed(KEY).model_dump_json().encode()
    except Exception:  # what cannot be sealed is given to the reader as it is
        return raw


# ---- run folders


class _Tags(HTMLParser):
    """The tags and attributes of a page that could run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (value or "").strip().lower().startswith("javascript:"):
                self.found.append(f"{tag} {name}")


FILES = ("result.json", "journal.jsonl", "topology.json", "signature.json", "telemetry.parquet")


MARKUP = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</pre><script>", "'><b>")


def _hostile(rng: random.Random, text: str) -> bytes:
    """Values of JSON, a line or the whole file each, in whose texts there is markup."""

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: marked(one) for key, one in value.items()}
        if isinstance(value, list):
            return [marked(one) for one in value]
        # A text with a space is prose, and is shown; most others are one of a few words.
        chosen = isinstance(value, str) and rng.random() < (0.5 if " " in value else 0.03)
        return f"{value}{rng.choice(MARKUP)}" if chosen else value

    whole = text.lstrip().startswith("{\n")
    values = [json.loads(part) for part in ([text] if whole else text.splitlines())]
    return "\n".join(as_json(marked(value)) for value in values).encode()


def _folder_case(folder: Path) -> Callable[[random.Random], tuple[str, bytes | None]]:
    """Which file of a run says what instead; None: it is not there."""
    run = seeds.run_folder(folder, KEY)
    whole = folder / "whole"
    if whole.exists():  # a worker may have died over an altered folder
        shutil.rmtree(run)
        shutil.copytree(whole, run)
    else:
        shutil.copytree(run, whole)
    true = {name: (run / name).read_bytes() for name in FILES}

    def make(rng: random.Random) -> tuple[str, bytes | None]:
        name = rng.choice(FILES)
        kind = rng.random()
        if kind < 0.02:
            return name, None
        if kind < 0.04:
            return name, true[rng.choice(FILES)]
        if name == "telemetry.parquet":
            return name, mutated_bytes(rng, true[name])
        if kind < 0.3:
            return name, _hostile(rng, true[name].decode())
        if name != "journal.jsonl":
            return name, _json_case(rng, true[name].decode())
        lines = true[name].decode().splitlines()
        place = rng.randrange(len(lines))
        lines[place] = _json_case(rng, lines[place]).decode("utf-8", "surrogateescape")
        return name, "\n".join(lines).encode("utf-8", "surrogateescape")

    return make


def _folder_attack(
    folder: Path, read: Callable[[Path], None]
) -> Callable[[tuple[str, bytes | None]], None]:
    run = folder / "run"

    def attack(case: tuple[str, bytes | None]) -> None:
        name, raw = case
        path = run / name
        before = path.read_bytes()
        try:
            path.unlink()
            if raw is not None:
                path.write_bytes(raw)
            read(run)
        finally:
            path.write_bytes(before)

    return attack


def recorded(folder: Path) -> Target:
    """Run folders with one file altered, as `shadowsim report` reads and `serve` shows them."""
    from shadowsim.page.past import seen
    from shadowsim.report.recorded import read_folder

    def read(run: Path) -> None:
        found = read_folder(run)
        for at_s in (None, 0.0, found.events[len(found.events) // 2].at_s):
            json.dumps(seen(found, "run", at_s), allow_nan=False).encode()

    make = _folder_case(folder)
    return Target(make, _folder_attack(folder, read), memory_bytes=POLARS_BYTES)


def report(folder: Path) -> Target:
    """The same, drawn: the page runs nothing, whatever stands in the files."""
    from shadowsim.report import render

    def read(run: Path) -> None:
        page = render(run)
        if found := _Tags(page).found:
            raise Broken(f"the page has {', '.join(found[:5])}")

    make = _folder_case(folder)
    render(folder / "run")  # the first time takes fonts and time
    return Target(make, _folder_attack(folder, read), slow_s=10.0, memory_bytes=POLARS_BYTES)


# ---- outcomes

NOON = "2026-03-01T12:00:00+00:00"


def outcomes(folder: Path) -> Target:
    """Files of outcomes, their bytes and their documents altered, through to the tables."""
    from shadowsim.analytics import summary
    from shadowsim.outcomes import OutcomeStore

    run = seeds.run_folder(folder, KEY)
    document = json.loads((run / "result.json").read_text(encoding="utf-8"))
    place = folder / "seed.sqlite"
    with OutcomeStore(place) as store:
        for _ in range(3):
            store.add(document, NOON)
    with sqlite3.connect(place) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    whole, seed = place.read_bytes(), json.dumps(document)
    path = folder / "outcomes.sqlite"

    def make(rng: random.Random) -> tuple[str, Any]:
        if rng.random() < 0.4:
            return "file", mutated_bytes(rng, whole)
        if rng.random() < 0.2:
            return "document", as_json(strange(rng))
        return "document", as_json(mutated_value(rng, json.loads(seed), (seed,)))

    def attack(case: tuple[str, Any]) -> None:
        for left in folder.glob("outcomes.sqlite*"):
            left.unlink()
        kind, value = case
        path.write_bytes(value if kind == "file" else whole)
        if kind == "document":
            _slip_in(path, value)
        with OutcomeStore(path) as store:
            rows = store.read()
        json.dumps(summary(rows), ensure_ascii=False).encode()

    summary([])
    return Target(make, attack, memory_bytes=POLARS_BYTES)


def _slip_in(path: Path, document: str) -> None:
    """Put a document into the file behind the store's back, as far as SQLite itself lets one."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("UPDATE outcome SET document = ? WHERE id = 2", (document,))
    except sqlite3.Error:
        pass
    finally:
        connection.close()


def session(folder: Path) -> Target:
    """The file that says where a session is."""
    from shadowsim.api.client import Address, read_session

    path = folder / "shadow.json"
    seed = Address(40123, "t" * 43).text()

    def attack(raw: bytes) -> None:
        path.write_bytes(raw)
        found = read_session(path)
        if not found.url.startswith("http://127.0.0.1:") or not 0 < found.port < 65536:
            raise Broken("the token would go somewhere else")
        if not found.token.isprintable():
            raise Broken("the token would break a header")

    return Target(lambda rng: _json_case(rng, seed), attack)
