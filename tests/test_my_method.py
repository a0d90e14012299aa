"""Plug-ins: found, planned without torch, refused in one line, fingerprinted; the table of the example."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from samdiffsr.core import plugins
from samdiffsr.core.errors import UserError
from samdiffsr.core.plugins import load_plugins
from tests.workflow import ROOT, TINY, Workflow

EXAMPLE = ROOT / "examples/my_method"


def python(code: str, folder: Path, **environment: str) -> str:
    """What a fresh Python prints, or the last line of its error."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def test_the_example_is_short() -> None:
    lines = (EXAMPLE / "late_shift.py").read_text().splitlines()
    assert len(lines) < 30


def test_the_example_is_planned_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from samdiffsr.config.overlays import configured\n"
        "from samdiffsr.workflow import recipes, configuration\n"
        "config = configured(Path('config.yaml'), [Path('examples/my_method/config.yaml')])\n"
        "print('\"formulation\":\"late_shift\"' in recipes.denoiser(config, 'late_shift', 4, 0),\n"
        "      configuration.environment(config)['SAMDIFFSR_PLUGINS'], 'torch' in sys.modules)"
    )
    assert python(code, ROOT) == "True examples.my_method.late_shift False"


def test_a_study_from_python_takes_plugins_in_a_tuple() -> None:
    code = (
        "from samdiffsr import open_study; from samdiffsr.diffusion.registry import FORMULATIONS\n"
        "open_study(plugins=('examples.my_method.late_shift',)); print('late_shift' in FORMULATIONS)"
    )
    assert python(code, ROOT) == "True"


def test_the_example_passes_the_gate() -> None:
    words = ["check-formulation", "late_shift", "--plugin", "examples.my_method.late_shift"]
    said = python(f"from samdiffsr.cli.app import main; main({words})", ROOT)
    assert said.splitlines()[-1] == "late_shift: unbiased, as declared"


