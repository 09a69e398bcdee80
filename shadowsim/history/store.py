"""The labelled changes of sites to Parquet files of one folder, and back to two tables.

Evidence and labels are in files of their own. A site is there once its labels are, whole, and is
never written again; `history.json` says what the folder holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from shadowsim import __version__
from shadowsim.arrow import check_footer
from shadowsim.batch import folder as batch
from shadowsim.errors import BadInput, Mistake
from shadowsim.history.cases import CHANGES_PER_SITE
from shadowsim.history.folds import ALL

MANIFEST = "history.json"
FORMAT = 1
HISTORY = "a history"


@dataclass(frozen=True)
class Manifest:
    """What a history was made with: a folder holds changes of one such making only. `per_site` of
    the changes of a site are made, the first ones.
    """

    changes: int
    seed: int
    looks: str
    features: tuple[str, ...]
    variants: tuple[str, ...]
    networks: str = ALL
    shadowsim: str = __version__
    format: int = FORMAT
    per_site: int = CHANGES_PER_SITE

    @property
    def sites(self) -> int:
        """How many sites the changes are at; at the last there may be fewer."""
        return -(-self.changes // self.per_site)

    def at(self, site: int) -> range:
        """The numbers of the changes at a site."""
        first = site * CHANGES_PER_SITE
        return range(first, first + min(self.per_site, self.changes - site * self.per_site))


@dataclass(frozen=True)
class History:
    """`looks` has a row for every look of an operator, `labels` one for every change."""

    manifest: Manifest
    looks: pl.DataFrame
    labels: pl.DataFrame


def claimed(folder: Path, manifest: Manifest) -> AbstractContextManager[None]:
    """Have a folder for oneself to make this history in; one begun before is gone on with.

    Raises BadInput if it is not a folder to write to, is one of something else, or was made with
    other settings, ShadowsimError if another process is at it.
    """
    return batch.claimed(folder / MANIFEST, manifest, _manifest, HISTORY)


def unfinished(folder: Path, manifest: Manifest) -> list[int]:
    """The numbers of the sites that are not there yet."""
    return [n for n in range(manifest.sites) if not _labels(folder, n).exists()]


def write(folder: Path, site: int, looks: pl.DataFrame, labels: pl.DataFrame) -> None:
    """Keep a site: durable and whole when this returns, and not there if it does not."""
    with batch.told(folder, HISTORY):
        for path, table in ((_looks(folder, site), looks), (_labels(folder, site), labels)):
            buffer = BytesIO()
            table.write_parquet(buffer, compression="zstd")
            batch.keep(path, buffer.getvalue())


def read(folder: Path) -> History:
    """All of a finished history. Raises BadInput where it is not there, whole and sound."""
    manifest = read_manifest(folder)
    missing = unfinished(folder, manifest)
    if missing:
        what = (
            f"unfinished: {len(missing)} of {manifest.sites} sites are missing; "
            "the command that began it goes on"
        )
        raise BadInput([Mistake(what, str(folder))])
    numbers = range(manifest.sites)
    looks = _tables([_looks(folder, n) for n in numbers])
    labels = _tables([_labels(folder, n) for n in numbers])
    if labels.height != manifest.changes:
        what = f"it holds {labels.height} changes, and {MANIFEST} says {manifest.changes}"
        raise BadInput([Mistake(what, str(folder))])
    return History(manifest, looks, labels)


def read_labels(folder: Path, manifest: Manifest) -> pl.DataFrame:
    """The labels of a finished history alone."""
    return _tables([_labels(folder, n) for n in range(manifest.sites)])


def read_manifest(folder: Path) -> Manifest:
    """What a folder was made with. Raises BadInput if it holds no history."""
    try:
        return batch.settings_in(folder / MANIFEST, _manifest)
    except FileNotFoundError:
        what = "no history; 'shadowsim history --out' makes one"
        raise BadInput([Mistake(what, str(folder))]) from None


def _manifest(found: Any) -> Manifest:
    """Raises ValueError or TypeError for what is not one."""
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError("of another format")
    given: dict[str, Any] = {
        field.name: found[field.name] for field in fields(Manifest) if field.name in found
    }
    for name in ("features", "variants"):
        given[name] = tuple(str(one) for one in given[name])
    made = Manifest(**given)
    numbers = (made.changes, made.seed, made.per_site)
    if (
        any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers)
        or not made.changes
        or not 1 <= made.per_site <= CHANGES_PER_SITE
    ):
        raise ValueError("a number stands there")
    return made


def _tables(paths: Sequence[Path]) -> pl.DataFrame:
    try:
        for path in paths:
            check_footer(path)
        return pl.read_parquet(list(paths))
    except (OSError, ValueError, pl.exceptions.PolarsError):
        for path in paths:  # which of them it was
            _check_sound(path)
        what = "its parts do not have the same columns"
        raise BadInput([Mistake(what, str(paths[0].parent))]) from None


def _check_sound(path: Path) -> None:
    try:
        check_footer(path)
        pl.read_parquet(path)
    except FileNotFoundError:
        raise BadInput([Mistake("missing", str(path))]) from None
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(path))]) from None
    except (ValueError, pl.exceptions.PolarsError):
        raise BadInput([Mistake("damaged, or no Parquet file", str(path))]) from None


def _looks(folder: Path, site: int) -> Path:
    return folder / f"looks-{site:05}.parquet"


def _labels(folder: Path, site: int) -> Path:
    return folder / f"labels-{site:05}.parquet"
