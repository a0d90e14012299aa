"""What rules read and are told, asked as ordinary functions."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.figures import figure_points
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout
from samdiffsr.data.catalogue import sources
from samdiffsr.workflow import arguments, configuration, recipes, targets
from samdiffsr.workflow.configuration import Call
from samdiffsr.workflow.contents import content
from samdiffsr.workflow.inputs import figures, results, runs, split, stores
from samdiffsr.workflow.inputs.stores import Undated

PLACE = Layout("demo")


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config.yaml").read_text())


@pytest.fixture
def config(raw: dict[str, Any]) -> Config:
    return load_config(raw)


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is here but what a test puts there."""
    monkeypatch.chdir(tmp_path)


def put(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"x")


# ---- stores ----


def test_of_a_store_the_index_counts(config: Config) -> None:
    index, data = stores.image_store("work/stores/set5/hr")
    assert (index, data) == ("work/stores/set5/hr.json", "work/stores/set5/hr.bin")
    assert isinstance(data, Undated)
    assert not isinstance(index, Undated)


def test_images_wait_for_the_stamps_of_their_sources(config: Config) -> None:
    assert stores.images(config, "df2k") == ["data/div2k_train/SOURCE.json", "data/flickr2k/SOURCE.json"]
    assert stores.images(config, "demo_test") == [
        "data/demo/test/astronaut.png", "data/demo/test/chelsea.png"
    ]  # fmt: skip
    with pytest.raises(UserError, match="no dataset 'nothing'"):
        stores.images(config, "nothing")


def test_segmentation_reads_what_its_segmenter_needs(config: Config) -> None:
    found = stores.segmentation(config, "demo_train", "felzenszwalb_lr-x4")
    assert found == {"source": ["work/stores/demo_train/lr-x4.json", "work/stores/demo_train/lr-x4.bin"]}
    assert all(isinstance(path, Undated) for path in found["source"])
    assert stores.segmentation(config, "bsds500_train", "ucm_k10")["bsds"] == "data/bsds500/SOURCE.json"
    assert stores.segmentation(config, "df2k", "sam_vit_h")["weights"] == "weights/sam_vit_h_4b8939.pth"
    with pytest.raises(UserError, match="no mask set 'felzenswalb'"):
        stores.segmentation(config, "demo_train", "felzenswalb")


def test_imported_masks_count_by_their_content(raw: dict[str, Any]) -> None:
    sets = {"theirs": {"image": "hr", "segmenter": {"kind": "imported", "folder": "masks"}}}
    raw["mask_sets"] |= sets
    config = load_config(raw)

    def found(masks: str = "theirs") -> str:
        return arguments.segmentation_content(config, "demo_train", masks)

    assert found() == found("felzenszwalb_fine") == ""  # no file is there yet: the stage says so
    put("masks/a.png", "masks/b.png")
    before = found()
    assert before != found("felzenszwalb_fine") == ""
    put("masks/a.png")  # a date alone says nothing
    assert found() == before
    Path("masks/a.png").write_bytes(b"y")
    assert found() != before


def test_parts_of_a_region_store_are_in_their_order(raw: dict[str, Any]) -> None:
    raw["studies"]["demo"]["mask_shards"] = 2
    config = load_config(raw)
    parts = stores.region_parts(config, "a", "b-x4")
    assert parts == ["work/masks/a/b-x4/0of2", "work/masks/a/b-x4/1of2"]
    assert len(stores.region_part_files(config, "a", "b-x4")) == 6


# ---- runs ----


def test_what_a_training_reads(config: Config) -> None:
    assert runs.denoiser_training(config, "srdiff", 4, 0) == {
        "encoder_file": "results/demo/encoders/default-x4-s0/model.safetensors"
    }
    found = runs.denoiser_training(config, "mask_low", 4, 0)
    assert found["labels"][0] == "data/masks/demo_train/felzenszwalb_lr-x4.json"
    values = "work/encodings/demo_train/felzenszwalb_lr-x4/rope-width-region-sum-zero.npz"
    assert found["values"] == values
    with pytest.raises(UserError, match="no variant 'nobody'"):
        runs.denoiser_training(config, "nobody", 4, 0)


def test_what_sampling_reads(config: Config) -> None:
    assert runs.sampling(config, "bicubic", 4, 0, "demo_test") == {}
    assert list(runs.sampling(config, "rrdb", 4, 0, "demo_test")) == ["encoder_file"]
    found = runs.sampling(config, "sam_srdiff", 4, 0, "demo_test")
    # there is no HR image at inference: its masks come from LR
    assert found["labels"][0] == "data/masks/demo_test/felzenszwalb_lr-x4.json"
    assert arguments.models(config, "srdiff", 4, 0, "demo_test")[::2] == ["--encoder", "--denoiser"]
    assert arguments.sampling_structure(config, "srdiff", 4, 0, "demo_test") == []