def test_an_image_is_upscaled_by_a_model_of_a_plugin(tmp_path: Path) -> None:
    words = ["upscale", "a.png", "--out", "b.png", "--checkpoint", "m.pt", "--plugin", "no_such_plugin"]
    said = python(f"from samdiffsr.cli.app import main; main({words})", tmp_path)
    assert "plug-in 'no_such_plugin': ModuleNotFoundError" in said


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module that can be imported by its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> None:
        path = tmp_path / (name.replace(".", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return write


def test_what_is_wrong_with_a_plugin_is_one_line(module: Any, tmp_path: Path) -> None:
    module("failing_plugin", "1 / 0")
    module("heavy_plugin", "import torch")
    with pytest.raises(UserError, match="plug-in 'no_such_plugin': ModuleNotFoundError: No module named"):
        load_plugins(["no_such_plugin"])
    with pytest.raises(UserError, match="plug-in 'failing_plugin': ZeroDivisionError: division by zero"):
        load_plugins(["failing_plugin"])
    code = "from samdiffsr.core.plugins import load_plugins; load_plugins(['heavy_plugin'])"
    assert python(code, tmp_path).endswith(
        "plug-in 'heavy_plugin': imports torch; import it inside the functions that need it"
    )


def test_an_installed_plugin_is_found_by_its_entry_point(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module("installed_plugin", "")
    point = metadata.EntryPoint("mine", "installed_plugin", plugins.GROUP)

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        return [point] if group == "samdiffsr.plugins" else []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    plugins._installed.cache_clear()
    try:
        load_plugins()
        assert "installed_plugin" in sys.modules
    finally:
        plugins._installed.cache_clear()
        sys.modules.pop("installed_plugin", None)


CODES = (
    "from pathlib import Path; from samdiffsr.config.overlays import configured\n"
    "from samdiffsr.workflow.arguments import encoding_code, restoring_code, training_code\n"
    f"config = configured(Path({str(ROOT / 'config.yaml')!r}), [Path('mine.yaml')])\n"
    "for variant in ('mine', 'sam_diffsr', 'srdiff'):\n"
    "    print(training_code(config, variant), restoring_code(config, variant))\n"
    "print(encoding_code(config, 'rope-width-region-sum-zero'))"
)
METHOD = """
from samdiffsr.diffusion.registry import FORMULATIONS, Arm
from .tables import tables

FORMULATIONS.register("mine", Arm(f"{__name__}:tables"))
"""


def test_an_edited_plugin_changes_the_code_of_its_variants_alone(module: Any, tmp_path: Path) -> None:
    """Also where what it imports of its own package is edited; a comment changes nothing."""
    module("pack.method", METHOD)
    module("pack.tables", "def tables(schedule): return schedule.phi, schedule.phi")
    config = {
        "plugins": ["pack.method"],
        "variants": {"mine": {"base": "sam_diffsr", "label": "Mine", "formulation": "mine"}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    before = python(CODES, tmp_path).splitlines()
    assert len(before) == 4
    module("pack.tables", "def tables(schedule): return schedule.phi, schedule.phi  # the same")
    assert python(CODES, tmp_path).splitlines() == before
    module("pack.tables", "def tables(schedule): return schedule.phi, 2 * schedule.phi")
    after = python(CODES, tmp_path).splitlines()
    assert after[1:] == before[1:]
    mine, theirs = before[0].split(), after[0].split()
    assert mine[0] != theirs[0]
    assert mine[1] != theirs[1]


PROTOCOL = """
from samdiffsr.evaluation.protocol import PROTOCOLS, Protocol, Way

PROTOCOLS.register("shaved", Way("shaved", f"{__name__}:shaved"))

def shaved(sr, cropped, hr, scale):
    return sr, cropped, Protocol(multiple=2 * scale, border=1)
"""
SCORED = (
    "from pathlib import Path; from samdiffsr.config.overlays import configured\n"
    "from samdiffsr.workflow.arguments import image_scoring_code, protocol_scoring_code\n"
    f"config = configured(Path({str(ROOT / 'config.yaml')!r}), [Path('mine.yaml')])\n"
    "print(protocol_scoring_code(config))\nprint(image_scoring_code(config))"
)


def test_an_edited_protocol_of_a_plugin_is_scored_by_again_where_it_is_asked_for(
    module: Any, tmp_path: Path
) -> None:
    def codes(*protocols: str) -> list[str]:
        table = {"title": "Mine", "metrics": ["psnr_y"], "rows": ["srdiff"], "protocols": list(protocols)}
        config = {"plugins": ["ways"], "tables": {"tablemine": table}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
        return python(SCORED, tmp_path).splitlines()

    module("ways", PROTOCOL)
    asked, other = codes("authors", "shaved"), codes("authors", "border")
    assert len(asked) == 2
    module("ways", PROTOCOL.replace("border=1", "border=2"))
    assert codes("authors", "border") == other
    after = codes("authors", "shaved")
    assert after[0] != asked[0]
    assert after[1] == asked[1]


@pytest.mark.slow
@pytest.mark.workflow
def test_the_example_ends_in_a_table_with_control_placebo_and_interval(tmp_path: Path) -> None:
    from skimage.data import astronaut

    workflow = Workflow.new(tmp_path / "repository", tmp_path / "config.yaml")
    shutil.copytree(EXAMPLE, workflow.folder / "examples/my_method")
    (workflow.folder / "crops").mkdir()
    photograph = astronaut()
    for i in range(6):
        crop = np.ascontiguousarray(photograph[64 * i : 64 * i + 64, 200:264])
        Image.fromarray(crop).save(workflow.folder / f"crops/{i}.png")
    config = yaml.safe_load(TINY.read_text())
    config |= {"datasets": {"crops": {"folder": "crops", "source": "local", "label": "Crops"}}}
    config["studies"]["demo"] |= {"test_sets": ["crops"], "seeds": [0, 1]}
    config["studies"]["demo"]["sampling"] |= {"weights": ["ema"]}
    merged = {**config, **yaml.safe_load((EXAMPLE / "config.yaml").read_text())}
    workflow.config.write_text(yaml.safe_dump(merged))
    result = workflow("results/tablemine.csv")
    assert result.code == 0, result.text
    with open(workflow.folder / "results/tablemine.csv", newline="") as file:
        methods = [row["Method"] for row in csv.DictReader(file)]
    assert methods == ["SRDiff", "SAM-DiffSR", "Late shift (placebo)", "Late shift"]
    with open(workflow.folder / "results/tablemine_differences.csv", newline="") as file:
        claims = {(row["of"], row["minus"]): row for row in csv.DictReader(file) if row["metric"] == "psnr_y"}
    for other in ("SRDiff", "Late shift (placebo)"):
        claim = claims["Late shift", other]
        assert float(claim["ci_low"]) < float(claim["mean"]) < float(claim["ci_high"])
    assert (
        "2 seeds, 6 images: too few seeds to decide" in (workflow.folder / "results/tablemine.md").read_text()
    )

    path = workflow.folder / "examples/my_method/late_shift.py"
    path.write_text(path.read_text().replace("s**4", "s**6"))
    jobs = workflow.dry("results/tablemine.csv").jobs
    assert jobs["train_denoiser"] == 4  # two seeds of the method and of its placebo
    assert jobs["sample"] == 4
    assert "train_encoder" not in jobs
