"""The code fingerprint: what it sees and what it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samdiffsr.workflow.fingerprint import NEUTRAL, ROOT, _closure


@pytest.fixture
def package(root: Path, tmp_path: Path) -> Path:
    """A copy of the package that may be changed."""
    shutil.copytree(
        root / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    return tmp_path / "src" / "samdiffsr"


def prints(package: Path) -> dict[str, str]:
    stages = {
        "train": "samdiffsr.training.denoiser",
        "encoder": "samdiffsr.training.encoder",
        "sample": "samdiffsr.sampling.restorers",
        "masks": "samdiffsr.masks.segment",
        "encode": "samdiffsr.masks.encode",
        "table": "samdiffsr.reporting.tables.gather",
    }
    code = (
        "import sys, samdiffsr.workflow.fingerprint as f; print(*map(f.fingerprint, sys.argv[1:]),"
        " f.scoring_fingerprint('samdiffsr.evaluation.stages', ['psnr_y', 'artifact']),"
        " f.scoring_fingerprint('samdiffsr.evaluation.set', ['fid_clean']), f.features_fingerprint())"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *stages.values()],
        cwd=package.parent, env={"PYTHONPATH": str(package.parent)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return dict(zip((*stages, "score", "sets", "features"), out.stdout.split(), strict=True))


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("diffusion/schedule.py", "alpha = 1 - beta", "alpha = 1.0 - 1 * beta", {"train", "sample"}),
        ("masks/positions.py", "10", "11", {"encode", "train", "sample"}),
        ("models/rrdb.py", "NEGATIVE_SLOPE = 0.2", "NEGATIVE_SLOPE = 0.1", {"train", "encoder", "sample"}),
        (
            "evaluation/protocol.py",
            "(hr, self.multiple)",
            "(hr, self.multiple + 0)",
            {"score", "sets", "features"},
        ),
        (
            "evaluation/features.py",
            "(images.to(self.device) - 128)",
            "(images.to(self.device) - 127)",
            {"sets", "features"},
        ),
        ("evaluation/image.py", "_EPS = 1e-8", "_EPS = 1e-9", {"score"}),
        ("evaluation/metrics.py", '"PSNR-Y"', '"PSNR of Y"', {"table"}),
        ("evaluation/metrics.py", ':fid"', ':kid"', {"sets", "table"}),
        ("reporting/tables/gather.py", "TIDY_COLUMNS", "SCORES", {"table"}),
        ("training/trainer.py", "def __init__", "def _begin", {"train", "encoder"}),
        ("core/randomness.py", "seed", "sperm", {"train", "encoder", "sample"}),
        ("core/device.py", "amx_bf16", "amx_fp8", {"train", "encoder", "sample"}),
        ("core/progress.py", "tqdm", "bars", set()),
        ("core/files.py", "part", "piece", set()),
        ("core/machine.py", "model name", "vendor", set()),
    ],
)
def test_a_changed_formula_changes_the_stages_that_use_it(
    package: Path, module: str, old: str, new: str, changed: set[str]
) -> None:
    before = prints(package)
    path = package / module
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    after = prints(package)
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_what_decides_no_number_is_there() -> None:
    """A module that was renamed would count again without a word."""
    names = {name.removeprefix("samdiffsr.").replace(".", "/") for name in NEUTRAL - {"samdiffsr"}}
    assert {name for name in names if not (ROOT / f"{name}.py").exists()} <= {"core/logging"}


def test_images_are_sampled_without_a_line_of_training() -> None:
    for root in ("sampling.restorers", "sampling.baselines", "sampling.sample_set"):
        found = _closure((f"samdiffsr.{root}",), NEUTRAL)
        assert not [name for name in found if name.startswith(("samdiffsr.training", "samdiffsr.workflow"))]


def test_comments_docstrings_and_layout_change_nothing(package: Path) -> None:
    before = prints(package)
    for path in package.rglob("*.py"):
        path.write_text("# a new comment\n\n" + path.read_text() + "\n\n# and another\n")
    schedule = package / "diffusion" / "schedule.py"
    schedule.write_text(schedule.read_text().replace('"""The noise schedule', '"""A noise schedule'))
    recipe = package / "diffusion" / "recipe.py"
    recipe.write_text(recipe.read_text().replace('"""Upper limit of beta_t', '"""Largest beta_t'))
    assert prints(package) == before


@pytest.mark.parametrize("module", ["logging", "progress"])
def test_what_is_said_while_a_stage_runs_changes_nothing(package: Path, module: str) -> None:
    before = prints(package)
    path = package / "core" / f"{module}.py"
    path.write_text(path.read_text() + "\nMORE = 1\n")
    assert prints(package) == before
