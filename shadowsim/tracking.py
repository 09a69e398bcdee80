"""Trainings and evaluations to MLflow; where it cannot be reached, to files, and the work goes on.

Nothing here ever stops the work: whatever MLflow cannot take is told in words once a run, and kept
in a folder. MLflow is imported when it is first used, which takes seconds, with its telemetry
switched off. Its stages are deprecated since 2.9, so a registered model has aliases instead: the
version made last is the `candidate`, the one in use the `champion`.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CANDIDATE, CHAMPION = "candidate", "champion"
MOST_METRICS, MOST_PARAMETERS = 1000, 100  # that MLflow takes at once
LONGEST = 6000  # characters of a parameter that MLflow takes
SQLITE = "sqlite:///"
KEPT = "untracked.jsonl"
PARENT = "mlflow.parentRunId"  # the tag by which MLflow knows what stands below what
DEFAULT_STORE, OFF = "sqlite:///runs/mlflow.db", "off"
EXPERIMENT = "shadowsim"

Item = TypeVar("Item")


class Tracked(Protocol):
    """One run while it is tracked."""

    @property
    def complete(self) -> bool:
        """Whether nothing of it had to be kept elsewhere so far."""
        ...

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers by name; nan is one."""
        ...

    def figure(self, figure: Figure, name: str) -> None:
        """A picture; the ending of its name says in which format."""
        ...

    def artifact(self, path: Path, folder: str = "") -> None:
        """A file, put into a folder of the run."""
        ...

    def model(self, path: Path, name: str) -> None:
        """A model file, registered under a name as its newest version and `candidate`."""
        ...

    def inner(
        self, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> AbstractContextManager[Tracked]:
        """Track a part of this run as a run of its own that stands below it."""
        ...


class Tracking(Protocol):
    """Where runs are tracked."""

    def run(
        self, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> AbstractContextManager[Tracked]:
        """Track what is done inside; if that raises, the run is a failed one, and it is raised."""
        ...

    def promote(self, model: str) -> None:
        """Make the candidate of a registered model its champion."""
        ...


class Untracked:
    """Tracks nothing."""

    @contextmanager
    def run(
        self, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[Tracked]:
        yield _Nothing()

    def promote(self, model: str) -> None:
        """Nothing is registered."""


class _Nothing:
    complete = True

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None: ...

    def figure(self, figure: Figure, name: str) -> None: ...

    def artifact(self, path: Path, folder: str = "") -> None: ...

    def model(self, path: Path, name: str) -> None: ...

    @contextmanager
    def inner(
        self, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[Tracked]:
        yield self


class Down(Exception):
    """MLflow cannot be used; the message says why, in words."""


class Mlflow:
    """An experiment in an MLflow store: `sqlite:///PATH`, or the address of a server.

    `kept` is the folder for what the store does not take, `now` the time in seconds since 1970,
    `wait_s` how long a locked database is waited for. `warn` is told what went wrong.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        kept: Path,
        warn: Callable[[str], None],
        now: Callable[[], float],
        wait_s: float = 5.0,
    ) -> None:
        self._uri, self._experiment, self._wait_s = uri, experiment, wait_s
        self.kept, self.warn, self.now = kept, warn, now
        self._client: Any = None
        self._experiment_id: str | None = None

    def prepare(self) -> bool:
        """Create the database and the experiment; before workers start, who would all try to."""
        try:
            self.experiment_id()
        except Down as down:
            self.warn(f"MLflow is not ready: {down}")
            return False
        return True

    @contextmanager
    def run(
        self, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[Tracked]:
        with _Run(self, name).followed(parameters, tags) as run:
            yield run

    def promote(self, model: str) -> None:
        def act(client: Any) -> None:
            version = client.get_model_version_by_alias(model, CANDIDATE).version
            client.set_registered_model_alias(model, CHAMPION, version)

        try:
            self.use(act)
        except Down as down:
            self.warn(f"MLflow still has the old {CHAMPION} of {model}: {down}")
            self.keep("promote", model=model)

    def keep(self, kind: str, save: Callable[[], None] = lambda: None, **data: object) -> None:
        """Write down what MLflow did not take, as a line of JSON, and `save` what is no text."""
        try:
            self.kept.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"kind": kind, **_plain(data)}, ensure_ascii=False)
            with (self.kept / KEPT).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            save()
        except OSError as error:
            self.warn(f"nor can it be kept: {_words(error)}")

    def experiment_id(self) -> str:
        """The number of the experiment, which is made if there is none. Raises Down."""
        if self._experiment_id is None:
            self._experiment_id = str(self.use(self._find_experiment))
        return self._experiment_id

    def _find_experiment(self, client: Any) -> Any:
        found = client.get_experiment_by_name(self._experiment)
        if found is not None:
            return found.experiment_id
        database = database_of(self._uri)
        if database is not None:
            _write_ahead(database)
        place = None if database is None else (database.parent / "artifacts").as_uri()
        return client.create_experiment(self._experiment, artifact_location=place)

    def use(self, act: Callable[[Any], Any]) -> Any:
        """Do something with MLflow's client. Raises Down, and nothing else."""
        try:
            check(self._uri, self._wait_s)
            if self._client is None:
                self._client = _imported().MlflowClient(self._uri, self._uri)
            return act(self._client)
        except Down:
            raise
        # MLflow raises its own errors, those of SQLAlchemy, of requests and of the system.
        except Exception as error:
            raise Down(_words(error)) from error


class _Run:
    """One run in the store; from the first thing it does not take on, in files.

    The store then has it as one that still runs, since nobody can tell it otherwise.
    """

    def __init__(self, store: Mlflow, name: str, *, lost: bool = False) -> None:
        self._store, self._name = store, name
        self._id: str | None = None
        self._lost = lost

    @property
    def complete(self) -> bool:
        return not self._lost

    @contextmanager
    def followed(self, parameters: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[_Run]:
        self.start(parameters, tags)
        try:
            yield self
        except BaseException as error:
            self.end("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        self.end("FINISHED")

    @contextmanager
    def inner(
        self, name: str, parameters: Mapping[str, object], tags: Mapping[str, str]
    ) -> Iterator[Tracked]:
        run = _Run(self._store, name, lost=self._lost)
        above = {} if self._id is None else {PARENT: self._id}
        try:
            with run.followed(parameters, {**tags, **above}):
                yield run
        finally:
            self._lost = run._lost  # the store is asked once, not once for each part

    def start(self, parameters: Mapping[str, object], tags: Mapping[str, str]) -> None:
        texts = {_key(name): str(value)[:LONGEST] for name, value in parameters.items()}

        def act(client: Any) -> None:
            experiment = self._store.experiment_id()
            made = client.create_run(experiment, run_name=self._name, tags=dict(tags))
            self._id = made.info.run_id
            entities = _imported().entities
            for part in _parts([entities.Param(*pair) for pair in texts.items()], MOST_PARAMETERS):
                client.log_batch(self._id, params=part)

        self._do(act, "start", parameters=texts, tags=dict(tags))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        numbers = {_key(name): float(value) for name, value in values.items()}

        def act(client: Any) -> None:
            metric, at_ms = _imported().entities.Metric, int(1000 * self._store.now())
            entities = [metric(name, value, at_ms, step) for name, value in numbers.items()]
            for part in _parts(entities, MOST_METRICS):
                client.log_batch(self._id, metrics=part)

        self._do(act, "metrics", values=numbers, step=step)

    def figure(self, figure: Figure, name: str) -> None:
        def act(client: Any) -> None:
            with tempfile.TemporaryDirectory() as folder:
                figure.savefig(Path(folder) / name)
                client.log_artifact(self._id, str(Path(folder) / name), "figures")

        save = partial(figure.savefig, self._store.kept / name)
        self._do(act, "figure", save, name=name)

    def artifact(self, path: Path, folder: str = "") -> None:
        self._do(
            lambda client: client.log_artifact(self._id, str(path), folder or None),
            "artifact",
            path=str(path),
        )

    def model(self, path: Path, name: str) -> None:
        def act(client: Any) -> None:
            client.log_artifact(self._id, str(path), "model")
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            root = client.get_run(self._id).info.artifact_uri
            made = client.create_model_version(name, f"{root}/model/{path.name}", self._id)
            client.set_registered_model_alias(name, CANDIDATE, made.version)

        self._do(act, "model", path=str(path), name=name)

    def end(self, status: str) -> None:
        self._do(lambda client: client.set_terminated(self._id, status), "end", status=status)

    def _do(
        self,
        act: Callable[[Any], None],
        kind: str,
        save: Callable[[], None] = lambda: None,
        **data: object,
    ) -> None:
        """Have the store take something; keep it if it does not, and ask it no more."""
        if not self._lost:
            try:
                self._store.use(act)
                return
            except Down as down:
                self._lost = True
                self._store.warn(
                    f"MLflow does not track {self._name} any further: {down}. The work goes on;"
                    f" what is missing there is kept in {self._store.kept}"
                )
        self._store.keep(kind, save, run=self._name, **data)


def check(uri: str, wait_s: float) -> None:
    """Whether a database of one file can be written to. Raises Down with what is wrong with it.

    MLflow itself would try for most of a minute, and say so in a traceback.
    """
    database = database_of(uri)
    if database is None:
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database, timeout=wait_s)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except (OSError, sqlite3.Error) as error:
        raise Down(f"{database}: {_words(error)}") from error


def _write_ahead(database: Path) -> None:
    """Give a new database a write-ahead log for good, if nobody is at it: that is twice as fast."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def database_of(uri: str) -> Path | None:
    """The file that holds the store; None if it is none of SQLite."""
    return Path(uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _imported() -> Any:
    """MLflow, which tells nobody that it is used and says nothing unless something is wrong."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    try:
        found = importlib.import_module("mlflow")
    except ImportError as error:
        raise Down(
            f"MLflow cannot be imported ({_words(error)}); try pip install mlflow"
        ) from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return found


def _words(error: BaseException) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return text[:300] or type(error).__name__


def _key(name: str) -> str:
    """A name with only what MLflow allows in one."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]


def _parts(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while part := list(islice(rest, most)):
        yield part
