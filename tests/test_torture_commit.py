"""The attacks on the commit, with fewer cases than in CI: each must pass, and can fail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture import planted, plants
from torture import steps as attack
from torture.campaign import work_off
from torture.model import model
from torture.power import power
from torture.result import Wanted, Wrong
from torture.simulated_disk import DiskOf, SimulatedDisk
from torture.steps import first, firsts, pair, pairs, steps
from torture.system import system

from shadowsim.commit import generations


@pytest.mark.parametrize("number", range(10))
def test_faults_of_who_makes_it(number: int) -> None:
    """A twelfth of all that there are; the attack `steps` goes through all of them."""
    for case in range(number, len(firsts()) * 4, 120):
        first(1, case)


@pytest.mark.parametrize("part", ["devices", "races"])
def test_faults_beside_it(part: str) -> None:
    assert steps(Wanted(quick=True, only=part, cases=100, workers=1)).failed == 0


@pytest.fixture
def a_few_firsts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only some first faults, since all pairs take a while to be told apart."""
    few = tuple(random.Random(2).sample(firsts(), 25))
    known = (pairs, attack._first_of, attack._seconds_of)
    monkeypatch.setattr(attack, "firsts", lambda: few)
    for one in known:
        one.cache_clear()
    yield
    for one in known:
        one.cache_clear()


@pytest.mark.usefixtures("a_few_firsts")
def test_pairs_of_faults() -> None:
    numbers = pairs().numbers
    assert len(numbers) > 2_000
    for number in sorted(random.Random(1).sample(numbers, 100)):
        pair(1, number)


def test_losses_of_power() -> None:
    assert power(Wanted(cases=500, workers=1)).failed == 0


def test_a_whole_system() -> None:
    assert system(Wanted(cases=100, workers=1)).failed == 0


def test_programs_beside_a_model() -> None:
    assert model(Wanted(quick=True, cases=1, workers=1)).failed == 0


def test_an_attack_sees_a_bug_and_says_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generations.Place, "seal", lambda place, n: place.folder / f"{n}.SEAL")
    result = system(Wanted(cases=3, workers=1))
    assert result.failed == 3
    assert "python tests/torture system --seed 1 --only all --case 2" in capsys.readouterr().out
    again = system(Wanted(only="all", case=2))
    assert again.failed == 1


def test_a_campaign_goes_on_where_it_was_left(tmp_path: Path) -> None:
    seen: list[int] = []

    def case(seed: int, number: int) -> None:
        seen.append(number)
        if number == 3:
            raise Wrong("three")

    from torture.campaign import Part

    out = tmp_path / "r.json"
    work_off("x", Wanted(out=out, workers=1), {"p": Part(3, case)})
    wanted = Wanted(out=out, resume=True, workers=1)
    result = work_off("x", wanted, {"p": Part(5, case), "q": Part(1, case)})
    assert seen == [0, 1, 2, 0, 3, 4]
    assert (result.done, result.failed) == (6, 1)


def test_bugs_are_planted_where_they_can_be() -> None:
    """Each passage is there once; that each bug is seen is for the attack `planted`."""
    root = Path(generations.__file__).parent
    assert len(plants.PLANTS) >= 25
    for plant in plants.PLANTS:
        text = (root / plant.file).read_text(encoding="utf-8")
        assert text.count(plant.old) == 1, plant.what
        compile(text.replace(plant.old, plant.new), plant.file, "exec")


def test_a_planted_bug_is_sown_in_a_copy(tmp_path: Path) -> None:
    plant = plants.PLANTS[0]
    planted.sow(plant, tmp_path)
    there = (tmp_path / "shadowsim" / "commit" / plant.file).read_text(encoding="utf-8")
    assert plant.old not in there


# -- the simulated disk is no better than a real one -------------------------------------------


def survivors(any_names: bool = False) -> set[tuple[tuple[str, bytes | None], ...]]:
    found = set()
    for chance in range(400):
        disk = SimulatedDisk(any_names)
        mine = DiskOf(disk)
        mine.make_folder(Path("/f"))
        mine.create(Path("/f/a"), b"12")
        mine.sync(Path("/f/a"))
        mine.create(Path("/f/b"), b"")
        mine.sync(Path("/f/b"))
        disk.lose_power(random.Random(chance))
        found.add(tuple(sorted(disk.contents().items())))
    return found


def test_names_that_are_not_synced_may_go_in_order_or_in_any() -> None:
    folder: tuple[str, bytes | None] = ("/f", None)
    a, b = ("/f/a", b"12"), ("/f/b", b"")
    assert survivors() == {(folder,), (folder, a), (folder, a, b)}
    assert survivors(any_names=True) == survivors() | {(folder, b)}


def test_bytes_that_are_not_synced_may_be_lost_cut_or_zero() -> None:
    found = set()
    for chance in range(600):
        disk = SimulatedDisk()
        mine = DiskOf(disk)
        mine.create(Path("/a"), b"12")
        mine.sync(Path("/a"))
        mine.sync(Path("/"))
        mine.append(Path("/a"), b"345")
        disk.lose_power(random.Random(chance))
        found.add(mine.read(Path("/a")))
    whole = (b"12", b"123", b"1234", b"12345")
    assert found == {*whole, b"12\0", b"12\0\0", b"12\0\0\0"}


def test_later_sectors_may_be_there_without_earlier_ones() -> None:
    found = set()
    for chance in range(200):
        disk = SimulatedDisk()
        mine = DiskOf(disk)
        mine.create(Path("/a"), b"x" * 1024)
        mine.sync(Path("/"))
        disk.lose_power(random.Random(chance))
        found.add(mine.read(Path("/a")))
    assert bytes(512) + b"x" * 512 in found
    assert b"x" * 512 + bytes(512) in found


def test_after_a_failed_sync_a_later_one_makes_nothing_durable() -> None:
    kept = set()
    for chance in range(100):
        disk = SimulatedDisk()

        def fail(operation: str, path: str) -> None:
            if operation == "sync" and path == "/a":
                raise OSError(5, "injected")

        mine = DiskOf(disk)
        mine.create(Path("/a"), b"12")
        mine.sync(Path("/"))
        with pytest.raises(OSError):
            DiskOf(disk, before=fail).sync(Path("/a"))
        mine.sync(Path("/a"))
        disk.lose_power(random.Random(chance))
        kept.add(mine.read(Path("/a")))
    assert b"" in kept
