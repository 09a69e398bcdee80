"""A seed and a number to a folder of labelled changes: sites side by side, each in its order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from shadowsim.batch import Answer, Died, Local
from shadowsim.errors import ShadowsimError
from shadowsim.history.cases import CHANGES_PER_SITE, Case, change_at
from shadowsim.history.folds import ALL
from shadowsim.history.looks import LOOKS
from shadowsim.history.observing import ASKED, SLOW, observer_of
from shadowsim.history.simulate import Record, over_s, simulate
from shadowsim.history.sites import Site, site
from shadowsim.history.store import Manifest, claimed, unfinished, write
from shadowsim.history.tables import labels_of, looks_of
from shadowsim.network import Simulation
from shadowsim.precog.features import NAMES
from shadowsim.precog.past import Past

Progress = Callable[[int, int], None]


def settings(changes: int, seed: int, looks: str, networks: str = ALL) -> Manifest:
    """What a history of these is made with, by this version."""
    variants = (*ASKED, *SLOW) if looks == "evaluation" else ASKED
    return Manifest(changes, seed, looks, NAMES, variants, networks)


def generate(folder: Path, made: Manifest, jobs: int, progress: Progress) -> None:
    """Make a history, or what is missing of one, in `jobs` processes.

    The same settings give the same tables, whatever the number of processes and however often it
    was interrupted. `progress` is told how many changes of how many are there.
    """
    with claimed(folder, made):
        missing = unfinished(folder, made)
        done = made.changes - sum(len(made.at(number)) for number in missing)
        progress(done, made.changes)
        with closing(finished(partial(make_site, folder, made), missing, jobs)) as numbers:
            for number in numbers:
                done += len(made.at(number))
                progress(done, made.changes)


def finished(work: Callable[[int], None], pieces: Sequence[int], jobs: int) -> Generator[int]:
    """Have every piece worked on in `jobs` processes, and say of each when it is done. Raises what
    the work raises, ShadowsimError for a process that dies.
    """
    with closing(Local(jobs).answers(work, pieces)) as answers:
        for answer in answers:
            _check(answer)
            yield answer.piece


def _check(answer: Answer[int, None]) -> None:
    try:
        answer.get()
    except Died as error:
        kept = "what is finished is kept, and the same command goes on from there"
        raise ShadowsimError(f"{error}; {kept}") from None


def make_site(folder: Path, made: Manifest, number: int) -> None:
    """Simulate the changes at a site, and keep them."""
    happened = list(_happened(site(made.seed, number, made.networks), made))
    looks = looks_of(happened, made.features, made.variants)
    write(folder, number, looks, labels_of(happened))


def _happened(where: Site, made: Manifest) -> Iterator[tuple[Case, Record]]:
    """The changes at a site one after another: each sees what came of those before it."""
    past, networks = Past(), Simulation()
    of = where.topology, where.traffic.demands, where.intents
    observer = observer_of(*of, made.variants, networks.worked(*of))
    for number in made.at(where.number):
        try:
            one = change_at(where, number % CHANGES_PER_SITE)
            scenario = one.scenario
            times_s = LOOKS[made.looks](over_s(scenario), scenario.seed)
            record = simulate(scenario, past, observer, times_s, networks)
        except Exception as error:
            error.add_note(f"while at change {number} of seed {made.seed}")
            raise
        past = past.with_outcome(scenario.topology, scenario.change, record.label.failed)
        yield one, record
