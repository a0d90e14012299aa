"""config.yaml: what is accepted, what is refused and how, and what the recipes depend on."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.figures import figure_datasets, figure_recipe
from samdiffsr.config.recipes.stages import (
    denoiser_recipe,
    encoder_recipe,
    sampling_recipe,
    score_recipe,
)
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config.yaml").read_text())


@pytest.fixture
def config(raw: dict[str, Any]) -> Config:
    return load_config(raw)


def _set(path: str, value: Any) -> Any:
    def change(raw: dict[str, Any]) -> None:
        *keys, last = path.split("/")
        for key in keys:
            raw = raw[key]
        raw[last] = value

    return change


def _all(*changes: Any) -> Any:
    def change(raw: dict[str, Any]) -> None:
        for one in changes:
            one(raw)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("studdy", "demo"), ["studdy", "unknown key", "'study'"]),
        (_set("study", "dmo"), ["study", "'dmo'", "'demo'"]),
        (_set("device", "gpu"), ["device", "'cuda'", "'gpu'"]),
        (_set("variants/srdiff/formulaton", "none"), ["variants.srdiff.formulaton", "'formulation'"]),
        (_set("variants/srdiff/formulation", "gauss"), ["variants.srdiff.formulation", "'gauss'"]),
        (_set("variants/srdiff/masks", "high"), ["variants.srdiff", "'none' uses no masks"]),
        (_set("variants/sam_diffsr/masks", None), ["variants.sam_diffsr", "'published' needs masks"]),
        (_set("variants/rrdb/masks", "high"), ["variants.rrdb", "uses no masks"]),
        (
            _set("variants/scaled/options", {"gamma": 2}),
            ["variants.scaled", "'scaled' needs 0 < |gamma| <= 1, got gamma=2"],
        ),
        (_set("variants/scaled/options", {"gama": 0.5}), ["variants.scaled", "'scaled' has no option gama"]),
        (
            _set("variants/consistent/options", {"power": -1}),
            ["variants.consistent", "'consistent' needs a finite power of 0 or more, got power=-1"],
        ),
        (_set("variants/srdiff/features", ["area"]), ["srdiff", "features: no effect without masks"]),
        (_set("variants/rrdb/options", {"gamma": 0.5}), ["variants.rrdb", "options: no effect on kind 'enc"]),
        (
            _set("variants/bicubic/backbone", {"kind": "unet"}),
            ["variants.bicubic", "backbone: no effect on kind 'bicubic'"],
        ),
        (
            _set("variants/authors/options", {"strength": 2}),
            ["variants.authors", "options: no effect on a network that others trained"],
        ),
        (_set("variants/mask_low/base", "nobody"), ["variants.mask_low.base", "'nobody'"]),
        (_set("variants/sam_diffsr/base", "mask_low"), ["leads back to itself"]),
        (_set("variants/mask_low/encoder", "huge"), ["variants.mask_low.encoder", "'huge'"]),
        (_set("variants/mask_low/training", {"stepps": 3}), ["variants.mask_low.training.stepps", "'steps'"]),
        (
            _set("variants/mask_low/training", {"steps": "many"}),
            ["variants.mask_low.training.steps", "'many'"],
        ),
        (_set("variants/Upper", {"label": "x"}), ["variants.Upper"]),
        (_set("studies/demo/training/steps", 0), ["studies.demo.training.steps", "0"]),
        (_set("studies/demo/seeds", []), ["studies.demo.seeds"]),
        (_set("studies/demo/train_set", "nowhere"), ["studies.demo.train_set", "'nowhere'"]),
        (_set("studies/demo/masks/high", "sam_h"), ["studies.demo.masks.high", "'sam_h'"]),
        (_set("studies/demo/unet/dim", 7), ["studies.demo.unet.dim", "7"]),
        (_set("mask_sets/felzenszwalb_fine/image", "sr"), ["mask_sets.felzenszwalb_fine.image", "'sr'"]),
        (_set("mask_sets/ucm_k10/segmenter/kind", "ucn"), ["mask_sets.ucm_k10", "'ucn'", "'ucm'"]),
        (_set("studies/demo/mask_shards", 0), ["studies.demo.mask_shards", "0"]),
        (_set("tables/table2/rows", ["srdif"]), ["tables.table2.rows", "'srdif'", "'srdiff'"]),
        (_set("tables/table2/rows", [{"varint": "srdiff"}]), ["tables.table2.rows.0"]),
        (_set("tables/table2/metrics", "psnr_y"), ["tables.table2.metrics"]),
        (_set("tables/table2/metrics", ["psnr"]), ["tables.table2.metrics", "'psnr'"]),
        (_set("tables/table2/rows", [{"label": "x"}]), ["tables.table2.rows.0", "`variant`"]),
        (_set("tables/table2/rows", ["srdiff"]), ["tables.table2.differences", "'sam_diffsr'"]),
        (
            _set("tables/table2/differences", [{"of": "sam_diffsr", "minus": "srdif"}]),
            ["tables.table2.differences", "'srdif'", "'srdiff'"],
        ),
        (
            _set("variants/position_linear/label", "SAM-DiffSR"),
            ["tables.table5.rows: 'sam_diffsr' and 'position_linear' are both called 'SAM-DiffSR'; give one"],
        ),
        (
            _set("tables/table3/rows", ["srdiff", "sam_diffsr", {"variant": "rrdb", "label": "SRDiff"}]),
            ["tables.table3.rows: 'srdiff' and 'rrdb' are both called 'SRDiff'; give one a `label`"],
        ),
        (
            _set("tables/table3/rows", ["srdiff", "sam_diffsr", {"published": "SRDiff"}]),
            ["tables.table3.rows", "'srdiff' and 'SRDiff' are both called 'SRDiff'"],
        ),
        (
            _set("tables/table3/rows", ["srdiff", "sam_diffsr", "srdiff"]),
            ["tables.table3.rows: 'srdiff' stands there twice; give one row a `label`"],
        ),
        (
            _all(_set("study", "small"), _set("datasets/set14/label", "Set5")),
            ["tables.table1.datasets: 'set5' and 'set14' are both called 'Set5'; give one a `label`"],
        ),
        (_set("stop_below_bicubic", -1), ["stop_below_bicubic", "-1"]),
        (_set("tables/table2/scale", 3), ["tables.table2.scale", "3"]),
        (_set("datasets", []), ["datasets"]),
        (_set("figures/fig5", {"kind": "rules", "title": "x"}), ["figures.fig5"]),
        (_set("figures/figure5/kind", "crop"), ["figures.figure5.kind", "'crop'", "mean 'crops'"]),
        (_set("figures/figure5/cuont", 2), ["figures.figure5.cuont", "'count'"]),
        (_set("figures/figure5/variants", ["srdif"]), ["figures.figure5.variants", "'srdif'", "'srdiff'"]),
        (_set("figures/figure5/datasets", ["urban10"]), ["figures.figure5.datasets", "'urban100'"]),
        (
            _set("figures/figure5/crops", [{"dataset": "set5", "image": "baby", "box": [0, -1, 8, 8]}]),
            ["figures.figure5.crops.0.box.1", "-1"],
        ),
        (
            _set("figures/figure5/crops", [{"dataset": "set9", "image": "baby", "box": [0, 0, 8, 8]}]),
            ["figures.figure5.crops", "'set9'", "'set5'"],
        ),
        (_set("figures/figure2/tables", ["tabel2"]), ["figures.figure2.tables", "'tabel2'", "'table2'"]),
        (_set("figures/figure2/tables", ["table2", "table7"]), ["figures.figure2.tables", "scale factors"]),
        (_set("figures/figure2/metrics", ["psnr"]), ["figures.figure2.metrics.0", "'psnr'"]),
        (_set("figures/figure1a/variant", "srdiff"), ["figures.figure1a", "'srdiff' has no masks"]),
        (
            _set("variants/sam_diffsr/features", ["rope", "cosine", "linear"]),
            ["figures.figure1a.variant", "a region of 'sam_diffsr' has 3 numbers"],
        ),
        (
            _set("tables/tables4/metrics", ["mean_error"]),
            ["figures.figure_split.tables", "'tables4' has no metric 'sample_variance'"],
        ),
        (_set("figures/figure1a/times", [5, 101]), ["figures.figure1a.times", "100 steps, not 101"]),
        (_set("figures/figure_steps/steps", [15, 200]), ["figures.figure_steps.steps", "100 steps, not 200"]),
        (
            _set("figures/figure_steps/steps", [15, 100]),
            ["figures.figure_steps.steps: 'sam_diffsr' takes 99 at most, not 100"],
        ),
        (
            _set("studies/demo/sampling", {"steps": 100}),
            ["studies.demo.sampling.steps: 'sam_diffsr' takes 99 at most, not 100; leave it out"],
        ),
        (
            _set("studies/demo/sampling", {"steps": 500}),
            ["studies.demo.sampling.steps: 'srdiff' takes 100 at most, not 500"],
        ),
        (
            _set("studies/demo/sampling", {"start": 150}),
            ["studies.demo.sampling.start: 'srdiff' takes 100 at most, not 150"],
        ),
        (
            _set("variants/sam_diffsr/sampling", {"steps": 40, "start": 30}),
            ["variants.sam_diffsr.sampling.steps: 'sam_diffsr' takes 30 at most, not 40"],
        ),
        (
            _set("variants/authors/sampling", {"steps": 101}),
            ["variants.authors.sampling.steps: 'authors' takes 100 at most, not 101"],
        ),
        (
            _set("figures/figure_steps/variants", ["bicubic"]),
            ["figures.figure_steps", "'bicubic'", "denoiser"],
        ),
        (
            _set("figures/figure_curves/variants", ["srdiff", "authors"]),
            ["figures.figure_curves.variants: 'authors' is imported, so it has no training to show"],
        ),
        (_set("figures/figure_mask_gain/control", "nobody"), ["figures.figure_mask_gain", "'nobody'"]),
        (
            _set("figures/figure_mask_gain/metric", "artifact"),
            ["figures.figure_mask_gain.metric: artifact is compared by ratios"],
        ),
        (
            _set("figures/figure_published/metric", "artifact"),
            ["figures.figure_published.metric: artifact is compared by ratios"],
        ),
        (
            _set("tables/tables2/metrics", ["psnr_y", "lpips"]),
            ["tables.tables2: metrics: under `protocols` psnr_y, ssim_y are scored, and not 'lpips'"],
        ),
        (_set("baselines", "x"), ["baselines: it must map keys to values"]),
        (_set("variants/mask_low/base", ["x"]), ["variants.mask_low.base: must be a variant's name"]),
        (_set("variants/mask_low/base", 1), ["variants.mask_low.base: must be a variant's name, not 1"]),
        (_set("variants/placebo_other/masks", ["high"]), ["variants.placebo_other.masks"]),
        (_set("variants/placebo_other/placebo", "a\nb"), ["variants.placebo_other.placebo: ", "'voronoi'"]),
        (_set("studies/demo/masks/high", {}), ["studies.demo.masks.high"]),
        (_set("studies/demo/unet/mults", []), ["studies.demo.unet.mults: the first of them must be 1"]),
        (_set("studies/demo/unet/mults", [2, 2]), ["studies.demo.unet.mults: the first of them must be 1"]),
        (_set("studies/demo/unet/dim", 2), ["studies.demo.unet.dim"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(raw: dict[str, Any], change: Any, words: list[str]) -> None:
    change(raw)
    with pytest.raises(UserError) as error:
        load_config(raw)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(inner, (*path, key))


def test_whatever_one_value_becomes_it_is_read_or_refused_in_one_line(raw: dict[str, Any]) -> None:
    places = list(_places(raw))
    choice = random.Random(0).choice
    odd = (
        None,
        True,
        -1,
        10**30,
        float("nan"),
        "",
        "a\nb",
        "../x",
        "{scale}",
        [],
        [[]],
        [None],
        {},
        {"a": 1},
    )
    refused = []
    for _ in range(200):
        changed = copy.deepcopy(raw)
        *keys, last = choice(places)
        inner = reduce(getitem, keys, changed)
        inner[last] = choice(odd)
        try:
            load_config(changed)
        except UserError as error:
            refused.append(str(error))
    assert not [line for line in refused if "\n" in line]
    assert 100 < len(refused) < 200


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml: no such file"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("study: [demo")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(tmp_path / "bad.yaml")


def test_every_study_of_the_shipped_configuration_is_valid(raw: dict[str, Any]) -> None:
    assert set(raw["studies"]) >= {"demo", "reduced", "paper"}
    for study in raw["studies"]:
        assert load_config({**raw, "study": study}).study == study


def test_one_variant_may_have_several_labels(raw: dict[str, Any]) -> None:
    rows = ["srdiff", {"variant": "srdiff", "label": "Control"}, {"variant": "sam_diffsr", "label": "Ours"}]
    raw["tables"]["table3"]["rows"] = rows
    assert [row.label for row in table_recipe(load_config(raw), "table3").rows] == [
        "SRDiff", "Control", "Ours",
    ]  # fmt: skip
    raw["variants"]["mine"] = {"base": "sam_diffsr", "label": "High", "position": "linear"}
    load_config(raw)  # no table shows it
    raw["tables"]["table2"]["rows"].append("mine")
    with pytest.raises(UserError, match="'mine' and 'sam_diffsr' are both called 'High'"):
        load_config(raw)  # table 4 calls the other one so, and the tables' differences are joined


def test_a_figure_may_name_the_number_of_steps_that_stands_for_all(raw: dict[str, Any]) -> None:
    """Those of SAM-DiffSR are 99; the tables' images are shown at 100, as they are without a word."""
    raw["figures"]["figure_steps"]["steps"] = [50, 100]
    assert load_config({**raw, "study": "paper"}).calls("sam_diffsr") == 100