def test_a_baselines_images_count_by_their_content(raw: dict[str, Any]) -> None:
    raw["baselines"] = {
        "theirs": {"label": "T", "adapter": "images", "folder": "there/{dataset}-x{scale}"},
        "cat": {"label": "C", "adapter": "command", "command": "cat {lr} {sr}"},
    }
    config = load_config(raw)
    with pytest.raises(UserError, match="baseline theirs: there/demo_test-x4 is not here"):
        runs.sampling(config, "theirs", 4, 0, "demo_test")
    put("there/demo_test-x4/p{0}.png")
    assert runs.sampling(config, "theirs", 4, 0, "demo_test") == {"baseline": []}
    before = arguments.source_content(config, "theirs", "demo_test", 4)
    put("there/demo_test-x4/another.png")
    assert before != arguments.source_content(config, "theirs", "demo_test", 4) != ""
    assert arguments.source(config, "theirs", "demo_test", 4) == ["--source", "there/demo_test-x4"]
    assert runs.sampling(config, "cat", 4, 0, "demo_test") == {"baseline": []}
    assert arguments.source_content(config, "cat", "demo_test", 4) == ""


def test_released_models_are_asked_for_by_name(raw: dict[str, Any]) -> None:
    config = load_config({**raw, "checkpoint_source": "released"})
    with pytest.raises(UserError, match=r"encoder-default-x4-s0\.safetensors is not here: fetch it with"):
        runs.sampling(config, "srdiff", 4, 0, "demo_test")
    with pytest.raises(UserError, match="dvc pull"):
        recipes.table(config, "table2")


# ---- the split ----


def test_what_is_trained_here_waits_for_the_split(config: Config, raw: dict[str, Any]) -> None:
    assert split.before_scores(config, "srdiff") == [PLACE.split()]
    assert split.before_scores(config, "bicubic") == split.before_scores(config, "authors") == []
    assert split.before_table(config, "table2") == [PLACE.overlaps()]
    assert targets.variant(config, "mask_low")[-1] == PLACE.overlaps()
    assert split.before_page(config) == [PLACE.overlaps()]
    assert arguments.overlaps(config) == ["--overlaps", PLACE.overlaps()]
    released = load_config({**raw, "checkpoint_source": "released"})
    assert split.before_scores(released, "srdiff") == split.before_table(released, "table2") == []
    assert split.before_page(released) == arguments.overlaps(released) == []


def test_a_table_of_scores_that_came_alone_needs_no_images(config: Config) -> None:
    put(*results.table_scores(config, "table2"))
    assert split.before_table(config, "table2") == []
    put(PLACE.model("encoders", "default-x4-s0"))
    assert split.before_table(config, "table2") == [PLACE.overlaps()]


# ---- scores, tables, figures ----


def test_scores_of_sets_are_read_where_a_table_asks_for_them(config: Config) -> None:
    found = results.table_sets(config, "table2")
    assert found
    assert all(path.endswith(".sets.csv") for path in found)
    assert arguments.table_sets(config, "table2") == ["--sets", *found]
    with pytest.raises(UserError, match="no table 'table99' in config"):
        results.table_scores(config, "table99")


def test_costs_are_of_the_models_that_a_run_has(config: Config) -> None:
    assert list(results.cost(config, "srdiff", 4, 0)) == ["encoder", "denoiser", "training"]
    assert list(results.cost(config, "rrdb", 4, 0)) == ["encoder"]
    assert results.cost(config, "bicubic", 4, 0) == {}


def test_every_figure_and_table_can_be_asked_for(config: Config) -> None:
    for figure in config.figures:
        words = arguments.figure(config, figure)
        assert all("=" in word for word in words[1:])
        assert recipes.figure(config, figure).startswith("{")
        assert len(arguments.figure_code(config, figure)) == 12
    with pytest.raises(UserError, match="no figure 'figure99'"):
        figures.figure(config, "figure99")


def test_a_variant_with_steps_of_its_own_is_shown_at_them(raw: dict[str, Any]) -> None:
    raw["variants"]["mask_low"]["sampling"] = {"steps": 50}
    raw["figures"]["figure_steps"] |= {"variants": ["srdiff", "mask_low"], "steps": [20, 50]}
    config = load_config(raw)
    assert figure_points(config, config.figures["figure_steps"]) == [
        (name, steps) for name in ("srdiff", "mask_low") for steps in (20, 50)
    ]
    plain, own = "srdiff-x4-s0", "mask_low-x4-s0"
    assert figures.figure(config, "figure_steps")["scores"] == [
        PLACE.scores(plain, "demo_test"),  # of the study's own 20
        PLACE.steps_scores(plain, 50, "ema", "demo_test"),
        PLACE.steps_scores(own, 20, "ema", "demo_test"),
        PLACE.scores(own, "demo_test"),
    ]
    raw["figures"]["figure_steps"]["steps"] = [30]
    points = figure_points(load_config(raw), load_config(raw).figures["figure_steps"])
    assert points == [("srdiff", 20), ("srdiff", 30), ("mask_low", 30), ("mask_low", 50)]


