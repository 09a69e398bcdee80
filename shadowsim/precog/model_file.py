"""A fitted model to one file without pickle, and back; what was altered is refused.

The file is a zip: a digest, a JSON document, and one .npy array after the other. The digest shows
damage; it is no signature, so everything is checked as if a stranger had written it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shadowsim.errors import BadInput, Mistake, choices
from shadowsim.model.truth import MODES
from shadowsim.precog.model import PHASES, Model, PhaseModel, check
from shadowsim.precog.trees import ARRAYS, KINDS, Trees

LARGEST_FILE_BYTES = 64 << 20
LARGEST_BYTES = 256 << 20  # of all that the file holds, unpacked
LARGEST_DOCUMENT_BYTES = 1 << 20
MOST_FEATURES = 10_000
MOST_MEMBERS = 64
DIGEST, DOCUMENT = "sha256", "model.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every member: equal models are equal bytes

# The arrays of a phase beside those of its trees.
OWN: Mapping[str, Any] = {
    "calibration": np.float64, "most_apart": np.float64, "low": np.float64, "high": np.float64,
    "always": np.bool_,
}  # fmt: skip
COLUMNS = {**{f"trees.{name}": KINDS[name] for name in ARRAYS}, **OWN}
MEMBERS = (
    DIGEST,
    DOCUMENT,
    *(f"{phase}.{name}.npy" for phase in PHASES for name in COLUMNS),
)
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    KeyError, IndexError, OverflowError, MemoryError, OSError,
)  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Phase(_Frozen):
    members: int = Field(ge=1, le=MOST_MEMBERS)
    most_outside: int = Field(ge=0)


class _Document(_Frozen):
    format: Literal["shadowsim.model/1"] = "shadowsim.model/1"
    features: tuple[str, ...] = Field(min_length=1, max_length=MOST_FEATURES)
    phases: dict[str, _Phase]
    horizon_s: float = Field(gt=0)
    seed: int
    data_seed: int | None
    versions: dict[str, str]
    card: str


def save(model: Model, path: Path) -> None:
    """Write a model to a file, whole or not at all. Raises BadInput where it cannot be written."""
    keep(path, to_bytes(model))


def keep(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all. Raises BadInput where it cannot be written."""
    with _told(path), _fresh(path, data) as fresh:
        fresh.replace(path)


def keep_pair(first: tuple[Path, bytes], second: tuple[Path, bytes]) -> None:
    """Write two files that belong together. Raises BadInput where that fails, and then both are as
    they were; only a process that dies between two renames leaves the first alone.
    """
    (path, data), (beside, more) = first, second
    with _told(path), _fresh(path, data) as fresh:
        before = path.read_bytes() if path.exists() else None
        with _told(beside), _fresh(beside, more) as fresh_beside:
            fresh.replace(path)
            try:
                fresh_beside.replace(beside)
            except OSError:
                if before is None:
                    path.unlink()
                else:
                    with _fresh(path, before) as old:
                        old.replace(path)
                raise


@contextmanager
def _fresh(path: Path, data: bytes) -> Iterator[Path]:
    """A file in the folder of another, to be renamed to it; gone if that does not happen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput([Mistake(f"cannot be written: {error.strerror}", str(path))]) from None


def load(path: Path, features: Sequence[str] | None = None) -> Model:
    """The model in a file. Raises BadInput if it is none, is damaged, or is for other features."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(path))]) from None
    try:
        model = from_bytes(data)
        if features is not None:
            _check_features(model, features)
    except BadInput as error:
        raise BadInput([Mistake(m.message, str(path)) for m in error.mistakes]) from None
    return model


def to_bytes(model: Model) -> bytes:
    """A model as the bytes of its file; the same for equal models."""
    check(model)
    parts = {DOCUMENT: _document(model)}
    for phase in PHASES:
        for name in COLUMNS:
            parts[f"{phase}.{name}.npy"] = _packed(_column(model.phases[phase], name))
    parts = {DIGEST: _digest(parts).encode(), **parts}
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name in MEMBERS:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            archive.writestr(entry, parts[name], zipfile.ZIP_DEFLATED, 9)
    return found.getvalue()


def from_bytes(data: bytes) -> Model:
    """The model in the bytes of a file. Raises BadInput if there is none in them."""
    if len(data) > LARGEST_FILE_BYTES:
        raise BadInput(f"too large for a model (more than {LARGEST_FILE_BYTES >> 20} MB)")
    try:
        parts = _unpacked(data)
    except UNREADABLE:
        raise BadInput("no model file, or a damaged one") from None
    if parts.pop(DIGEST) != _digest(parts).encode():
        raise BadInput("altered or damaged: the digest does not fit")
    try:
        document = _Document.model_validate_json(parts[DOCUMENT])
    except ValidationError as error:
        raise BadInput([
            Mistake(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}")
            for e in error.errors()[:5]
        ]) from None  # fmt: skip
    return _model(document, parts)


