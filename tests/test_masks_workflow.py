"""The mask rules: any number of shards gives the same files; what segmenters need becomes an input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from samdiffsr.data.store import Store
from tests.workflow import Workflow, tiny

pytestmark = pytest.mark.workflow
STATISTICS = "results/demo/masks/statistics.csv"


def _content(workflow: Workflow) -> dict[str, bytes]:
    files = [*(workflow.folder / "data/masks").rglob("*.*"), *(workflow.folder / "results").rglob("*.csv")]
    return {str(path.relative_to(workflow.folder)): path.read_bytes() for path in sorted(files)}


def _shards(workflow: Workflow, number: int) -> None:
    line = "masks: {high: felzenszwalb_fine, medium: felzenszwalb_coarse, low: felzenszwalb_lr}"
    workflow.edit("config.yaml", line, f"{line}\n    mask_shards: {number}")


@pytest.mark.slow
def test_shards_change_no_byte(tmp_path: Path) -> None:
    one, many = Workflow.new(tmp_path / "one"), Workflow.new(tmp_path / "many")
    _shards(many, 4)
    stores = 4  # two levels on HR, one on the LR images of either scale factor
    assert many.dry(STATISTICS).jobs["segment"] == 4 * stores
    for workflow in (one, many):
        result = workflow(STATISTICS)
        assert result.code == 0, result.text
    assert len(_content(one)) == (3 + 1) * stores + 1  # three files and a part of the statistics each
    assert _content(one) == _content(many)
    assert not list((many.folder / "work/masks").rglob("*.*"))  # no shard and no kept image is left
    assert many.dry(STATISTICS).nothing_to_do


def test_an_edited_mask_that_is_imported_is_read_again(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    workflow.config = tiny(
        tmp_path / "config.yaml",
        mask_sets={"theirs": {"image": "hr", "segmenter": {"kind": "imported", "folder": "theirs"}}},
    )
    images, masks = "work/stores/demo_test/hr", workflow.folder / "theirs"
    result = workflow(f"{images}.json")
    assert result.code == 0, result.text
    masks.mkdir()
    store = Store(workflow.folder / images)
    for i, name in enumerate(store.names):
        Image.new("L", store.shape(i)[1::-1], 1).save(masks / f"{name}.png")
    target = "data/masks/demo_test/theirs.json"
    result = workflow(target)
    assert result.code == 0, result.text
    before = (workflow.folder / target).read_bytes()
    path = masks / f"{store.names[0]}.png"
    os.utime(path)
    assert workflow.dry(target).nothing_to_do
    changed = Image.open(path)
    changed.putpixel((0, 0), 2)
    changed.save(path)
    assert workflow.dry(target).jobs["segment"] == 1
    result = workflow(target)
    assert result.code == 0, result.text
    assert (workflow.folder / target).read_bytes() != before
    assert workflow.dry(target).nothing_to_do


def test_weights_and_annotations_are_inputs(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    masks = "masks: {high: felzenszwalb_fine, medium: felzenszwalb_coarse, low: felzenszwalb_lr}"
    workflow.edit("config.yaml", masks, "masks: {high: sam_vit_h, medium: ucm_k10, low: mobile_sam_lr}")
    (workflow.folder / "weights").mkdir()
    for file in ("sam_vit_h_4b8939.pth", "mobile_sam.pt"):
        (workflow.folder / "weights" / file).touch()
    (workflow.folder / "data/bsds500").mkdir(parents=True)
    (workflow.folder / "data/bsds500/SOURCE.json").touch()
    result = workflow.dry("masks", "-p")
    assert result.code == 0, result.text
    segmenting = [line for line in result.text.splitlines() if "samdiffsr segment " in line]
    # SAM once, MobileSAM on LR at both scale factors that tables have
    assert sum("--weights weights" in line for line in segmenting) == 3
    assert result.text.count("--root data/bsds500") == 1
    commands = [line for line in result.text.splitlines() if "samdiffsr segment" in line]
    assert len(commands) == 4
    recipes = [line.partition("--recipe ")[2] for line in commands]
    assert all(str(tmp_path) not in recipe and "weights" not in recipe for recipe in recipes)
    assert any('"kind":"sam","min_mask_region_area":0,"model":"vit_h"' in recipe for recipe in recipes)
