"""The confirmed commit: logs, generations, devices, terms, their owner and who takes over."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.faults import Kind, Striking
from torture.scene import (
    CHANGE,
    FOLDER,
    KEY,
    NEW_CONFIGS,
    OLD_CONFIGS,
    SIGNATURE,
    TERMS,
    Said,
    devices_on,
    make,
    never,
    place_on,
    take_back,
)
from torture.simulated_disk import Crash, DiskOf, SimulatedDisk

from shadowsim.commit import guardian
from shadowsim.commit.devices import FileDevices, Gone
from shadowsim.commit.disk import LARGEST_BYTES, RealDisk
from shadowsim.commit.generations import (
    CANCELLED,
    CONFIRMED,
    HALTED,
    ROLLED_BACK,
    TAKEN_OVER,
    Place,
    end,
    endings,
)
from shadowsim.commit.guardian import LATE, LOST, Watching, hear, wait_s
from shadowsim.commit.holder import holding
from shadowsim.commit.log import (
    LogAltered,
    LogBroken,
    LogWriter,
    Record,
    read_line,
    read_log,
    write_line,
)
from shadowsim.commit.owner import FIRST, Commit, NotSettled, claim
from shadowsim.commit.settle import GONE, NOTHING, OPEN, NotRestored, settle, standing
from shadowsim.commit.terms import MIXED, NEW, OLD, Terms, read_terms
from shadowsim.errors import BadInput, Fenced, MachineLacks, Unreachable
from shadowsim.model.change import Change, Configs, apply, apply_one, parse_config, parse_script
from shadowsim.model.config import DeviceConfig

LOG = Path("/a.log")


def written(*kinds: str) -> SimulatedDisk:
    disk = SimulatedDisk()
    writer = LogWriter(DiskOf(disk), LOG, KEY, "head")
    for number, kind in enumerate(kinds):
        writer.append(kind, number=number)
    return disk


def bytes_of(disk: SimulatedDisk, path: Path) -> bytearray:
    return disk.file(str(path)).data


# -- logs --------------------------------------------------------------------------------------


def test_what_is_written_is_read() -> None:
    log = read_log(DiskOf(written("one", "two")), LOG, KEY, "head")
    assert log.records == (Record("one", {"number": 0}), Record("two", {"number": 1}))
    assert len(log.heads) == 3
    assert log.heads[0] == "head"
    assert not log.torn


def test_a_log_that_is_not_there_has_no_records() -> None:
    log = read_log(DiskOf(SimulatedDisk()), LOG, KEY, "head")
    assert (log.records, log.heads, log.torn) == ((), ("head",), False)


def test_a_log_is_not_written_by_two() -> None:
    with pytest.raises(FileExistsError):
        LogWriter(DiskOf(written()), LOG, KEY, "head")


def test_no_byte_of_a_log_can_be_altered() -> None:
    """Every bit of every byte: what is read is refused, or has lost its last record at most."""
    disk = written("one", "two", "three")
    whole = read_log(DiskOf(disk), LOG, KEY, "head").records
    data = bytes_of(disk, LOG)
    last = data[:-1].rfind(b"\n") + 1
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            try:
                found = read_log(DiskOf(disk), LOG, KEY, "head")
            except LogAltered:
                pass
            else:
                assert found.torn
                assert place >= last
                assert found.records == whole[:2]
            data[place] ^= 1 << bit


def test_a_log_cut_anywhere_has_its_whole_lines() -> None:
    disk = written("one", "two", "three")
    whole = bytes(bytes_of(disk, LOG))
    for length in range(len(whole)):
        bytes_of(disk, LOG)[:] = whole[:length]
        found = read_log(DiskOf(disk), LOG, KEY, "head")
        assert len(found.records) == whole[:length].count(b"\n")
        assert found.torn == (length > 0 and whole[length - 1] != ord("\n"))


@pytest.mark.parametrize("first, count", [(0, 40), (100, 60), (130, 200)])
def test_a_last_line_with_a_missing_block_is_torn(first: int, count: int) -> None:
    disk = written("one", "x" * 300)
    data = bytes_of(disk, LOG)
    start = data.find(b"\n") + 1
    data[start + first : start + first + count] = bytes(count)
    found = read_log(DiskOf(disk), LOG, KEY, "head")
    assert found.torn
    assert [r.kind for r in found.records] == ["one"]


def test_a_missing_block_before_the_end_is_no_crash() -> None:
    disk = written("one", "two")
    bytes_of(disk, LOG)[10:20] = bytes(10)
    with pytest.raises(LogAltered, match=r"a.log:1"):
        read_log(DiskOf(disk), LOG, KEY, "head")
    disk = written("one")
    bytes_of(disk, LOG)[10:20] = bytes(10)
    bytes_of(disk, LOG).extend(b"more")
    with pytest.raises(LogAltered):
        read_log(DiskOf(disk), LOG, KEY, "head")


def test_lines_can_be_neither_exchanged_nor_left_out_nor_brought_from_elsewhere() -> None:
    disk = written("one", "two", "three")
    lines = bytes(bytes_of(disk, LOG)).splitlines(keepends=True)
    for wrong in ([1, 0, 2], [0, 2], [1, 2], [0, 0, 1], [0, 1, 2, 2]):
        bytes_of(disk, LOG)[:] = b"".join(lines[n] for n in wrong)
        with pytest.raises(LogAltered):
            read_log(DiskOf(disk), LOG, KEY, "head")
    bytes_of(disk, LOG)[:] = b"".join(lines)
    for key, head in ((KEY, "another"), (b"another", "head")):
        with pytest.raises(LogAltered):
            read_log(DiskOf(disk), LOG, key, head)


@settings(deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.text())
def test_a_line_is_read_as_it_was_written(kind: str, data: dict[str, Any], head: str) -> None:
    head = head.encode("utf-8", "replace").decode()
    mac, line = write_line(Record(kind, data), KEY, head)
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    assert read_line(line[:-1], KEY, head) == (mac, Record(kind, data))
    assert read_line(line[:-2], KEY, head) is None


def struck(kind: Kind, at: int, disk: SimulatedDisk) -> DiskOf:
    striking = Striking(at, kind, never)
    return DiskOf(disk, striking.before, striking.after)


@pytest.mark.parametrize(
    "kind", [Kind("EIO", "half"), Kind("EIO", "after"), Kind("ENOSPC", "half")]
)
@pytest.mark.parametrize("at", [2, 3])
def test_a_log_takes_nothing_after_a_failure(kind: Kind, at: int) -> None:
    """Nor can it pretend later that the record was there: a sync after a failed one succeeds."""
    disk = SimulatedDisk()
    if at == 3:
        kind = Kind(kind.what, "before")
    writer = LogWriter(struck(kind, at, disk), LOG, KEY, "head")
    with pytest.raises(LogBroken, match="injected"):
        writer.append("one")
    before = disk.contents()
    with pytest.raises(LogBroken, match="no more records"):
        writer.append("two")
    assert disk.contents() == before


@pytest.mark.parametrize("at, when", [(2, "half"), (2, "after"), (3, "before"), (3, "after")])
def test_a_log_takes_nothing_after_an_interruption(at: int, when: str) -> None:
    disk = SimulatedDisk()
    writer = LogWriter(struck(Kind("interrupt", when), at, disk), LOG, KEY, "head")
    with pytest.raises(KeyboardInterrupt):
        writer.append("one")
    with pytest.raises(LogBroken):
        writer.append("two")
    assert len(read_log(DiskOf(disk), LOG, KEY, "head").records) <= 1


def test_a_record_is_durable_when_it_is_said_to_be() -> None:
    for chance in range(50):
        disk = written("one", "two")
        disk.lose_power(random.Random(chance))
        assert len(read_log(DiskOf(disk), LOG, KEY, "head").records) == 2


# -- generations -------------------------------------------------------------------------------


def opened() -> tuple[SimulatedDisk, Place, Commit]:
    """A commit that is open, with production as before."""
    disk = SimulatedDisk()
    place = place_on(DiskOf(disk))
    claim(place)
    devices_on(place.disk).fill(OLD_CONFIGS, FIRST)
    return disk, place, Commit(place, TERMS)


def test_of_several_one_ends_a_generation_and_all_read_the_same() -> None:
    _, place, _ = opened()
    first, mine = end(place, 1, TAKEN_OVER, "a")
    assert mine
    assert end(place, 1, CONFIRMED, "b") == (first, False)
    assert end(place, 1, TAKEN_OVER, "a") == (first, False)  # equal words are not one's own
    second, mine = end(place, 2, ROLLED_BACK, "c")
    assert mine
    assert endings(place) == (first, second)
    assert not [n for n in place.disk.names(FOLDER) if n.startswith(".")]


def test_an_ending_is_durable_for_whoever_made_it_or_lost_the_race_or_reads_it() -> None:
    def made(place: Place) -> None:
        end(place, 1, CONFIRMED, "")

    def died(place: Place) -> None:
        disk: Any = place.disk
        striking = Striking(2, Kind("kill", "after"), never)  # right after the link
        with pytest.raises(Crash):
            made(place_on(DiskOf(disk.disk, striking.before, striking.after)))

    def lost(place: Place) -> None:
        died(place)
        end(place, 1, CANCELLED, "")

    def followed(place: Place) -> None:
        died(place)
        assert endings(place)

    for doing in (made, lost, followed):
        for chance in range(20):
            disk, place, _ = opened()
            doing(place)
            disk.lose_power(random.Random(chance))
            assert [e.state for e in endings(place)] == [CONFIRMED], doing


def test_seals_that_nobody_made_are_refused() -> None:
    disk, place, _ = opened()
    end(place, 1, TAKEN_OVER, "")
    end(place, 2, ROLLED_BACK, "")
    seal = bytes(bytes_of(disk, place.seal(1)))
    for wrong in (b"", seal[:-1], seal + b"\n", seal + seal, b"x" + seal[1:], bytes(len(seal))):
        bytes_of(disk, place.seal(1))[:] = wrong
        with pytest.raises(LogAltered, match=r"1\.seal"):
            endings(place)
    bytes_of(disk, place.seal(1))[:] = bytes_of(disk, place.seal(2))
    with pytest.raises(LogAltered, match=r"1\.seal"):  # that of another generation
        endings(place)
    unknown = write_line(Record("won", {"why": "", "by": ""}), KEY, "seal 1")[1]
    bytes_of(disk, place.seal(1))[:] = unknown
    with pytest.raises(LogAltered, match=r"1\.seal"):
        endings(place)
    bytes_of(disk, place.seal(1))[:] = seal
    assert len(endings(place)) == 2


@pytest.mark.parametrize("extra", ["3.seal", "x.seal", "0.seal"])
def test_seals_that_follow_nothing_are_refused(extra: str) -> None:
    _, place, _ = opened()
    end(place, 1, TAKEN_OVER, "")
    place.disk.create(FOLDER / extra, b"")
    with pytest.raises(LogAltered, match=extra):
        endings(place)


def test_a_seal_and_a_log_of_another_commit_do_not_fit() -> None:
    disk, place, _ = opened()
    end(place, FIRST, CONFIRMED, "")
    elsewhere = Place(place.disk, place.folder.with_name("another"), KEY)
    elsewhere.disk.make_folder(elsewhere.folder)
    for path in (place.seal(FIRST), place.log(FIRST)):
        elsewhere.disk.create(elsewhere.folder / path.name, bytes(bytes_of(disk, path)))
    with pytest.raises(LogAltered, match=r"1\.seal: altered"):
        endings(elsewhere)
    with pytest.raises(LogAltered, match=r"1\.log:1: altered"):
        read_log(elsewhere.disk, elsewhere.log(FIRST), KEY, elsewhere.head("log", FIRST))


def test_nothing_follows_what_has_ended() -> None:
    _, place, _ = opened()
    end(place, 1, CONFIRMED, "")
    end(place, 2, TAKEN_OVER, "")
    with pytest.raises(LogAltered, match=r"2\.seal"):
        endings(place)


# -- the owner ---------------------------------------------------------------------------------


def test_a_folder_is_claimed_once() -> None:
    _, place, _ = opened()
    with pytest.raises(NotSettled, match="--resume"):
        claim(place)


def test_of_two_that_claim_at_the_same_time_one_does() -> None:
    disk = SimulatedDisk()
    place = place_on(DiskOf(disk))

    def other(operation: str, path: str) -> None:
        if operation == "names":
            claim(place)

    with pytest.raises(NotSettled):
        claim(place_on(DiskOf(disk, after=other)))


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [(errno.EPERM, MachineLacks, "no hard links"), (errno.ENOSYS, MachineLacks, "no hard links"),
     (errno.EIO, OSError, "as it is")],
)  # fmt: skip
def test_what_could_not_be_ended_is_not_begun(
    number: int, error: type[Exception], words: str
) -> None:
    disk = SimulatedDisk()

    def none(operation: str, path: str) -> None:
        if operation == "link":
            raise OSError(number, "as it is")

    place = place_on(DiskOf(disk, none))
    with pytest.raises(error, match=words):
        claim(place)
    assert "claimed" not in place.disk.names(place.folder)


def test_what_a_commit_opens_with_is_what_it_is_about() -> None:
    _, place, _ = opened()
    now = standing(place, lambda terms: devices_on(place.disk))
    assert now.terms == TERMS
    assert (now.state, now.position, now.generation, now.settled) == (OPEN, OLD, 1, False)


@pytest.mark.parametrize("kind", [Kind("EIO", "before"), Kind("interrupt", "before")])
def test_one_that_could_not_be_opened_is_cancelled(kind: Kind) -> None:
    disk = SimulatedDisk()
    claim(place_on(DiskOf(disk)))
    with pytest.raises((LogBroken, KeyboardInterrupt)):
        Commit(place_on(struck(kind, 3, disk)), TERMS)
    now = take_back(DiskOf(disk))
    assert (now.state, now.why) == (CANCELLED, "it could not be opened")
    disk.lose_power(random.Random(1))
    assert take_back(DiskOf(disk)).state == CANCELLED


def test_one_that_can_neither_be_opened_nor_cancelled_says_why_it_was_not_opened() -> None:
    disk = SimulatedDisk()
    claim(place_on(DiskOf(disk)))

    def full(operation: str, path: str) -> None:
        if operation == "append" or path.rpartition("/")[2].startswith(".1."):
            raise OSError(28, "no space")

    with pytest.raises(LogBroken, match="'open' was not written: no space"):
        Commit(place_on(DiskOf(disk, before=full)), TERMS)
    assert take_back(DiskOf(disk)).state == NOTHING


def test_who_was_overtaken_is_told_at_every_step() -> None:
    disk, place, commit = opened()
    take_back(DiskOf(disk))
    before = disk.contents()
    with pytest.raises(Fenced, match="taken over from this process: attacked"):
        commit.intend("deploy", "A", ["..."])
    with pytest.raises(Fenced):
        commit.end(CONFIRMED)
    assert disk.contents() == before
    with pytest.raises(Fenced):
        commit.write(devices_on(place.disk), NEW_CONFIGS["A"])
    assert take_back(DiskOf(disk)).position == OLD


def test_who_is_overtaken_while_it_confirms_is_told() -> None:
    disk, place, commit = opened()

    def other(operation: str, path: str) -> None:
        if operation == "link":
            end(place, 1, TAKEN_OVER, "just now")

    slow = Commit.__new__(Commit)
    slow.__dict__ |= commit.__dict__ | {"place": place_on(DiskOf(disk, before=other))}
    with pytest.raises(Fenced, match="just now"):
        slow.end(CONFIRMED)


def test_who_has_ended_a_commit_does_not_go_on() -> None:
    _, _, commit = opened()
    commit.end(CONFIRMED)
    with pytest.raises(Fenced, match="had ended already: confirmed"):
        commit.intend("deploy", "A", [])


def test_after_a_failed_write_only_others_can_end_it() -> None:
    disk, _, commit = opened()
    failing = devices_on(struck(Kind("EIO", "after"), 3, disk))  # it was renamed, and then failed
    with pytest.raises(OSError):
        commit.write(failing, NEW_CONFIGS["A"])
    for state in (CONFIRMED, ROLLED_BACK):
        with pytest.raises(LogBroken, match="what A runs is unknown"):
            commit.end(state)
    with pytest.raises(LogBroken):
        commit.intend("deploy", "B", [])
    assert devices_on(DiskOf(disk)).read()["A"] == NEW_CONFIGS["A"]
    assert take_back(DiskOf(disk)).position == OLD


# -- devices -----------------------------------------------------------------------------------


def test_devices_keep_what_is_written() -> None:
    _, place, _ = opened()
    devices = devices_on(place.disk)
    devices.prepare()
    assert devices.read() == OLD_CONFIGS
    devices.write(NEW_CONFIGS["A"], FIRST)
    assert devices.read() == {**OLD_CONFIGS, "A": NEW_CONFIGS["A"]}
    assert devices.verify(OLD_CONFIGS) == ("config of A is not what the plan leads to",)
    gone = parse_config("hostname D\n")
    assert devices.verify({"D": gone}) == ("config of D is not what the plan leads to",)
    devices.close()


@pytest.mark.parametrize("at", range(6))
def test_whatever_a_stale_write_does_the_fence_decides(at: int) -> None:
    """Fenced before any operation of a write: it is refused, or in force before the fence."""
    disk, place, _ = opened()
    devices = devices_on(place.disk)
    seen: list[Configs] = []

    def fence() -> None:
        devices.fence(2)
        seen.append(devices.read())

    striking = Striking(at, Kind("hang", "before"), fence)
    with pytest.raises(Fenced):
        devices_on(DiskOf(disk, striking.before)).write(NEW_CONFIGS["A"], 1)
    assert devices.read() == seen[0]
    devices.fence(2)
    devices.write(NEW_CONFIGS["B"], 2)
    assert devices.read()["B"] == NEW_CONFIGS["B"]


@pytest.mark.parametrize("at", range(17))
def test_a_stale_write_in_the_middle_of_a_fence_is_seen_or_does_not_count(at: int) -> None:
    disk, place, _ = opened()
    stale = devices_on(place.disk)
    refused = []

    def write() -> None:
        try:
            stale.write(NEW_CONFIGS["B"], 1)
        except Fenced:
            refused.append(True)

    striking = Striking(at, Kind("hang", "before"), write)
    devices_on(DiskOf(disk, striking.before)).fence(2)
    assert striking.count >= at
    found = devices_on(place.disk).read()["B"]
    assert found == (OLD_CONFIGS if refused and found == OLD_CONFIGS["B"] else NEW_CONFIGS)["B"]
    with pytest.raises(Fenced):
        stale.write(NEW_CONFIGS["C"], 1)
    assert devices_on(place.disk).read()["C"] == OLD_CONFIGS["C"]


def test_names_of_devices_may_hold_anything_and_strange_files_are_no_devices() -> None:
    disk = SimulatedDisk()
    devices = FileDevices(DiskOf(disk), Path("/d"))
    DiskOf(disk).make_folder(Path("/d"))
    names = ("a@1", "@", "ä/..", "%40", ".")
    for name in names:
        devices.write(DeviceConfig(name, {}), 1)
    for other in ("a@x", "A", "b@01", "b@²", "b@-1", "b@", "@draft.x", "b@1~"):
        DiskOf(disk).create(Path("/d") / other, b"\xff")
    assert set(devices.read()) == set(names)


@pytest.mark.parametrize("text", [b"\xff", b"", b"hostname B\n", b"hostname A\nnonsense\n"])
def test_a_device_whose_config_is_none_is_named(text: bytes) -> None:
    disk, place, _ = opened()
    bytes_of(disk, FOLDER / "devices" / "A@1")[:] = text
    with pytest.raises(BadInput, match="A@1"):
        devices_on(place.disk).read()


# -- terms -------------------------------------------------------------------------------------


def test_terms_are_read_as_they_were_written() -> None:
    assert read_terms(Record("open", TERMS.data()), KEY) == TERMS


@pytest.mark.parametrize("name", sorted(TERMS.data().keys() - {"commit"}))
@pytest.mark.parametrize("value", [None, 5, "x", {"A": 5}, [1]])
def test_terms_that_are_none_are_refused_in_words(name: str, value: object) -> None:
    if name == "reach" or (name == "summary" and value == "x"):
        return
    data = {**TERMS.data(), name: value}
    if name == "summary":
        data.pop(name)
    with pytest.raises(LogAltered, match="cannot be used"):
        read_terms(Record("open", data), KEY)


def test_a_rollback_that_was_not_sealed_here_is_refused() -> None:
    with pytest.raises(LogAltered, match="seal does not fit"):
        read_terms(Record("open", TERMS.data()), b"another")


def test_positions() -> None:
    mixed = {**OLD_CONFIGS, "C": NEW_CONFIGS["C"]}
    other = parse_config("hostname D\n")
    assert TERMS.position(OLD_CONFIGS) == OLD
    assert TERMS.position({**NEW_CONFIGS, "D": other}) == NEW
    assert TERMS.position(mixed) == MIXED
    assert TERMS.position({"A": OLD_CONFIGS["A"]}) == MIXED  # what is not known is not old


def test_what_is_set_in_passing_is_neither_old_nor_new() -> None:
    """A port of A is shut from the first command to the last, a list of B is empty for a while."""
    for name, script in {
        "A": "interface to-B\n shutdown\n",
        "B": "no ip access-list extended M\nip access-list extended M\n",
    }.items():
        for configs in (OLD_CONFIGS, NEW_CONFIGS):
            passing = apply(configs, parse_script(f"device {name}\n{script}"))
            assert TERMS.position(passing) == MIXED
            assert TERMS.target(passing) == OLD_CONFIGS
            kept = TERMS.target({**passing, "A": apply_one(passing["A"], MORE[:1])})
            assert kept == {**OLD_CONFIGS, "A": apply_one(OLD_CONFIGS["A"], MORE[:1])}


def test_a_run_that_dies_after_any_command_leaves_nothing_that_was_set_in_passing() -> None:
    for count in range(len(CHANGE.commands) + 1):
        disk, place, _ = opened()
        for config in apply(OLD_CONFIGS, CHANGE.commands[:count]).values():
            devices_on(place.disk).write(config, FIRST)
        assert take_back(DiskOf(disk)).position == OLD
        assert devices_on(place.disk).read() == OLD_CONFIGS


MORE = parse_script("device A\ntable-size 7\ndevice B\ntable-size 8\n")


@settings(deadline=None)
@given(st.sets(st.integers(0, len(CHANGE.commands) - 1)), st.booleans())
def test_taking_back_leads_to_old_from_anywhere_and_keeps_what_others_have_set(
    which: set[int], others: bool
) -> None:
    """Any part of the change may be in force, and others may have set more meanwhile."""
    disk, place, _ = opened()
    begun = [CHANGE.commands[n] for n in sorted(which)]
    now = apply(OLD_CONFIGS, [*begun, *(MORE if others else ())])
    for config in now.values():
        devices_on(place.disk).write(config, FIRST)
    found = take_back(DiskOf(disk))
    assert (found.state, found.position) == (ROLLED_BACK, OLD)
    assert devices_on(place.disk).read() == apply(OLD_CONFIGS, MORE if others else ())


# -- taking over -------------------------------------------------------------------------------


def confirmed() -> SimulatedDisk:
    disk = SimulatedDisk()
    make(DiskOf(disk), Said())
    return disk


def test_what_has_ended_is_left_alone() -> None:
    disk = confirmed()
    seen: set[str] = set()
    now = take_back(DiskOf(disk, lambda operation, path: seen.add(operation)))
    assert (now.state, now.position, now.generation) == (CONFIRMED, NEW, 1)
    assert seen == {"read", "names", "sync"}


def test_what_was_never_begun_needs_nothing() -> None:
    disk = SimulatedDisk()
    now = take_back(DiskOf(disk))
    assert (now.state, now.position, now.terms) == (NOTHING, "", None)
    assert disk.contents() == {}
    claim(place_on(DiskOf(disk)))
    assert take_back(DiskOf(disk)).settled


def half_way(at: int = 52) -> SimulatedDisk:
    disk = SimulatedDisk()
    with pytest.raises(Crash):
        make(struck(Kind("kill", "before"), at, disk), Said())
    return disk


def test_it_is_written_down_what_is_done_before_it_is() -> None:
    disk = half_way()
    seen: list[tuple[str, str]] = []

    def look(operation: str, path: str) -> None:
        seen.append((operation, path.rpartition("/")[2]))

    now = take_back(DiskOf(disk, before=look))
    kinds = [record.kind for record in now.log.records]
    assert kinds[0] == "took over"
    assert kinds[-1] == "verified"
    assert set(kinds[1:-1]) == {"intend", "did"}
    writes = [n for n, (operation, name) in enumerate(seen) if operation == "rename"]
    synced = [
        n for n, (operation, name) in enumerate(seen) if (operation, name) == ("sync", "2.log")
    ]
    fenced = next(n for n, (_, name) in enumerate(seen) if name.startswith("@fence.2"))
    assert synced[0] < fenced < writes[0]
    whats = [r.data["what"] for r in now.log.records if r.kind == "intend"]
    steps = [step.id for step in SIGNATURE.ordered() if step.id in whats]
    assert steps
    assert whats == [*steps, "rest of A", "rest of B"]  # what was set in passing is in no step


def test_the_armed_steps_are_gone_through_in_their_order() -> None:
    """Wherever the run has died: those that have something to take back there."""
    order = [step.id for step in SIGNATURE.ordered()]
    most: list[str] = []
    for at in range(40, 1_000, 3):
        disk = SimulatedDisk()
        try:
            make(struck(Kind("kill", "before"), at, disk), Said())
        except Crash:
            now = take_back(DiskOf(disk))
            whats = [r.data["what"] for r in now.log.records if r.kind == "intend"]
            steps = [what for what in whats if what in order]
            assert steps == [one for one in order if one in steps]
            assert whats[: len(steps)] == steps  # what they leave comes after them
            most = max(most, steps, key=len)
        else:
            break
    assert most == order


def test_who_takes_over_needs_only_what_it_has_written_itself() -> None:
    disk = half_way()
    with pytest.raises(Crash):
        take_back(struck(Kind("kill", "before"), 30, disk))
    bytes_of(disk, FOLDER / "1.log")[:] = b"something else\n"
    assert take_back(DiskOf(disk)).position == OLD


def test_terms_that_are_gone_are_no_reason_to_say_that_nothing_was_begun() -> None:
    disk = confirmed()
    bytes_of(disk, FOLDER / "1.log")[:] = b""
    with pytest.raises(LogAltered, match=r"1\.log: what the commit opened with is gone"):
        take_back(DiskOf(disk))


def test_terms_that_were_followed_do_not_vanish() -> None:
    """Who wrote them died before they were durable, who followed them right after the seal."""
    for chance in range(20):
        disk = SimulatedDisk()
        claim(place_on(DiskOf(disk)))
        with pytest.raises(Crash):
            Commit(place_on(struck(Kind("kill", "before"), 3, disk)), TERMS)

        def die(operation: str, path: str) -> None:
            if operation == "create" and path.endswith("2.log"):
                raise Crash

        with pytest.raises(Crash):
            take_back(DiskOf(disk, before=die), never, Unwell(DiskOf(SimulatedDisk())))
        disk.lose_power(random.Random(chance))
        now = standing(place_on(DiskOf(disk)), lambda terms: Unwell(DiskOf(SimulatedDisk())))
        assert (now.state, now.terms) == (OPEN, TERMS)


def test_a_log_that_begins_otherwise_is_refused() -> None:
    disk, place, _ = opened()
    line = write_line(Record("did", {}), KEY, place.head("log", FIRST))[1]
    bytes_of(disk, place.log(FIRST))[:] = line
    with pytest.raises(LogAltered, match="does not begin as a log does"):
        take_back(DiskOf(disk))


@pytest.mark.parametrize("operation, number", [("link", 1), ("link", 2)])
def test_who_loses_the_race_stops(operation: str, number: int) -> None:
    """Somebody else takes it over right before this process ends a generation."""
    disk = half_way()
    count = 0

    def other(seen: str, path: str) -> None:
        nonlocal count
        count += seen == operation
        if seen == operation and count == number:
            end(place_on(DiskOf(disk)), number, TAKEN_OVER, "faster")

    before = dict(devices_on(DiskOf(disk)).read())
    with pytest.raises(Fenced, match="faster"):
        take_back(DiskOf(disk, before=other))
    if number == 1:
        assert devices_on(DiskOf(disk)).read() == before
    assert take_back(DiskOf(disk)).position == OLD


def test_who_finds_it_confirmed_at_the_last_moment_leaves_it_alone() -> None:
    disk, place, commit = opened()
    for config in NEW_CONFIGS.values():
        commit.write(devices_on(place.disk), config)

    def other(operation: str, path: str) -> None:
        if operation == "link":
            end(place, 1, CONFIRMED, "")

    now = take_back(DiskOf(disk, before=other))
    assert (now.state, now.position, now.generation) == (CONFIRMED, NEW, 1)
    assert devices_on(place.disk).read() == NEW_CONFIGS


class Unwell(FileDevices):
    """Devices that have something the matter."""

    def __init__(self, disk: DiskOf) -> None:
        super().__init__(disk, FOLDER / "devices")
        self.silent: set[str] = set()
        self.deaf: set[str] = set()
        self.failed: tuple[str, ...] = ()
        self.gone = False

    def read(self) -> Configs:
        if self.gone:
            raise Gone("production is gone")
        return {name: c for name, c in super().read().items() if name not in self.silent}

    def write(self, config: DeviceConfig, generation: int) -> None:
        if config.hostname in self.deaf:
            raise Unreachable(f"{config.hostname} does not answer")
        super().write(config, generation)

    def verify(self, configs: Configs) -> tuple[str, ...]:
        return self.failed + super().verify(configs)


@pytest.fixture
def unwell() -> Iterator[tuple[SimulatedDisk, Unwell]]:
    disk = half_way(77)
    yield disk, Unwell(DiskOf(disk))


def test_a_device_that_cannot_be_read_or_written_is_named(unwell: Any) -> None:
    disk, devices = unwell
    devices.deaf = {"B"}
    with pytest.raises(NotRestored, match=r"B does not answer: .* was not taken back"):
        take_back(DiskOf(disk), never, devices)
    devices.deaf, devices.silent = set(), {"A"}
    with pytest.raises(NotRestored, match="A does not answer"):
        take_back(DiskOf(disk), never, devices)
    devices.silent = set()
    devices.failed = ("a flow of C is missing",)
    with pytest.raises(NotRestored, match="a flow of C is missing"):
        take_back(DiskOf(disk), never, devices)
    now = standing(place_on(DiskOf(disk)), lambda terms: devices)
    assert now.log.records[-1] == Record("verified", {"failed": ["a flow of C is missing"]})
    assert not now.settled
    devices.failed = ()
    assert take_back(DiskOf(disk), never, devices).state == ROLLED_BACK


def test_configs_that_are_back_already_are_brought_into_force() -> None:
    """Who wrote them died before they were: nothing is left to write, and all is to be done."""
    disk, _, _ = opened()
    told: list[int] = []

    class Behind(Unwell):
        def verify(self, configs: Configs) -> tuple[str, ...]:
            return super().verify(configs) if told else ("the rules of A are not its config's",)

        def enforce(self, generation: int) -> None:
            told.append(generation)

    assert take_back(DiskOf(disk), never, Behind(DiskOf(disk))).state == ROLLED_BACK
    assert told == [2]


def test_a_device_that_was_never_wrong_must_answer_too() -> None:
    """Else nobody has seen that it has its old config."""
    disk, _, _ = opened()
    devices = Unwell(DiskOf(disk))
    seen = [0]

    class Later(Unwell):
        def read(self) -> Configs:
            seen[0] += 1
            self.silent = {"C"} if seen[0] > 5 else set()  # after its step
            return super().read()

    with pytest.raises(NotRestored, match=r"^C does not answer$"):
        take_back(DiskOf(disk), never, Later(DiskOf(disk)))
    assert take_back(DiskOf(disk), never, devices).state == ROLLED_BACK


def test_devices_that_answer_again_are_restored(unwell: Any) -> None:
    disk, devices = unwell
    devices.deaf, devices.silent = {"A"}, {"B"}
    devices.failed = ("a flow of C is missing",)
    waits = iter(range(100))

    def wait() -> bool:
        count = next(waits)
        if count == 3:
            devices.silent = set()
        if count == 6:
            devices.deaf = set()
        if count == 9:
            devices.failed = ()
        return count < 12

    now = take_back(DiskOf(disk), wait, devices)
    assert (now.state, now.position) == (ROLLED_BACK, OLD)


def test_what_the_armed_steps_leave_is_taken_back_too() -> None:
    """Steps that were planned for less than what is there now."""
    disk = SimulatedDisk()
    place = place_on(DiskOf(disk))
    claim(place)
    devices_on(place.disk).fill(NEW_CONFIGS, FIRST)
    less = SIGNATURE.model_copy(update={"steps": (), "order": ()}).sealed(KEY)
    Commit(place, Terms(CHANGE, OLD_CONFIGS, less.armed(), TERMS.reach))
    now = take_back(DiskOf(disk))
    assert (now.state, now.position) == (ROLLED_BACK, OLD)
    done = [r.data["what"] for r in now.log.records if r.kind == "did"]
    assert done == ["rest of A", "rest of B", "rest of C"]
    assert devices_on(place.disk).read() == OLD_CONFIGS


def test_a_production_that_is_gone_is_given_up(unwell: Any) -> None:
    disk, devices = unwell
    devices.gone = True
    now = settle(place_on(DiskOf(disk)), lambda terms: devices, "why", never)
    assert (now.state, now.position) == (HALTED, GONE)
    assert "gone" in now.why


# -- the guardian ------------------------------------------------------------------------------


def test_a_guardian_hears_its_deadline_and_the_end() -> None:
    now = hear(Watching(), b"until 5.5\nuntil 7")
    assert (now.until_s, now.why, now.rest) == (5.5, "", b"until 7")
    now = hear(now, b".25\n")
    assert (now.until_s, now.why, now.rest) == (7.25, "", b"")
    assert (wait_s(now, 5.0), wait_s(now, 9.0), wait_s(Watching(), 9.0)) == (2.25, 0.0, None)
    now = hear(now, b"")
    assert (now.until_s, now.why) == (7.25, LOST)


@pytest.mark.parametrize(
    "said", [b"unti 5\n", b"until\n", b"until x\n", b"\n", b"until 5\nhello\n", b"x" * 5000,
             b"until nan\n", b"until inf\n", b"until -inf\n", b"until 1e300\n"],
)  # fmt: skip
def test_who_talks_nonsense_is_not_well(said: bytes) -> None:
    assert hear(Watching(3.0), said).why == LOST


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e8), min_size=1), st.integers(0, 2**32))
def test_however_messages_are_cut_the_last_deadline_counts(untils: list[float], cut: int) -> None:
    rng = random.Random(cut)
    data = b"".join(b"until %.6f\n" % until for until in untils)
    now = Watching()
    while data:
        size = rng.randint(1, 30)
        now, data = hear(now, data[:size]), data[size:]
    assert (now.until_s, now.why) == (float("%.6f" % untils[-1]), "")  # noqa: UP031


def test_a_guardian_listens_until_there_is_reason_to_act() -> None:
    inbox, outbox = os.pipe()
    armed: list[bool] = []
    clock = iter([0.0, 9.99])
    os.write(outbox, b"until 10.0\n")
    now = guardian.watch(inbox, lambda: armed.append(True), lambda: next(clock))
    assert (now.why, armed) == (LATE, [True])
    os.write(outbox, b"until 30.0\n")  # in time, however late it is heard
    os.close(outbox)
    assert guardian.watch(inbox, lambda: armed.append(True), lambda: 99.0).why == LOST
    assert armed == [True, True]
    os.close(inbox)


def test_a_guardian_tries_again_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "RETRY_S", 0.0)
    disk = half_way()
    failures = iter([1, 1, 1])

    def before(operation: str, path: str) -> None:
        if operation == "names" and next(failures, 0):
            raise OSError(5, "injected")

    place = place_on(DiskOf(disk, before=before))
    words = guardian.take_back(place, lambda terms: devices_on(place.disk), LATE, lambda: 0.0)
    assert words == "rolled_back: production has its old config"
    assert guardian.take_back(place, lambda terms: devices_on(place.disk), LATE, lambda: 0.0) == ""


def test_a_guardian_says_when_it_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "RETRY_S", 0.0)
    disk = half_way()
    devices = Unwell(DiskOf(disk))
    devices.deaf = {"A", "B"}
    clock = iter(range(0, 1000, 10))
    words = guardian.take_back(
        place_on(DiskOf(disk)), lambda terms: devices, LATE, lambda: float(next(clock))
    )
    assert words.startswith("not taken back, a person is needed: ")
    assert "does not answer" in words


@pytest.mark.parametrize("dies", [False, True])
def test_a_guardian_gives_way_but_not_for_good(dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes over from it, and settles it or dies of it."""
    monkeypatch.setattr(guardian, "RETRY_S", 0.0)
    disk = half_way()
    times = [0]

    def other(operation: str, path: str) -> None:
        times[0] += operation == "link"
        if operation == "link" and times[0] == 1:
            end(place_on(DiskOf(disk)), 1, TAKEN_OVER, "by a person")
            if not dies:
                take_back(DiskOf(disk))

    place = place_on(DiskOf(disk, before=other))
    words = guardian.take_back(place, lambda terms: devices_on(place.disk), LATE, lambda: 0.0)
    assert words == "rolled_back: production has its old config"
    assert take_back(DiskOf(disk)).generation == 3