def _unpacked(data: bytes) -> dict[str, bytes]:
    """The members, within their limits: no more is unpacked than an entry says that it holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if tuple(entry.filename for entry in entries) != MEMBERS:
            raise BadInput("no model file: it holds something else")
        sizes = {entry.filename: entry.file_size for entry in entries}
        if sum(sizes.values()) > LARGEST_BYTES or sizes[DOCUMENT] > LARGEST_DOCUMENT_BYTES:
            raise BadInput("no model file: it unpacks to more than a model can hold")
        if any(entry.compress_type != zipfile.ZIP_DEFLATED for entry in entries):
            raise BadInput("no model file: it is packed in another way")  # bz2 knows no bound
        return {entry.filename: _read(archive, entry) for entry in entries}


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        found = file.read(entry.file_size + 1)  # without a number all is unpacked, then cut off
    if len(found) != entry.file_size:
        raise EOFError
    return found


def _digest(parts: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name in MEMBERS[1:]:
        found.update(f"{name} {len(parts[name])}\n".encode())
        found.update(parts[name])
    return found.hexdigest()


def _document(model: Model) -> bytes:
    document = _Document(
        features=model.features,
        phases={
            name: _Phase(members=phase.members, most_outside=phase.most_outside)
            for name, phase in model.phases.items()
        },
        horizon_s=model.horizon_s,
        seed=model.seed,
        data_seed=model.data_seed,
        versions=dict(model.versions),
        card=model.card,
    )
    text = json.dumps(document.model_dump(mode="json"), sort_keys=True, indent=1)
    return text.encode()


def _model(document: _Document, parts: Mapping[str, bytes]) -> Model:
    if set(document.phases) != set(PHASES):
        raise BadInput(f"a model has the phases {' and '.join(PHASES)}")
    if len(set(document.features)) < len(document.features):
        raise BadInput("two features of one name")
    phases = {}
    for name, phase in document.phases.items():
        columns = {c: _array(c, parts[f"{name}.{c}.npy"]) for c in COLUMNS}
        trees = Trees(len(document.features), *(columns[f"trees.{n}"] for n in ARRAYS))
        if columns["calibration"].size != 3 * len(MODES):
            raise BadInput(f"{name}: 'calibration' is not made for {len(MODES)} modes")
        columns["calibration"] = columns["calibration"].reshape(3, -1)
        own = {own: columns[own] for own in OWN}
        phases[name] = PhaseModel(phase.members, trees, most_outside=phase.most_outside, **own)
    model = Model(
        document.features, phases, document.horizon_s, document.seed, document.data_seed,
        document.versions, document.card,
    )  # fmt: skip
    check(model)
    return model


def _column(phase: PhaseModel, name: str) -> np.ndarray:
    array = getattr(phase if name in OWN else phase.trees, name.removeprefix("trees."))
    return np.ascontiguousarray(array, np.dtype(COLUMNS[name]).newbyteorder("<")).ravel()


def _packed(array: np.ndarray) -> bytes:
    found = io.BytesIO()
    np.lib.format.write_array(found, array, version=(1, 0), allow_pickle=False)
    return found.getvalue()


def _array(name: str, data: bytes) -> np.ndarray:
    """One .npy member: one whose header is, byte for byte, what we would write before its numbers.

    So nothing that a header says has to be parsed, or believed.
    """
    wanted = np.dtype(COLUMNS[name]).newbyteorder("<")
    rest = data[10 + int.from_bytes(data[8:10], "little") :]
    whole = len(rest) - len(rest) % wanted.itemsize
    found = np.frombuffer(rest[:whole], wanted)
    if _packed(found) != data:
        raise BadInput(f"'{name}' is not a row of {wanted.name}")
    if wanted == np.bool_ and max(rest, default=0) > 1:
        raise BadInput(f"'{name}' holds something else than yes and no")
    return found.astype(COLUMNS[name])


def _check_features(model: Model, features: Sequence[str]) -> None:
    if model.features == tuple(features):
        return
    lacking = sorted(set(features) - set(model.features))
    foreign = sorted(set(model.features) - set(features))
    if foreign:
        text = (
            f"it asks for '{foreign[0]}', which is no feature here; {choices(foreign[0], features)}"
        )
    elif lacking:
        text = f"it does not know {', '.join(lacking[:5])}"
    else:
        text = "the same features stand in another order"
    raise BadInput(f"a model for other features: {text}; train it anew: shadowsim train")
