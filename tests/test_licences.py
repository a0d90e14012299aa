"""docs/develop/third-party.md names the licence of everything that the lock brings."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def licences(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", root / "docs" / "_site" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_distribution_of_the_lock_is_named_once(licences: ModuleType) -> None:
    table = licences.PAGE.read_text().partition(licences.BEGIN)[2].partition(licences.END)[0]
    rows = re.findall(r"^\| (\S.*) \| (\S.*) \|$", table, re.M)[1:]
    named = [name for _, names in rows for name in names.split(", ")]
    assert sorted(named) == licences.distributions(licences.LOCK.read_text())
    assert {"pyiqa", "pygit2", "grandalf", "nvidia-cublas", "torch"} <= set(named)


def test_the_page_is_as_make_licences_makes_it(licences: ModuleType) -> None:
    text = licences.PAGE.read_text()
    assert licences.page(text, licences.LOCK.read_text()) == text


def test_a_distribution_without_a_known_licence_is_named(licences: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no licence is known of nobody-knows: look it up"):
        licences.table("pillow==1.0 \\\n    --hash=sha256:0\nnobody-knows[extra]==1.0\n")
