"""A few of the cases of every attack, and that the watch over them sees what it must see.

The attacks themselves are `make torture`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torture import fuzz as attack
from torture import watch
from torture.emulated import unlike
from torture.mutate import CANARY, as_yaml, mutated_bytes, mutated_text, mutated_value, strange
from torture.parsers import PARSERS
from torture.result import Wanted

ROOT = Path(__file__).parents[1]
CASES = 3_000


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Some cases of every parser, and what came of them."""
    pytest.importorskip("fastapi")  # for one of the parsers
    out = tmp_path_factory.mktemp("fuzz") / "found.json"
    # In a process of its own: the attack forks, and what other tests have loaded has threads.
    words = ["fuzz", "--cases", str(CASES), "--seed", "99", "--json", str(out)]
    argv = [sys.executable, str(ROOT / "tests" / "torture"), *words]
    subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=900, check=False)
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_takes_or_refuses_whatever_it_is_given(name: str, fuzzed: Any) -> None:
    counts = fuzzed["counts"][name]
    assert [one for one in fuzzed["failures"] if f"--only {name} " in one["line"]] == []
    assert (counts["failed"], fuzzed["finished"]) == (0, True)
    assert sum(counts.values()) == attack.shares(PARSERS, CASES)[name]


# ---- the attack itself: what it must notice


def attempt(parse: Callable[[Any], object], folder: Path) -> str:
    """One case of a parser that does this, in a process of its own; what is said of it."""

    def child(there: Any) -> None:
        os.chdir(folder)
        seen = watch.installed(folder)
        target = watch.Target(lambda rng: None, parse, slow_s=0.3)
        watch.bound_memory(target.memory_bytes)
        there.send(" ".join(watch.judged(target, None, seen)))

    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(there,))
    process.start()
    assert here.poll(30)
    said = str(here.recv())
    process.join()
    return said


def good(case: None) -> None:
    from shadowsim.errors import BadInput

    Path("inside").write_text("x")
    raise BadInput("no")


def writes_outside(case: None) -> None:
    Path("../outside").write_text("x")


def swallows(case: None) -> None:
    try:
        Path("/etc/passwd").read_text()
    except BaseException:
        return


def runs_something(case: None) -> None:
    os.system(f"touch {CANARY}")


def unpickles(case: None) -> None:
    import pickle

    pickle.loads(b"cos\nsystem\n(S'true'\ntR.")


def loops(case: None) -> None:
    while True:
        pass


def hoards(case: None) -> None:
    bytearray(1 << 30)


def nests(case: None) -> None:
    nests(case)


def says_nothing(case: None) -> None:
    from shadowsim.errors import BadInput

    raise BadInput("  ")


def leaves_a_canary(case: None) -> None:
    Path(CANARY).write_text("")


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (good, "refused no"),
        (writes_outside, "failed it did what it may not: open"),
        (swallows, "failed it did what it may not: open '/etc/passwd'"),
        (runs_something, "failed it did what it may not: os.system"),
        (unpickles, "failed it did what it may not: pickle.find_class"),
        (loops, "failed more than 0.3 s of CPU"),
        (hoards, "failed MemoryError"),
        (nests, "failed RecursionError"),
        (says_nothing, "failed BadInput without words"),
        (leaves_a_canary, "failed code was run"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_watch_sees_it(parse: Callable[[Any], object], said: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    assert attempt(parse, inner).startswith(said)
    assert not (tmp_path / "outside").exists()


def test_a_case_depends_on_nothing_but_its_name() -> None:
    def cases() -> list[Any]:
        found: list[Any] = []
        for number in range(50):
            rng = attack.rng_of(1, "x", number)
            value = {"a": [1, 2.5, "text"], "b": {"c": None}}
            found.append(as_yaml(mutated_value(rng, value)))
            found.append(mutated_text(rng, "a text\nof lines", ("x", "yy")))
            found.append(mutated_bytes(rng, b"some bytes"))
        return found

    assert cases() == cases()
    assert len(set(cases())) > 100


def test_strange_values_can_be_written() -> None:
    rng = random.Random(1)
    for _ in range(300):
        json.loads(json.dumps(strange(rng)))


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def run(cases: int, resume: bool = False) -> Any:
        wanted = Wanted(only="resp", cases=cases, seed=7, out=tmp_path / "x.json", resume=resume)
        attack.fuzz(wanted)
        return json.loads((tmp_path / "x.json").read_text())

    first, second, whole = run(200), run(500, resume=True), run(500)
    assert (first["done"], first["finished"], first["failed"]) == (200, True, 0)
    assert second["done"] == 500
    assert second["counts"] == whole["counts"] != first["counts"]


def test_a_case_is_made_again_by_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *attack.line_of(7, "resp", 3).split()[1:]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert "the case: b'" in done.stdout
    assert "1 cases with seed 7" in done.stdout


@pytest.mark.parametrize(
    ("state", "after", "wrong"),
    [
        ("rolled_back", {"A": "old", "B": "old"}, False),
        ("rolled_back", {"A": "new", "B": "old"}, True),
        ("rolled_back", {"A": "old", "B": "new"}, True),
        ("confirmed", {"A": "new", "B": "old"}, False),
        ("halted", {"A": "new", "B": "old"}, False),
        ("halted", {"A": "half", "B": "old"}, True),
        ("cancelled", {"A": "new", "B": "old"}, True),
    ],
)
def test_a_device_that_had_no_turn_is_to_be_as_before(
    state: str, after: dict[str, str], wrong: bool
) -> None:
    """The controller was dead when the first device had its turn, so B never had one."""
    before = {"A": "old", "B": "old"}
    planned = {"before": {"A": "old"}, "now": {"A": "new"}, "after": {"A": "old"}}
    assert bool(unlike(state, {"before": before, "after": after}, planned)) == wrong
