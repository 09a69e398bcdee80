"""The forecasts of a run to looks as a history has them: evidence that can be learned from."""

from __future__ import annotations

import hashlib
import io
from typing import Any

from shadowsim.arrow import table
from shadowsim.history.looks import EVALUATION_EVERY_S, Look, Observer, columns_of
from shadowsim.history.observing import ASKED, observer_beside
from shadowsim.model.truth import MODES
from shadowsim.precog import Evidence
from shadowsim.precog.features import NAMES
from shadowsim.precog.past import concerned
from shadowsim.scenario import Scenario
from shadowsim.workflow import Run


class Recorder:
    """Keeps one look at the gate, and one at production every 2 s: a `Run.looked`.

    Only what an operator sees goes in, and no label. It cannot end a run: where a look cannot be
    computed the journal says so, and no more are taken.
    """

    def __init__(self, scenario: Scenario, observer: Observer | None = None) -> None:
        self._scenario = scenario
        self._observer = observer
        self._looks: list[Look] = []
        self._lost = False

    def __call__(self, run: Run, evidence: Evidence) -> None:
        since_s = run.now - run.since_s(evidence.phase)
        if self._lost or not self._is_due(run.phase, evidence.phase, since_s):
            return
        try:
            if self._observer is None:
                self._observer = observer_beside(run.precog, run.whatif, ASKED)
            self._looks.append(self._observer.look(evidence, since_s)[0])
        # Whatever it is: production may be half changed, and the run has to see to that.
        except Exception as error:
            self._lost = True
            run.note("looks_lost", why=str(error) or type(error).__name__)

    def _is_due(self, phase_of_run: str, phase: str, since_s: float) -> bool:
        if phase == "shadow":
            return phase_of_run == "risk_assessment"
        last_s = max((k.since_s for k in self._looks if k.phase == phase), default=0.0)
        return since_s >= last_s + EVALUATION_EVERY_S - 1e-9

    def parquet(self) -> bytes:
        """The file of these looks; empty if the run came to no gate, or a look was lost."""
        if self._lost or not self._looks:
            return b""
        from pyarrow.parquet import write_table

        _, kinds = concerned(self._scenario.topology, self._scenario.change)
        of = (0, self._scenario.topology.name, " + ".join(kinds))
        columns = columns_of([(of, look) for look in self._looks], NAMES, ASKED)
        found = io.BytesIO()
        write_table(
            table(columns), found,
            compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False,
        )  # fmt: skip
        return found.getvalue()

    def document(self, data: bytes) -> dict[str, Any] | None:
        """What the record of the run says of the file, which is `data`: its digest, its rows, and
        what each variant said at the gate (null: it did not know). None without a file.
        """
        if not data:
            return None
        gate = self._looks[0].forecasts
        return {
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": len(self._looks),
            "said": {
                name: {
                    mode: round(p, 4) if p == p else None
                    for mode, p in zip(MODES, row.tolist(), strict=True)
                }
                for name, row in zip(ASKED, gate, strict=True)
            },
        }
