"""Model files: what is saved comes back, and what was altered, cut or made up is refused."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_history import stump

from shadowsim.errors import BadInput
from shadowsim.learning.extract import Grown, trees_of
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model, PhaseModel, check
from shadowsim.precog.model_file import DIGEST, DOCUMENT, MEMBERS, from_bytes, load, save, to_bytes
from shadowsim.precog.trees import Trees

Parts = dict[str, bytes]


def phase(features: int = 2) -> PhaseModel:
    """Two members a mode; the first mode's first member asks for a feature."""
    outputs = [Grown(0.1 * n, ()) for n in range(2 * len(MODES) + 1)]
    trees = trees_of(outputs, features)
    one = stump()
    first = np.ones(len(outputs) + 1, np.int32)
    first[0] = 0
    trees = Trees(
        features, trees.baseline, first, one.root, one.feature, one.threshold, one.nan_left,
        one.right, one.value,
    )  # fmt: skip
    return PhaseModel(
        members=2,
        trees=trees,
        calibration=np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [0.0, 0.1, -0.1]]),
        most_apart=np.array([0.9, 0.2, 0.1]),
        low=np.array([-1.0, -np.inf]),
        high=np.array([1.0, np.inf]),
        always=np.array([True, False]),
        most_outside=0,
    )


SMALL = Model(
    features=("script_a", "telemetry_b"),
    phases={name: phase() for name in PHASES},
    horizon_s=15.0,
    seed=3,
    data_seed=7,
    versions={"numpy": "2.0"},
    card="Made by hand für a test.",
)
BYTES = to_bytes(SMALL)


def packed(parts: Parts, method: int = zipfile.ZIP_DEFLATED, fit: bool = True) -> bytes:
    """These parts as a file, by default with a digest that fits, as a forger would make it."""
    if fit:
        digest = hashlib.sha256()
        for name in MEMBERS[1:]:
            if name in parts:
                digest.update(f"{name} {len(parts[name])}\n".encode() + parts[name])
        parts = {**parts, DIGEST: digest.hexdigest().encode()}
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return found.getvalue()


def parts_of(data: bytes = BYTES) -> Parts:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def array(values: Any, dtype: Any = None) -> bytes:
    found = io.BytesIO()
    np.lib.format.write_array(found, np.asarray(values, dtype), version=(1, 0))
    return found.getvalue()


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "m.model"
    save(SMALL, path)
    found = load(path, SMALL.features)
    assert to_bytes(found) == path.read_bytes() == BYTES
    for name in ("features", "horizon_s", "seed", "data_seed", "versions", "card"):
        assert getattr(found, name) == getattr(SMALL, name)
    x = np.array([[0.5, 1.0], [-0.5, np.nan], [2.0, 0.0], [np.nan, 0.0]])
    for where in PHASES:
        mine, theirs = SMALL.look(x, where), found.look(x, where)
        assert np.array_equal(mine.probabilities, theirs.probabilities)
        assert np.array_equal(mine.unknown, theirs.unknown)
        assert np.array_equal(mine.time_to_failure_s, theirs.time_to_failure_s)
    assert [p.name for p in path.parent.iterdir()] == ["m.model"]
    assert mine.unknown.tolist() == [[False] * 3, [False] * 3, [True] * 3, [True] * 3]