def test_the_papers_choices_are_the_defaults(config: Config) -> None:
    v = config.variants["sam_diffsr"]
    assert (v.formulation, v.position, v.rope_axis, v.mean_over, v.overlap, v.reduce, v.mask_crop) == (
        "published", "rope", "width", "region", "sum", True, "aligned",
    )  # fmt: skip
    paper = load_config({**config.model_dump(), "study": "paper"})
    training = denoiser_recipe(paper, Run(variant="sam_diffsr", scale=4, seed=0)).training.model_dump()
    wanted = {"steps": 400_000, "batch": 16, "patch": 160, "lr": 2e-4, "lr_schedule": "cosine", "loss": "l2"}
    assert {key: training[key] for key in wanted} == wanted
    encoder = encoder_recipe(paper, "default", 4, 0)
    assert (encoder.blocks, encoder.features, encoder.growth) == (17, 64, 32)


def test_a_variant_takes_what_it_does_not_say_from_its_base(raw: dict[str, Any]) -> None:
    raw["variants"]["mine"] = {"base": "released", "label": "Mine", "training": {"batch": 4}}
    config = load_config(raw)
    mine, released = config.variants["mine"], config.variants["released"]
    assert mine.rope_axis == released.rope_axis == "height"
    training = denoiser_recipe(config, Run(variant="mine", scale=4, seed=0)).training
    assert (training.loss, training.batch) == ("l1", 4)  # base's and its own