def test_a_guardian_leaves_it_to_others_when_its_patience_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guardian, "RETRY_S", 0.0)
    disk = half_way()

    def other(operation: str, path: str) -> None:
        if operation == "link":
            end(place_on(DiskOf(disk)), 1, TAKEN_OVER, "by a person")

    place = place_on(DiskOf(disk, before=other))
    clock = iter(range(0, 10_000, 10))
    words = guardian.take_back(
        place, lambda terms: devices_on(place.disk), LATE, lambda: float(next(clock))
    )
    assert words == "somebody else settles it"


def test_a_guardian_is_not_armed_by_what_it_cannot_read(tmp_path: Path) -> None:
    """As a process: it says that it is armed only where there is something to take back."""
    import subprocess
    import sys

    folder = tmp_path / "c"
    place = Place(RealDisk(), folder, KEY)
    claim(place)
    (folder / "1.log").write_bytes(b"nonsense\n")
    key = tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "shadowsim.commit.guardian", str(folder)],
        input=b"until 1.0\n", capture_output=True, check=False,
        env={**os.environ, "SHADOWSIM_KEY": str(key)}, timeout=60,
    )  # fmt: skip
    assert b"armed" not in done.stdout
    assert b"altered" in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.returncode == 4


# -- the disk of this machine ------------------------------------------------------------------