def test_the_bytes_hold_no_time_of_day() -> None:
    """Two files made within two seconds are alike even if they do, so it is looked for."""
    with zipfile.ZipFile(io.BytesIO(BYTES)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_numpy_itself_can_read_the_arrays(tmp_path: Path) -> None:
    save(SMALL, tmp_path / "m.model")
    with np.load(tmp_path / "m.model", allow_pickle=False) as found:
        assert found["shadow.trees.value"].tolist() == stump().value.tolist()


def test_every_byte_flipped_is_refused_or_harmless() -> None:
    """Harmless are what a zip says besides: dates, permissions."""
    same = 0
    for place in range(len(BYTES)):
        for bit in (0x01, 0x80):
            altered = bytearray(BYTES)
            altered[place] ^= bit
            try:
                found = from_bytes(bytes(altered))
            except BadInput:
                continue
            same += 1
            assert to_bytes(found) == BYTES, f"byte {place} changed the model unnoticed"
    assert same < len(BYTES)  # so most are refused


def test_every_content_byte_flipped_is_refused() -> None:
    """Also where the zip is made anew around it, so that no checksum of the zip's own helps."""
    parts = parts_of()
    for name in (DOCUMENT, "shadow.trees.value.npy", "production.low.npy"):
        for place in range(0, len(parts[name]), 3):
            altered = bytearray(parts[name])
            altered[place] ^= 0x10
            with pytest.raises(BadInput, match="digest"):
                from_bytes(packed({**parts, name: bytes(altered)}, fit=False))


def test_every_length_but_the_whole_is_refused() -> None:
    for length in range(len(BYTES)):
        with pytest.raises(BadInput):
            from_bytes(BYTES[:length])


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", pickle.dumps({"a": 1}), b"\x00" * 1000, b"{}", packed({"a": b""})],
    ids=["nothing", "half a name", "a pickle", "zeros", "JSON", "other members"],
)
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(BadInput, match="x: no model file"):
        load(tmp_path / "x")


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load(tmp_path / "nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(BadInput, match="cannot be written"):
        save(SMALL, tmp_path)


# ---- forged: with a digest that fits


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that admits what it holds, nor one that says it holds little."""
    bomb = packed({**parts_of(), "shadow.low.npy": b"\x00" * (300 << 20)})
    assert len(bomb) < 1 << 20
    with pytest.raises(BadInput, match="more than a model can hold"):
        from_bytes(bomb)
    size = (300 << 20).to_bytes(4, "little")
    liar = bomb.replace(size, (64).to_bytes(4, "little"))
    assert liar != bomb
    most = 0
    inflate = zipfile.ZipExtFile._read1

    def watched(self: Any, n: int) -> bytes:
        nonlocal most
        found = inflate(self, n)
        most = max(most, n)
        return found

    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", watched)
    with pytest.raises(BadInput):
        from_bytes(liar)
    assert most < 1 << 20


def test_only_one_way_of_packing_is_read() -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(BadInput, match="packed in another way"):
            from_bytes(packed(parts_of(), method))


def header(shape: str, descr: str = "'<f8'", rest: bytes = b"") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (64 - (len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest


@pytest.mark.parametrize(
    "data",
    [
        header("(1000000000000,)"),
        header("(-1,)", rest=b"\x00" * 8),
        header("(2, 1)", rest=b"\x00" * 16),
        header("()", rest=b"\x00" * 8),
        header("(1,)", "'|O'", pickle.dumps(1)),
        header("(2,)", "'<f4'", b"\x00" * 8),
        header("(2,)", "[('a', '<f8')]", b"\x00" * 16),
        header("(" * 3000),
        header("(2,)", rest=b"\x00" * 15),
        header("(2,)", rest=b"\x00" * 17),
        b"\x93NUMPY\x02\x00" + b"\x00" * 64,
        b"",
        array([1.0, 2.0, 3.0]),
        array([1.0, np.nan]),
    ],
    ids=range(14),
)
def test_absurd_arrays_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        from_bytes(packed({**parts_of(), "shadow.low.npy": data}))


@pytest.mark.parametrize(
    ("name", "values", "dtype"),
    [
        ("trees.right", [0, 0, 0], np.int32),
        ("trees.right", [2**31 - 1, 0, 0], np.int32),
        ("trees.feature", [2, -1, -1], np.int32),
        ("trees.feature", [0, 0, 0], np.int32),
        ("trees.root", [5], np.int32),
        ("trees.first", [0] * 7 + [1], np.int64),
        ("trees.first", [0, 9, 1, 1, 1, 1, 1, 1], np.int32),
        ("trees.value", [np.nan, 0.0, 0.0], np.float64),
        ("trees.baseline", [0.0] * 6, np.float64),
        ("calibration", [-1.0] * 9, np.float64),
        ("calibration", [1.0] * 8, np.float64),
        ("calibration", [1.0] * 12, np.float64),
        ("most_apart", [0.1, 0.2], np.float64),
        ("most_apart", [0.1, 0.2, np.nan], np.float64),
        ("always", [True], np.bool_),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, values: Any, dtype: Any) -> None:
    with pytest.raises(BadInput):
        from_bytes(packed({**parts_of(), f"production.{name}.npy": array(values, dtype)}))


def test_yes_and_no_are_nothing_else() -> None:
    forged = array([True, False])[:-2] + b"\x02\x00"
    with pytest.raises(BadInput, match="yes and no"):
        from_bytes(packed({**parts_of(), "shadow.always.npy": forged}))


def written(change: Callable[[dict[str, Any]], Any]) -> bytes:
    document = json.loads(parts_of()[DOCUMENT])
    change(document)
    return packed({**parts_of(), DOCUMENT: json.dumps(document).encode()})


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format="shadowsim.model/2"),
        lambda d: d.update(features=["script_a"]),
        lambda d: d.update(features=["script_a", "script_a"]),
        lambda d: d.update(features=[]),
        lambda d: d.update(features=["a"] * 20_000),
        lambda d: d.update(horizon_s=-1.0),
        lambda d: d.update(horizon_s=float("nan")),
        lambda d: d.update(more=1),
        lambda d: d.pop("card"),
        lambda d: d["phases"].pop("shadow"),
        lambda d: d["phases"].update(other=d["phases"]["shadow"]),
        lambda d: d["phases"]["shadow"].update(members=3),
        lambda d: d["phases"]["shadow"].update(members=0),
        lambda d: d["phases"]["shadow"].update(members=2**62),
        lambda d: d["phases"]["shadow"].update(most_outside=-1),
        lambda d: d.update(card="x" * (2 << 20)),
    ],
    ids=range(16),
)
def test_documents_that_do_not_fit_are_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    assert to_bytes(from_bytes(written(lambda d: None))) == BYTES
    with pytest.raises(BadInput):
        from_bytes(written(change))


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff", b"", b"null", b'{"a":'])
def test_documents_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(BadInput):
        from_bytes(packed({**parts_of(), DOCUMENT: text}))


# ---- other features


def test_a_model_for_other_features_says_which(tmp_path: Path) -> None:
    save(SMALL, tmp_path / "m")
    with pytest.raises(BadInput, match=r"asks for 'telemetry_b'.*did you mean 'telemetry_c'"):
        load(tmp_path / "m", ("script_a", "telemetry_c"))
    with pytest.raises(BadInput, match="does not know more"):
        load(tmp_path / "m", (*SMALL.features, "more"))
    with pytest.raises(BadInput, match="another order"):
        load(tmp_path / "m", SMALL.features[::-1])


def test_a_model_that_does_not_fit_together_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shadow"):
        save(replace(SMALL, features=("one",)), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
    check(SMALL)
