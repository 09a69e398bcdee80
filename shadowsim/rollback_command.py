"""`shadowsim rollback`: a run's folder to how its change to production ended, or to an end."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shadowsim.errors import BadInput, Mistake, PersonNeeded, ShadowsimError, Unreachable

if TYPE_CHECKING:
    from shadowsim.commit.generations import Place
    from shadowsim.commit.settle import Standing

POLL_S = 0.1


class StillHeld(PersonNeeded):
    """A guardian that is alive has it."""


def rollback(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of its commit.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Take back what is neither confirmed nor taken back.")
    ] = False,
    wait: Annotated[
        float, typer.Option(help="Seconds for a guardian that is alive to do it.", min=0.0)
    ] = 10.0,
    force: Annotated[
        bool, typer.Option("--force", help="Take it over from a guardian that is alive, too.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Not used here.", min=0, max=2**32 - 1)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")
    ] = False,
) -> None:
    """Say how a run's change to production stands; with --resume, bring one left open to an end.

    Whoever died, and wherever: production is then in its old config, read back, or the words say
    what is missing (exit code 4). What has ended is left alone: a second call writes nothing.
    """
    done = [_attempt(found, wait if resume else None, force) for found in _Found.all_at(run)]
    brought = [one for one in done if isinstance(one, _Brought)]
    if as_json and brought:
        documents = [one.document() for one in brought]
        shown = documents[0] if len(done) == 1 else documents
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    elif not as_json:
        for one in brought:
            typer.echo(one.words() if len(done) == 1 else f"{one.folder}: {one.words()}")
    for failed in done:
        if isinstance(failed, Exception):
            raise failed
    if not all(one.now.settled for one in brought):
        raise typer.Exit(PersonNeeded.exit_code)


def _attempt(found: _Found, wait_s: float | None, force: bool) -> _Brought | Exception:
    """How a commit stands, after it was resumed if `wait_s` is given; or why that is not known.

    One that cannot be settled keeps no other one from it.
    """
    try:
        now = found.standing()
        if wait_s is not None and not now.settled:
            now = found.resume(wait_s, force)
        return _Brought(found.place.folder, now, found.by_hand(now))
    except Unreachable as error:
        words = f"production does not answer, so that nobody knows what it has: {error}"
        return PersonNeeded(f"{found.place.folder}: {words}")
    except (ShadowsimError, OSError) as error:
        return error


@dataclass(frozen=True)
class _Brought:
    """How a commit stands, and the script for what is left to a person of it."""

    folder: Path
    now: Standing
    by_hand: str

    def words(self) -> str:
        return _words(self.now, self.by_hand)

    def document(self) -> dict[str, Any]:
        return _document(self.folder, self.now) | {"by_hand": self.by_hand.splitlines()}


@dataclass(frozen=True)
class _Found:
    place: Place

    @classmethod
    def all_at(cls, run: Path) -> list[_Found]:
        """The commits that belong to a run: one, as a rule. Raises BadInput if there is none."""
        from shadowsim.commit.hold import STOWED, beside, commits_in

        here = Path(os.path.abspath(run))  # noqa: PTH100  resolve() would follow links
        there = Path(os.path.realpath(run))  # and fails for those that lead in a circle
        named = [folder for folder in dict.fromkeys((here, there)) if folder.name]
        for folder in (*map(beside, named), here / STOWED, here):
            if commits := commits_in(folder):
                return [cls.of(commit) for commit in commits]
        if run.is_dir():
            message = "no change to production was begun here; there is nothing to take back"
        else:
            message = "no folder of a run"
        raise BadInput([Mistake(message, str(run))])

    @classmethod
    def of(cls, commit: Path) -> _Found:
        """The commit in this folder."""
        from shadowsim.commit.disk import RealDisk
        from shadowsim.commit.generations import Place
        from shadowsim.rollback.key import installation_key

        return cls(Place(RealDisk(), commit.absolute(), installation_key()))

    def standing(self) -> Standing:
        from shadowsim.commit.reach import reach_in
        from shadowsim.commit.settle import standing

        return standing(self.place, reach_in(self.place.folder))

    def by_hand(self, now: Standing) -> str:
        """The script by which a person takes back what the run has left to one; "" if none is.

        The commit has ended: no guardian and no `--resume` may touch production any more, since a
        person may be at work there already.
        """
        from shadowsim.commit.reach import reach_in
        from shadowsim.commit.settle import left
        from shadowsim.model.change import render_script

        if now.terms is None or now.state != "halted" or now.position in ("old", "gone"):
            return ""
        return render_script(left(now.terms, reach_in(self.place.folder)(now.terms).read()))

    def resume(self, wait_s: float, force: bool) -> Standing:
        """Settle it, after whoever else is about to has had time to."""
        from shadowsim.commit.guardian import patience
        from shadowsim.commit.holder import holding
        from shadowsim.commit.reach import reach_in
        from shadowsim.commit.settle import settle

        until_s = time.monotonic() + (0.0 if force else wait_s)
        while True:
            with holding(self.place.folder) as free:
                if free or force:
                    reach = reach_in(self.place.folder)
                    return settle(self.place, reach, "resumed by hand", patience(time.monotonic))
            now = self.standing()
            if now.settled:
                return now
            if time.monotonic() > until_s:
                raise StillHeld(
                    f"{self.place.folder}: its guardian is alive and takes the change back when"
                    " its deadline passes; --force takes it over now"
                )
            time.sleep(POLL_S)


def told(commit: Path | None) -> tuple[bool, str]:
    """Whether the change of a run that made this commit has been settled, and how it stands."""
    if commit is None:
        return True, "nothing was sent to production"
    if not commit.exists():
        return False, f"{commit}: is gone, so that nobody knows what production has"
    found = _Found.of(commit)
    now = found.standing()
    return now.settled, _words(now, found.by_hand(now))


def _words(now: Standing, by_hand: str) -> str:
    config = {
        "old": "production has its old config",
        "new": "production has its new config",
        "mixed": "production has neither its old nor its new config",
        "gone": "production is gone with its network",
        "": "nothing was sent to production",
    }[now.position]
    if now.state == "rolled_back" and now.position == "mixed":
        config = "production has the new config without the part that was blamed"
    why = f" ({now.why})" if now.why else ""
    comes = "ends the commit" if now.position == "gone" else "takes the change back"
    what_next = "" if now.settled else f"; 'shadowsim rollback --resume' {comes}"
    if by_hand:
        what_next = (
            "; the run left it to a person, so --resume leaves it too. This script takes back what"
            f" is left of the change:\n{by_hand.rstrip()}"
        )
    return f"{now.state}{why}: {config}{what_next}"


def _document(folder: Path, now: Standing) -> dict[str, Any]:
    return {
        "commit": str(folder),
        "state": now.state,
        "why": now.why,
        "production": now.position or "untouched",
        "generation": now.generation,
        "change": "" if now.terms is None else now.terms.change.summary,
        "torn": now.log.torn,
        "log": [{"kind": r.kind, **r.data} for r in now.log.records if r.kind != "open"],
    }