def test_a_variant_takes_nothing_from_its_base_that_has_no_effect_on_it(raw: dict[str, Any]) -> None:
    raw["variants"]["rich"] = {
        "base": "consistent",
        "label": "Rich",
        "features": ["area"],
        "options": {"strength": 2},
        "backbone": {"kind": "diffusers_unet"},
    }
    bare = {"base": "rich", "label": "Bare", "masks": None, "formulation": "none"}
    raw["variants"] |= {
        "plain": {**bare, "options": {}},
        "coder": {**bare, "kind": "encoder"},
        "theirs": {**bare, "foreign": {"denoiser": "a.ckpt"}},
    }
    variants = load_config(raw).variants
    assert [variants[name].features for name in ("rich", "plain", "coder")] == [("area",), (), ()]
    assert variants["plain"].backbone == variants["rich"].backbone is not None
    assert [variants[name].backbone for name in ("coder", "theirs")] == [None, None]
    assert [variants[name].options for name in ("rich", "coder", "theirs")] == [{"strength": 2}, {}, {}]


def _recipes(raw: dict[str, Any]) -> dict[str, str]:
    config = load_config(raw)
    found = {"encoder": encoder_recipe(config, "default", 4, 0).text()}
    for name, variant in config.variants.items():
        run = Run(variant=name, scale=4, seed=0)
        if variant.kind == "denoiser":
            found[f"train {name}"] = denoiser_recipe(config, run).text()
        found[f"sample {name}"] = sampling_recipe(config, run, "raw").text()
    for table in config.tables:
        found[table] = table_recipe(config, table).text()
    for figure in config.figures:
        found[figure] = figure_recipe(config, figure).text()
    found["score"] = score_recipe(config, 4).text()
    return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("variants/mask_low/reduce", False), {"train mask_low"}),
        (
            _set("variants/mask_low/label", "Poor"),
            {"table4", "figure_curves", "figure_mask_gain", "figure_published"},
        ),
        (
            _set("variants/srdiff/label", "Plain"),
            {"table1", "table2", "table3", "table7", "tables1", "tables2", "tables3", "tables4", "tables5"}
            | {f"figure{n}" for n in ("1b", 2, 5, 6, 8, 9)}
            | {
                f"figure_{n}"
                for n in ("control", "curves", "mask_gain", "published", "seeds", "split", "steps")
            },
        ),
        (_set("figures/figure5/count", 1), {"figure5"}),
        (_set("protocol", {"border": 4}), {"score"}),
        (_set("device", "cpu"), set()),
        (_set("compile", True), set()),
    ],
)
def test_a_change_reaches_only_what_it_decides(raw: dict[str, Any], change: Any, expected: set[str]) -> None:
    before = _recipes(copy.deepcopy(raw))
    change(raw)
    after = _recipes(raw)
    assert {key for key in before if before[key] != after[key]} == expected


