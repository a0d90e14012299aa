"""The real workflow, end to end on the demo photographs at a tiny size; what runs again after a change."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image

from samdiffsr.config.overlays import merged
from samdiffsr.config.reading import read_mapping
from tests.workflow import ROOT, Workflow

pytestmark = pytest.mark.workflow
TABLE = "results/table2.csv"
NOTEBOOK = ROOT / "docs/start/first-hour.ipynb"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A folder in which table 2 has been made. Not to be changed: take a copy."""
    workflow = Workflow.new(tmp_path_factory.mktemp("workflow") / "repository")
    result = workflow(TABLE)
    assert result.code == 0, result.text
    return workflow


@pytest.fixture
def copy(finished: Workflow, tmp_path: Path) -> Workflow:
    return finished.copy(tmp_path / "copy")


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_can_be_made_again_from_the_scores_of_images_alone(
    finished: Workflow, tmp_path: Path
) -> None:
    """As from committed ones: every other rule's output counts as given, nothing is trained or drawn."""
    clone = Workflow.new(tmp_path / "clone")
    shutil.copytree(finished.folder / "results/demo/scores", clone.folder / "results/demo/scores")
    result = clone("results/demo/table2.csv", "--allowed-rules", "gather", cores=1)
    assert result.code == 0, result.text
    made = sorted((clone.folder / "results/demo").glob("table2*"))
    assert len(made) == 5
    for path in made:
        assert path.read_bytes() == (finished.folder / "results/demo" / path.name).read_bytes(), path.name


def test_the_table_has_the_papers_rows_and_measured_numbers(finished: Workflow) -> None:
    wide = _rows(finished.folder / TABLE)
    methods = [row["Method"] for row in wide]
    assert [methods[i] for i in (0, 1, -2, -1)] == ["Bicubic", "RRDB (encoder alone)", "SRDiff", "SAM-DiffSR"]
    assert methods[2:4] == ["SRGAN", "SFTGAN"]  # the paper's, not run here
    assert set(wide[2].values()) == {"SRGAN", ""}
    assert list(wide[0])[:3] == ["Method", "Demo PSNR-Y (dB)", "Demo SSIM-Y"]
    # bicubic is not random: astronaut and chelsea by the authors' protocol
    assert (wide[0]["Demo PSNR-Y (dB)"], wide[0]["Demo SSIM-Y"]) == ("29.22", "0.8263")
    tidy = _rows(finished.folder / "results/table2_tidy.csv")
    # bicubic once, ours with averaged and raw weights, the paper's ten with neither
    assert len(tidy) == (1 + 3 * 2 + 10) * 10
    assert {row["study"] for row in tidy} == {"demo"}
    measured = [row for row in tidy if row["mean"]]
    assert {row["metric"] for row in measured} == {"psnr_y", "ssim_y", "lr_psnr"}  # the rest needs weights
    assert {row["protocol"] for row in measured} == {"Y(BT.601 studio), crop 0, HR mod 8"}
    assert {row["n"] for row in measured} == {"2"}
    assert all(row["why_empty"] for row in tidy if not row["mean"])
    assert "not found; download https://" in next(r["why_empty"] for r in tidy if r["metric"] == "fid_clean")
    assert {(row["method"], row["masks"]) for row in tidy} >= {
        ("SAM-DiffSR", "felzenszwalb_fine"),
        ("SRDiff", "none"),
    }
    for row in measured:
        mean = float(next(r for r in wide if r["Method"] == row["method"])["Demo PSNR-Y (dB)"])
        if row["metric"] == "psnr_y" and row["weights"] != "raw":
            assert float(row["mean"]) == pytest.approx(mean, abs=0.0051)


def test_the_table_for_people_and_its_claims(finished: Workflow) -> None:
    text = (finished.folder / "results/table2.md").read_text()
    assert text.startswith("# Table 2: ")
    assert "| Bicubic | **29.22** |" in text or "| Bicubic | 29.22 |" in text
    assert "not comparable with the paper's" in text
    assert "25.54" not in text  # the paper's, of images that are not these
    assert "2 images: too few images to claim anything" in text
    claims = _rows(finished.folder / "results/table2_differences.csv")
    assert {(row["of"], row["minus"]) for row in claims} >= {("SAM-DiffSR", "SRDiff")}
    assert r"\begin{tabular}" in (finished.folder / "results/table2.tex").read_text()


def test_weights_that_arrive_make_their_scores_again(copy: Workflow) -> None:
    (copy.folder / "weights").mkdir()
    (copy.folder / "weights/weights-inception-2015-12-05-6726825d.pth").write_bytes(b"not it")
    jobs = copy.dry(TABLE).jobs
    assert jobs == Counter(score_sets=4, gather=1, show_table=1)
    result = copy(TABLE)
    assert result.code != 0
    assert "has 6 bytes, not 95628359; delete it" in result.text  # never a silent fallback