def test_curves_are_those_of_the_trainings_that_there_are(raw: dict[str, Any]) -> None:
    raw["figures"]["figure_curves"]["variants"] = ["srdiff_same_steps", "srdiff", "sam_diffsr"]
    config = load_config(raw)
    assert figures.figure(config, "figure_curves")["curves"] == [
        PLACE.curve("encoders", "default-x4-s0"),
        PLACE.curve("runs", "srdiff-x4-s0"),
        PLACE.curve("runs", "sam_diffsr-x4-s0"),
    ]


def test_targets_name_each_file_once(config: Config) -> None:
    asked: list[Callable[[Config], list[str]]] = [
        targets.data, targets.masks, targets.tables, targets.figures, targets.mask_summaries,
    ]  # fmt: skip
    for ask in asked:
        found = ask(config)
        assert found
        assert len(set(found)) == len(found)


def test_a_wildcard_of_imported_variants_matches_nothing_else(config: Config) -> None:
    import re

    assert re.fullmatch(arguments.any_of(runs.imported(config)), "authors")
    assert not re.fullmatch(arguments.any_of([]), "")
    ours = arguments.none_of(runs.untrained(config))
    assert not re.fullmatch(f"(?P<v>{ours})-x4-s0", "authors-x4-s0")
    assert re.fullmatch(f"(?P<v>{ours})-x4-s0", "authorship-x4-s0")
    assert not re.fullmatch(f"(?P<v>{ours})-x4-s0", "srdiff_same_steps-x4-s0")  # of srdiff's networks
    assert re.fullmatch(f"(?P<v>{ours})-x4-s0", "srdiff-x4-s0")


def test_what_is_fetched_fits_on_the_disk(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(stores, "check_disk", lambda need, folder, what: asked.append(need))
    study = config.model_copy(update={"study": "reduced"})
    assert "data/set5/SOURCE.json" in stores.fetched(study)
    put("data/bsds500/SOURCE.json")
    stores.fetched(study)
    assert asked[0] - asked[1] == sources()["bsds500"].disk


# ---- content ----


def test_content_counts_and_dates_do_not(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.png", tmp_path / "cache.json"
    path.write_bytes(b"new")
    new = content([path], cache)
    os.utime(path, ns=(1, 1))
    assert content([path], cache) == new
    path.write_bytes(b"old")
    os.utime(path, ns=(1, 1))  # an older file of the same size, as `cp -p` leaves it
    assert content([path], cache) != new
    assert content([], cache) != new
    cache.write_text("{")
    path.write_bytes(b"new")
    assert content([path], cache) == new  # a damaged cache is made anew
    with pytest.raises(UserError, match=r"gone\.png: cannot be read"):
        content([tmp_path / "gone.png"], cache)


def test_where_no_hash_can_be_kept_content_is_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "a.png", tmp_path / "cache.json"
    path.write_bytes(b"new")
    wanted = content([path], tmp_path / "kept.json")

    def deny(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", deny)  # a read-only checkout; the tests' user may write everywhere
    assert content([path], cache) == wanted
    assert not cache.exists()


# ---- the configuration ----


def test_null_means_none_on_the_command_line(raw: dict[str, Any]) -> None:
    given = {"stop_below_bicubic": "null", "mirror": "null"}
    config = configuration.configured({**raw, **given}, given, [])
    assert (config.stop_below_bicubic, config.mirror) == (None, None)


@pytest.mark.parametrize(
    "words", [["--configfile", "a", "--configfile", "b"], ["--configfile=a", "--configfiles", "b"]]
)
def test_files_that_snakemake_would_drop_are_refused(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError, match=r"--configfile a\.yaml b\.yaml"):
        configuration.configured(raw, {}, ["snakemake", *words])
    configuration.configured(raw, {}, ["snakemake", "--configfile", "a", "b"])


def test_commands_are_quoted_and_see_the_same_configuration(config: Config) -> None:
    call = Call.of(config, ["a b.yaml"], ["device=cpu", "mirror=null"])
    assert shlex.split(call.snakemake("x.json", "-R", "prepare_hr")) == [
        "snakemake", "--cores", "1", "x.json", "-R", "prepare_hr", "--configfile", "a b.yaml",
        "--config", "study=demo", "device=cpu", "mirror=null",
    ]  # fmt: skip
    assert shlex.split(call.samdiffsr("release", "r")) == [
        "samdiffsr", "release", "r", "--configfile", "a b.yaml", "--study", "demo", "--set", "device=cpu",
        "--set", "mirror=null",
    ]  # fmt: skip
