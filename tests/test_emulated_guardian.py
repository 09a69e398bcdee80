"""On real packets: the run dies while it changes production, or changes it back, and its guardian
takes production back. The attack `emulated` does this to every process, many times.
"""

from __future__ import annotations

import pytest
from emulation import needs_emulation
from torture.emulated import DEPLOY, ROLLBACK, RUN, one

pytestmark = needs_emulation


@pytest.mark.parametrize("phase", [DEPLOY, ROLLBACK])
def test_a_run_that_is_killed_leaves_production_old_and_the_machine_clean(phase: str) -> None:
    assert one(1, RUN, phase, 0) == ("rolled_back by guardian", [])
