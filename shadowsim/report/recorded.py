"""The folder of a finished run back to values, checked: what a report is made of."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shadowsim.arrow import check_footer
from shadowsim.errors import BadInput, Mistake
from shadowsim.rollback.key import known_key
from shadowsim.rollback.signature import NotSealedHere, RollbackSignature, read_signature

LARGEST_BYTES = 64 << 20
LARGEST, LATEST_S = 1e18, 1e9  # what is beyond is no reading, and cannot be drawn
COLUMNS = {
    "at_s": pl.Float64,
    "network": pl.String,
    "subject": pl.String,
    "name": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
}
Texts = tuple[str, ...]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Expectation(_Part):
    """Something the scenario expects, beside what came of it."""

    what: str
    expected: Any = None
    got: Any = None
    met: bool


class Gate(_Part):
    """Above which probability it is no go, and above which not clear."""

    no_go_above: float | None = None
    inconclusive_above: float | None = None


class Expectations(_Part):
    """Whether all was as the scenario expects; no details where it expects nothing."""

    met: bool = True
    details: tuple[Expectation, ...] = ()


class Reason(_Part):
    """A sentence of PreCog."""

    variant: str
    mode: str
    probability: float
    text: str


class PlannedStep(_Part):
    """A step of a rollback, as the journal tells it."""

    step: str
    device: str
    commands: Texts = ()
    depends_on: Texts = ()


class Digests(_Part):
    """Digests of the configs of the devices touched."""

    before: dict[str, str] = {}
    after: dict[str, str] = {}


class Result(_Part):
    """result.json."""

    scenario: str
    decision: str
    end_state: str
    summary: str = ""
    change: str = ""
    network: str = ""
    precog: str = ""
    autonomy: str = ""
    seed: int = 0
    gate: Gate = Gate()
    forecast: dict[str, float | None] = {}
    reasons: tuple[Reason, ...] = ()
    failure_mode: str = "none"
    failure_modes: Texts = ()
    observed_in: str = "shadow"
    blamed: Texts = ()
    root_cause: str = "none"
    time_to_rollback_s: float | None = None
    breach_s: float = 0.0
    duration_s: float = 0.0
    digests: Digests = Digests()
    expectations: Expectations = Expectations()

    @property
    def deployed(self) -> bool:
        return self.observed_in == "production"


class Event(_Part):
    """A line of journal.jsonl: the fields that the report speaks of; `details` are all of them."""

    model_config = ConfigDict(extra="allow")
    at_s: float
    phase: str
    event: str
    network: str = ""
    device: str = ""
    commands: Texts = ()
    probabilities: dict[str, float | None] = {}
    decision: str = ""
    mode: str = ""
    why: Texts | str = ()
    failed: Texts = ()
    unmet: Texts = ()
    not_known: Texts = ()
    by_others: Texts = ()
    signs: Texts = ()
    step: str = ""
    outcome: str = ""
    scope: str = ""
    signature: str = ""
    question: str = ""
    text: str = ""
    within_s: float | None = None
    names: Texts = ()
    because: tuple[Reason, ...] = ()
    plan: tuple[PlannedStep, ...] = ()
    verified: bool | None = None
    took_s: float | None = None

    @property
    def details(self) -> dict[str, Any]:
        """What the line says beside when and what, in its own order."""
        return self.model_dump(exclude={"at_s", "phase", "event"}, exclude_unset=True)

    @property
    def reasons(self) -> Texts:
        return (self.why,) if isinstance(self.why, str) else self.why


class PicturedDevice(_Part):
    """A device of topology.json."""

    name: str
    position: tuple[float, float] | None = None


class PicturedHost(_Part):
    """A host of topology.json."""

    name: str
    device: str


class PicturedLink(_Part):
    """A link of topology.json, with its names in telemetry."""

    a: str
    b: str
    names: Texts
    rate_bps: float | None = None


class Picture(_Part):
    """topology.json."""

    name: str = ""
    devices: Annotated[tuple[PicturedDevice, ...], Field(min_length=1)]
    hosts: tuple[PicturedHost, ...] = ()
    links: tuple[PicturedLink, ...] = ()


@dataclass(frozen=True)
class Readings:
    """What figures need of telemetry.parquet.

    `worst`: at_s, network, measure (utilisation, latency_s, loss), scope (all, critical), value:
    the highest of all links, or of all demands. `links`: at_s, network, name, utilisation, up.
    """

    worst: pl.DataFrame
    links: pl.DataFrame


@dataclass(frozen=True)
class Recorded:
    """All that a folder tells of a run.

    `distrusted` says why there is no signature though there is a file of one.
    """

    result: Result
    events: tuple[Event, ...]
    picture: Picture
    readings: Readings
    signature: RollbackSignature | None
    distrusted: str = ""

    def first(self, *kinds: str, network: str = "") -> Event | None:
        """The first event of one of these kinds (and, if one is named, about that network)."""
        found = (e for e in self.events if e.event in kinds and network in ("", e.network))
        return next(found, None)

    def last(self, *kinds: str) -> Event | None:
        return next((e for e in reversed(self.events) if e.event in kinds), None)


def read_folder(folder: Path) -> Recorded:
    """Read the folder of a run. Raises BadInput that names the file at fault."""
    if not folder.is_dir():
        raise BadInput([Mistake("not the folder of a run: there is no such folder", str(folder))])
    signature, distrusted = _read_signed(folder / "signature.json")
    return Recorded(
        result=read_result(folder),
        events=_read_journal(folder / "journal.jsonl"),
        picture=_read_picture(folder / "topology.json"),
        readings=_read_telemetry(folder / "telemetry.parquet"),
        signature=signature,
        distrusted=distrusted,
    )


def read_result(folder: Path) -> Result:
    """What came of the run in this folder. Raises BadInput."""
    return _read(folder / "result.json", Result)


def _read_signed(path: Path) -> tuple[RollbackSignature | None, str]:
    """A signature that was sealed here, or why there is none to be believed."""
    if not path.exists():
        return None, ""
    try:
        return read_signature(path, known_key()), ""
    except NotSealedHere as error:
        return None, error.mistakes[0].message


Model = TypeVar("Model", bound=BaseModel)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise BadInput([Mistake("too large to be of a run", str(path))])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput([Mistake(f"cannot be read: {error.strerror}", str(path))]) from None
    except UnicodeDecodeError:
        raise BadInput([Mistake("not a text in UTF-8", str(path))]) from None


def _read(path: Path, kind: type[Model]) -> Model:
    try:
        return kind.model_validate_json(_text(path))
    except ValidationError as error:
        raise BadInput(_mistakes(error, path)) from None


def _mistakes(error: ValidationError, path: Path, line: int | None = None) -> list[Mistake]:
    found = error.errors(include_url=False)[:5]
    return [
        Mistake(f"{'.'.join(map(str, e['loc'])) or 'document'}: {e['msg']}", str(path), line)
        for e in found
    ]


def _read_journal(path: Path) -> tuple[Event, ...]:
    events = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            events.append(Event.model_validate_json(line))
        except ValidationError as error:
            raise BadInput(_mistakes(error, path, number)) from None
    if not events:
        raise BadInput([Mistake("holds no event", str(path))])
    return tuple(events)


def _read_picture(path: Path) -> Picture:
    picture = _read(path, Picture)
    known = {device.name for device in picture.devices}
    ends = {end for link in picture.links for end in (link.a, link.b)}
    if stray := sorted(ends - known):
        raise BadInput(
            [Mistake(f"a link ends at {json.dumps(stray[0])}: no such device", str(path))]
        )
    return picture


def _read_telemetry(path: Path) -> Readings:
    try:
        check_footer(path)
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        if wrong := [name for name, kind in COLUMNS.items() if schema.get(name) != kind]:
            raise BadInput([Mistake(f"no telemetry: column {wrong[0]} is not there", str(path))])
        number = pl.col("value")
        told = table.filter(pl.col("at_s").is_between(0, LATEST_S)).with_columns(
            value=pl.when(number.abs() <= LARGEST).then(number)
        )
        worst = pl.concat(_worst(told)).collect()
        wanted = pl.col("metric").is_in(["utilisation", "up"]) & (pl.col("subject") == "link")
        links = told.filter(wanted).collect()
    except (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        ValueError,
        OSError,
    ):
        raise BadInput([Mistake("cannot be read as telemetry (parquet)", str(path))]) from None
    keys = ["at_s", "network", "name"]
    wide = links.pivot("metric", index=keys, values="value", aggregate_function="max")
    missing = [
        pl.lit(None, pl.Float64).alias(m) for m in ("utilisation", "up") if m not in wide.columns
    ]
    return Readings(worst, wide.with_columns(missing).sort("at_s"))


def _worst(told: pl.LazyFrame) -> Iterable[pl.LazyFrame]:
    """The highest value at each instant; of links, of all demands, and of the critical ones."""
    critical = pl.col("name").str.contains(":critical/", literal=True)
    parts = (
        ("link", "utilisation", "all", pl.lit(value=True)),
        ("demand", "latency_s", "all", pl.lit(value=True)),
        ("demand", "loss", "all", pl.lit(value=True)),
        ("demand", "latency_s", "critical", critical),
        ("demand", "loss", "critical", critical),
    )
    for subject, metric, scope, which in parts:
        mine = told.filter((pl.col("subject") == subject) & (pl.col("metric") == metric) & which)
        highest = mine.group_by("at_s", "network").agg(pl.col("value").max())
        yield highest.select(
            "at_s", "network", measure=pl.lit(metric), scope=pl.lit(scope), value="value"
        ).sort("network", "at_s")