def test_the_real_disk_and_the_simulated_one_keep_one_contract(tmp_path: Path) -> None:
    simulated = DiskOf(SimulatedDisk())
    simulated.make_folder(tmp_path)
    for disk in (RealDisk(), simulated):
        folder = tmp_path / "x" / "y"
        assert disk.names(folder) == ()
        disk.make_folder(folder)
        disk.make_folder(folder)
        disk.create(folder / "b", b"12")
        disk.append(folder / "b", b"3")
        disk.sync(folder / "b")
        disk.sync(folder)
        with pytest.raises(FileExistsError):
            disk.create(folder / "b", b"")
        disk.link(folder / "b", folder / "a")
        with pytest.raises(FileExistsError):
            disk.link(folder / "b", folder / "a")
        disk.append(folder / "a", b"4")
        assert disk.names(folder) == ("a", "b")
        assert disk.read(folder / "b") == b"1234"
        disk.create(folder / "c", b"")
        disk.rename(folder / "c", folder / "a")
        assert disk.read(folder / "a") == b""
        disk.remove(folder / "a")
        disk.remove(folder / "a")
        assert disk.names(folder) == ("b",)
        for failing in (
            lambda: disk.read(folder / "a"),  # noqa: B023
            lambda: disk.append(folder / "a", b""),  # noqa: B023
            lambda: disk.sync(folder / "a"),  # noqa: B023
        ):
            with pytest.raises(FileNotFoundError):
                failing()
    assert stat.S_IMODE((tmp_path / "x" / "y").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "x" / "y" / "b").stat().st_mode) == 0o600