def test_a_network_that_was_not_trained_is_refused(copy: Workflow, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(copy.config.read_text().replace("stop_below_bicubic: null", "stop_below_bicubic: 1.0"))
    result = Workflow(copy.folder, strict)(TABLE)
    assert result.code != 0
    assert "dB (PSNR) below bicubic, as of a network that was not trained" in result.text
    assert "Traceback" not in result.text


def test_the_images_behind_the_table_are_there_and_of_the_right_size(finished: Workflow) -> None:
    runs = ["bicubic-x4-s0/none"]
    runs += [f"{name}-x4-s0/{w}" for name in ("rrdb", "srdiff", "sam_diffsr") for w in ("ema", "raw")]
    for run in runs:
        folder = finished.folder / "results/demo/samples" / run / "demo_test"
        assert {p.stem: Image.open(p).size for p in folder.iterdir()} == {
            "astronaut": (512, 512),
            "chelsea": (448, 296),
        }


def test_a_second_run_has_nothing_to_do(finished: Workflow) -> None:
    assert finished.dry(TABLE).nothing_to_do


def test_what_may_take_long_decides_nothing(finished: Workflow) -> None:
    assert finished.dry(TABLE, "--config", "allow_slow=true").nothing_to_do


def test_changing_one_variant_runs_it_and_its_tables_and_nothing_else(copy: Workflow) -> None:
    copy.edit(
        "config.yaml", "{label: SAM-DiffSR, masks: high}", "{label: SAM-DiffSR, masks: high, reduce: false}"
    )
    assert copy.dry(TABLE).jobs == Counter(
        train_denoiser=1, sample=2, score=1, score_sets=1, gather=1, show_table=1
    )


def test_changing_a_label_makes_only_the_table_again(copy: Workflow) -> None:
    copy.edit("config.yaml", "{label: SRDiff,", "{label: Plain,")
    assert copy.dry(TABLE).jobs == Counter(gather=1, show_table=1)
    result = copy(TABLE)
    assert result.code == 0, result.text
    assert [row["Method"] for row in _rows(copy.folder / TABLE)][-2] == "Plain"


def test_a_changed_formula_runs_the_stages_that_use_it(copy: Workflow) -> None:
    copy.edit("src/samdiffsr/diffusion/schedule.py", "alpha = 1 - beta", "alpha = 1.0 - beta")
    # both trainings and what follows; the encoder and the encoder's row stay
    jobs = copy.dry(TABLE).jobs
    assert jobs["train_denoiser"] == 2
    assert not jobs.keys() & {"train_encoder", "prepare_hr", "prepare_lr", "segment", "encode", "demo_data"}


@pytest.mark.parametrize("module", ["core/progress.py", "core/files.py", "cli/app.py", "workflow/plan.py"])
def test_what_decides_no_number_runs_nothing(copy: Workflow, module: str) -> None:
    path = copy.folder / "src/samdiffsr" / module
    path.write_text(path.read_text() + "\n\nNEW = 1\n")
    assert copy.dry(TABLE).nothing_to_do


def test_an_edit_of_the_training_loop_trains_again_and_samples_bicubic_no_more(copy: Workflow) -> None:
    path = copy.folder / "src/samdiffsr/training/trainer.py"
    path.write_text(path.read_text() + "\n\nNEW = 1\n")
    result = copy.dry(TABLE)
    jobs = Counter(train_encoder=1, train_denoiser=2, sample=6, score=3, score_sets=3, gather=1, show_table=1)
    assert result.jobs == jobs
    assert "variant=bicubic" not in result.text


def test_a_new_comment_runs_nothing(copy: Workflow) -> None:
    path = copy.folder / "src/samdiffsr/diffusion/schedule.py"
    path.write_text(path.read_text() + "\n# a remark\n")
    assert copy.dry(TABLE).nothing_to_do


def test_one_variant_alone(finished: Workflow) -> None:
    expected = Counter(segment=1, encode=1, train_denoiser=1, sample=2, score=1, ablation_mask_low=1)
    assert finished.dry("ablation_mask_low").jobs == expected


def test_a_new_variant_of_two_lines_appears_in_the_table_without_touching_code(copy: Workflow) -> None:
    copy.edit("config.yaml", "rows: [bicubic,", "rows: [mine, bicubic,")
    copy.edit(
        "config.yaml",
        "variants:\n",
        "variants:\n  mine: {base: mask_low, label: Mine, training: {steps: 3}}\n",
    )
    result = copy(TABLE, "ablation_mine")
    assert result.code == 0, result.text
    assert [row["Method"] for row in _rows(copy.folder / TABLE)][:2] == ["Mine", "Bicubic"]
    rows = _rows(copy.folder / "results/demo/scores/mine-x4-s0/demo_test.csv")
    assert {(row["image"], row["metric"]) for row in rows} >= {("chelsea", "psnr_y"), ("astronaut", "ssim_y")}


def test_an_image_that_is_gone_leaves_its_cell_and_says_so(copy: Workflow) -> None:
    base = copy.folder / "results/demo"
    (base / "samples/srdiff-x4-s0/ema/demo_test/chelsea.png").unlink()
    result = copy(TABLE, "--forcerun", "score")
    assert result.code == 0, result.text
    row = next(
        r
        for r in _rows(copy.folder / "results/table2_tidy.csv")
        if (r["method"], r["metric"], r["weights"]) == ("SRDiff", "psnr_y", "ema")
    )
    assert row["n"] == "1"
    assert "chelsea.png" in row["why_empty"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("label: SRDiff,", "labl: SRDiff,", "variants.srdiff.labl: unknown key (did you mean 'label'?)"),
        (
            "rows: [bicubic,",
            "rows: [bicubik,",
            "tables.table2.rows: no variant 'bicubik' (did you mean 'bicubic'?)",
        ),
        ("study: demo ", "study: demos ", "study: no study 'demos' (did you mean 'demo'?)"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    workflow.edit("config.yaml", old, new)
    result = workflow.dry(TABLE)
    assert result.code != 0
    assert f"config: {words}" in result.text
    assert "Traceback" not in result.text


def test_a_table_or_run_that_is_not_in_the_configuration_is_named(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    result = workflow.dry("results/table99.csv")
    assert result.code != 0
    assert "no table 'table99' in config.yaml" in result.text
    result = workflow.dry("results/demo/runs/nobody-x4-s0/model.safetensors")
    assert result.code != 0
    assert "no variant 'nobody' in config.yaml" in result.text


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        *(pytest.param(other, marks=pytest.mark.slow) for other in ("16 bit", "transparent", "too small")),
    ],
)
def test_a_bad_image_is_named_and_after_the_mend_the_run_completes(copy: Workflow, damage: str) -> None:
    path = copy.folder / "data/demo/train/coffee.png"
    good = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "16 bit":
        Image.new("I;16", (200, 200)).save(path)
    elif damage == "transparent":
        Image.new("RGBA", (200, 200), (1, 2, 3, 4)).save(path)
    else:
        Image.new("RGB", (24, 24)).save(path)
    target = "results/demo/encoders/default-x4-s0/model.safetensors"
    result = copy(target)
    assert result.code != 0
    assert "samdiffsr: error:" in result.text
    assert "coffee" in result.text
    assert "Traceback" not in result.text
    path.write_bytes(good)
    assert copy(target).code == 0


def test_released_checkpoints_that_are_not_there_are_asked_for_by_name(finished: Workflow) -> None:
    result = finished.dry(TABLE, "--config", "checkpoint_source=released")
    assert result.code != 0
    assert "dvc pull checkpoints/demo/" in result.text
    assert "--config checkpoint_source=trained" in result.text


def test_the_first_hour_runs_on_what_the_workflow_made(
    copy: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own, which shows the figures
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    value = merged(read_mapping(copy.folder / "config.yaml"), read_mapping(copy.config))
    (copy.folder / "config.yaml").write_text(yaml.safe_dump(value))
    shutil.copytree(ROOT / "results/kept", copy.folder / "results/kept")
    place = copy.folder / "docs/start"
    place.mkdir(parents=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    here = {"metadata": {"path": str(place)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=here).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "1 seed, 2 images: too few images to claim anything" in said
    assert "8 seeds, 100 images" in said
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) == 5


def test_the_first_hour_is_kept_with_small_outputs_that_name_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert text.count('"image/jpeg"') == 5
    assert len(text) < 300_000
    assert not re.search(r"/(home|tmp|root|work|Users)/", text)


@pytest.mark.slow
def test_two_clones_give_the_same_bytes(finished: Workflow, tmp_path: Path) -> None:
    second = Workflow.new(tmp_path / "second")
    result = second(TABLE)
    assert result.code == 0, result.text
    for name in (TABLE, "results/table2_tidy.csv", "results/demo/runs/sam_diffsr-x4-s0/model.safetensors"):
        assert (finished.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_lint_and_format_of_the_rules() -> None:
    lint = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
