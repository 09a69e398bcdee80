"""Named bytes to one file without pickle, and back; what was altered is refused.

The file is a zip: a digest, a JSON document, and one .npy array after the other. The digest shows
damage; it is no signature, so everything is checked as if a stranger had written it.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from shadowsim.errors import BadInput, Mistake, choices

LARGEST_FILE_BYTES = 64 << 20
LARGEST_BYTES = 256 << 20  # of all that the file holds, unpacked
LARGEST_DOCUMENT_BYTES = 1 << 20
DIGEST = "sha256"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every member: equal models are equal bytes
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
    KeyError, IndexError, OverflowError, MemoryError, OSError,
)  # fmt: skip

Made = TypeVar("Made")
Read = TypeVar("Read", bound=BaseModel)


class Frozen(BaseModel):
    """A part of a JSON document, in which nothing is taken for something else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def save(data: bytes, path: Path) -> None:
    """Write a file, whole or not at all. Raises BadInput where it cannot be written."""
    with _told(path), _fresh(path, data) as fresh:
        fresh.replace(path)


def save_both(first: tuple[bytes, Path], second: tuple[bytes, Path]) -> None:
    """Write two files that belong together. Raises BadInput where that fails, and then both are as
    they were; only a process that dies between two renames leaves the first alone.
    """
    (data, path), (more, beside) = first, second
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


def load(path: Path, made_of: Callable[[bytes], Made]) -> Made:
    """What the bytes of a file make. Raises BadInput, which names the file."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(path))]) from None
    try:
        return made_of(data)
    except BadInput as error:
        raise BadInput([Mistake(m.message, str(path)) for m in error.mistakes]) from None


def packed(parts: Mapping[str, bytes]) -> bytes:
    """The bytes of a file with these members in this order, after their digest."""
    whole = {DIGEST: _digest(parts).encode(), **parts}
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, data in whole.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, 9)
    return found.getvalue()


def unpacked(data: bytes, members: Sequence[str], document: str, what: str) -> dict[str, bytes]:
    """The members of a file, which must be these: the digest, the document, the arrays.

    `what` it should be is said in what is wrong. Raises BadInput if they are not as they were made.
    """
    if len(data) > LARGEST_FILE_BYTES:
        raise BadInput(f"too large for a {what} (more than {LARGEST_FILE_BYTES >> 20} MB)")
    try:
        parts = _within(data, members, document, what)
    except UNREADABLE:
        raise BadInput(f"no {what} file, or a damaged one") from None
    if parts.pop(DIGEST) != _digest(parts).encode():
        raise BadInput("altered or damaged: the digest does not fit")
    return parts


def document_of(kind: type[Read], data: bytes) -> Read:
    """The JSON document of a file. Raises BadInput if it is not of this kind."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise BadInput([
            Mistake(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}")
            for e in error.errors()[:5]
        ]) from None  # fmt: skip


def row_bytes(array: np.ndarray) -> bytes:
    """One .npy member."""
    found = io.BytesIO()
    np.lib.format.write_array(found, array, version=(1, 0), allow_pickle=False)
    return found.getvalue()


def row_of(name: str, data: bytes, kind: Any) -> np.ndarray:
    """One .npy member: one whose header is, byte for byte, what we would write before its numbers.

    So nothing that a header says has to be parsed, or believed.
    """
    wanted = np.dtype(kind).newbyteorder("<")
    rest = data[10 + int.from_bytes(data[8:10], "little") :]
    whole = len(rest) - len(rest) % wanted.itemsize
    found = np.frombuffer(rest[:whole], wanted)
    if row_bytes(found) != data:
        raise BadInput(f"'{name}' is not a row of {wanted.name}")
    if wanted == np.bool_ and max(rest, default=0) > 1:
        raise BadInput(f"'{name}' holds something else than yes and no")
    return found.astype(kind)


def check_same(mine: Sequence[str], wanted: Sequence[str], anew: str) -> None:
    """Raises BadInput unless the features are those wanted; `anew` is the command that mends it."""
    if tuple(mine) == tuple(wanted):
        return
    lacking, foreign = sorted(set(wanted) - set(mine)), sorted(set(mine) - set(wanted))
    if foreign:
        text = (
            f"it asks for '{foreign[0]}', which is no feature here; {choices(foreign[0], wanted)}"
        )
    elif lacking:
        text = f"it does not know {', '.join(lacking[:5])}"
    else:
        text = "the same features stand in another order"
    raise BadInput(f"a model for other features: {text}; train it anew: {anew}")


def _within(data: bytes, members: Sequence[str], document: str, what: str) -> dict[str, bytes]:
    """The members, within their limits: no more is unpacked than an entry says that it holds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if tuple(entry.filename for entry in entries) != tuple(members):
            raise BadInput(f"no {what} file: it holds something else")
        sizes = {entry.filename: entry.file_size for entry in entries}
        if sum(sizes.values()) > LARGEST_BYTES or sizes[document] > LARGEST_DOCUMENT_BYTES:
            raise BadInput(f"no {what} file: it unpacks to more than a {what} can hold")
        if any(entry.compress_type != zipfile.ZIP_DEFLATED for entry in entries):
            raise BadInput(f"no {what} file: it is packed in another way")  # bz2 knows no bound
        return {entry.filename: _read(archive, entry) for entry in entries}


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        found = file.read(entry.file_size + 1)  # without a number all is unpacked, then cut off
    if len(found) != entry.file_size:
        raise EOFError
    return found


def _digest(parts: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name, data in parts.items():
        found.update(f"{name} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()