def test_the_real_disk_syncs_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    disk = RealDisk()
    disk.make_folder(tmp_path / "x" / "y")
    assert set(synced) == {str(tmp_path), str(tmp_path / "x")}
    synced.clear()
    disk.create(tmp_path / "x" / "f", b"1")
    disk.sync(tmp_path / "x" / "f")
    disk.sync(tmp_path / "x")
    assert synced == [str(tmp_path / "x" / "f"), str(tmp_path / "x")]
    synced.clear()
    several = [tmp_path / "x" / f"f{number}" for number in range(40)]
    for path in several:
        disk.create(path, b"1")
    disk.sync(*several)
    assert sorted(synced) == sorted(map(str, several))
    with pytest.raises(FileNotFoundError):
        disk.sync(*several, tmp_path / "none")


def test_the_real_disk_writes_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    RealDisk().create(tmp_path / "f", b"0123456789")
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_the_real_disk_does_not_read_just_anything(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(OSError, match="larger than anything"):
        RealDisk().read(tmp_path / "f")


def test_one_takes_care_at_a_time(tmp_path: Path) -> None:
    with holding(tmp_path) as first, holding(tmp_path) as second:
        assert (first, second) == (True, False)
    with holding(tmp_path) as again:
        assert again


def test_a_whole_commit_on_this_machine(tmp_path: Path) -> None:
    place = Place(RealDisk(), tmp_path / "r" / "c", KEY)
    claim(place)
    place.disk.make_folder(place.folder / "devices")
    devices = FileDevices(place.disk, place.folder / "devices")
    for config in OLD_CONFIGS.values():
        devices.write(config, FIRST)
    commit = Commit(place, TERMS)
    commit.intend("deploy", "A", ["..."])
    first = apply_one(OLD_CONFIGS["A"], CHANGE.commands[:1])
    commit.write(devices, first)
    commit.did("deploy", "A", "done")
    now = settle(place, lambda terms: devices, "why", never)
    assert (now.state, now.position, now.generation) == (ROLLED_BACK, OLD, 2)
    assert devices.read() == OLD_CONFIGS
    with pytest.raises(Fenced):
        commit.write(devices, first)
    assert devices.read() == OLD_CONFIGS


def test_a_change_of_nothing_is_old() -> None:
    terms = Terms(Change("", ()), {}, SIGNATURE.armed(), {})
    assert terms.position({}) == OLD
