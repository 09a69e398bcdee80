"""On real packets: something dies while a run changes production or changes it back, and production
is old or new in the end. The attack `emulated` does this many times.
"""

from __future__ import annotations

import pytest
from emulation import needs_emulation
from torture.emulated import DEPLOY, KINDS, ROLLBACK, RUN, one

pytestmark = needs_emulation


@pytest.mark.parametrize("phase", [DEPLOY, ROLLBACK])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_killed_production_is_old_or_new_and_the_machine_clean(
    kind: str, phase: str
) -> None:
    outcome, wrong = one(1, kind, phase, 0)
    assert not wrong
    if kind == RUN:
        assert outcome == "rolled_back by guardian"
