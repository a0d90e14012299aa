"""What the tests share: one thread per process, and the offline mirror where there is one."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from samdiffsr.data import catalogue
from samdiffsr.evaluation.metrics import METRICS
from tests.world import build

pytest_plugins = ["tests.training"]  # the fixtures of tiny trainings
CACHE = tempfile.TemporaryDirectory(prefix="samdiffsr-cache-")  # until the interpreter ends
os.environ["SAMDIFFSR_CACHE"] = CACHE.name
COUNTS = pytest.StashKey[Counter[str]]()
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def mirror() -> Path:
    """A local mirror of the upstream data repositories (config.yaml, `mirror`); tests that need it skip
    without one."""
    path = Path(os.environ.get("SAMDIFFSR_MIRROR", ROOT.parent / "shared" / "mirror"))
    if not path.is_dir():
        pytest.skip("no mirror of BSDS500 and SelfExSR at hand: set SAMDIFFSR_MIRROR to run this test")
    return path


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the package says: `said.messages` are the lines so far, `said.clear()` forgets them."""
    caplog.set_level(logging.INFO, "samdiffsr")
    return caplog


@pytest.fixture
def own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `metrics:` of a test's configuration defines is known to the process, and gone after the test."""
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    monkeypatch.setattr(catalogue, "_declared", {})


@pytest.fixture(scope="session")
def count(pytestconfig: pytest.Config) -> Counter[str]:
    """What tests count and the last lines of a run tell: what -> how many."""
    return pytestconfig.stash.setdefault(COUNTS, Counter())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers take whole files, since the tests of one share a finished workflow. Those begin that run it in
    most tests, as they take longest."""
    runs = Counter(item.path for item in items if item.get_closest_marker("workflow"))
    items.sort(key=lambda item: (-runs[item.path], str(item.path)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its counts over."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = dict(session.config.stash.get(COUNTS, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller adds them up."""
    counts = node.config.stash.setdefault(COUNTS, Counter())
    counts.update(getattr(node, "workeroutput", {}).get("counts", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for what, number in config.stash.get(COUNTS, Counter()).items():
        terminalreporter.write_line(f"{number} {what}")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small input of every stage (tests/world.py). Not to be changed: take a copy."""
    folder = tmp_path_factory.mktemp("world")
    build(folder)
    return folder