def test_crops_of_sets_that_are_not_tested_on_are_left_out_and_said(raw: dict[str, Any]) -> None:
    crop = {"dataset": "demo_test", "image": "chelsea", "box": [0, 0, 8, 8]}
    raw["figures"]["figure5"]["crops"] = [crop, {**crop, "dataset": "urban100"}]
    config = load_config(raw)
    recipe = figure_recipe(config, "figure5")
    assert [kept.model_dump(mode="json") for kept in recipe.crops] == [crop]
    assert recipe.notes == ("Crops of urban100 are left out: not tested on here.",)
    assert figure_datasets(config, config.figures["figure5"]) == ["demo_test"]


def test_srdiff_and_sam_diffsr_differ_in_nothing_but_the_masks(config: Config) -> None:
    """SRDiff here is the control: the same pipeline with e_sam = 0."""
    plain = dict(denoiser_recipe(config, Run(variant="srdiff", scale=4, seed=0)))
    modulated = dict(denoiser_recipe(config, Run(variant="sam_diffsr", scale=4, seed=0)))
    assert {key for key in plain if plain[key] != modulated[key]} == {"formulation", "structure"}


def test_the_tables_have_the_papers_rows_and_columns_in_its_order(config: Config, root: Path) -> None:
    """Every number that the paper prints has its cell; rows, data sets and metrics keep the paper's order."""
    import csv

    from samdiffsr.evaluation.metrics import METRICS

    with open(root / "paper/published_tables.csv", newline="") as file:
        printed = list(csv.DictReader(file))
    for number in sorted({row["table"] for row in printed}):
        rows = [row for row in printed if row["table"] == number]
        full = {**config.model_dump(), "study": "paper"}
        full["studies"]["paper"]["test_sets"] = list(config.tables["table3"].datasets)
        recipe = table_recipe(load_config(full), f"table{number}")
        assert {int(row["scale"]) for row in rows} == {recipe.scale}
        metrics = [METRICS[metric].published for metric in recipe.metrics]
        for key, ours in [
            ("method", [row.published for row in recipe.rows]),
            ("dataset", [dataset.published for dataset in recipe.datasets]),
            ("metric", metrics),
        ]:
            theirs = list(dict.fromkeys(row[key] for row in rows))
            assert [name for name in dict.fromkeys(ours) if name in theirs] == theirs, (number, key)


def test_the_runs_of_the_tables_are_shared(config: Config) -> None:
    runs = {
        run
        for name in config.tables
        for row in table_recipe(config, name).rows
        if row.variant
        and config.variants[row.variant].kind == "denoiser"
        and config.variants[row.variant].foreign is None
        for run in row.runs
    }
    # srdiff_s: srdiff_small, srdiff_same_steps
    ours = ("step_", "released", "consistent", "srdiff_s", "placebo_", "scaled", "shift_")
    paper = {run for run in runs if not run.startswith(ours)}
    assert len(paper) == 10  # the denoisers for Tables 1 to 7, a seed
    assert len(runs) == 10 + 17


def test_a_table_says_which_masks_were_used_at_inference(raw: dict[str, Any]) -> None:
    rows = {row.variant: row for row in table_recipe(load_config(raw), "table1").rows}
    masks = raw["studies"]["demo"]["masks"]
    assert rows["sam_srdiff"].masks == f"{masks['high']} in training, {masks['low']} at inference"
    assert rows["sam_diffsr"].masks == masks["high"]
    assert rows["srdiff"].masks is None
