"""The soak, for two minutes. `python -m tests.soak --minutes 30` runs it for longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import soak


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_minutes_of_kills(tmp_path: Path) -> None:
    count = soak(tmp_path, minutes=2, seed=1)
    assert count["kills"] >= 5
    assert count["tables finished"] >= 4
