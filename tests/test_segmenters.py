"""Segmenters: settings, determinism, BSDS500's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data.images import read_rgb
from samdiffsr.masks.recipe import MaskRecipe
from samdiffsr.masks.segmenters.registry import (
    Felzenszwalb,
    Human,
    Places,
    Segmenter,
    Settings,
    Ucm,
    make_segmenter,
    settings_of,
)


@pytest.fixture
def photo() -> np.ndarray:
    """Four flat quarters with a little noise."""
    image = np.random.default_rng(0).integers(0, 4, (48, 64, 3), np.uint8)
    image[:24, :32] += 40
    image[:24, 32:] += 100
    image[24:, :32] += 160
    image[24:, 32:] += 220
    return image


def test_felzenszwalb_finds_the_quarters(photo):
    segmenter = make_segmenter(Felzenszwalb(scale=1000, sigma=0, min_size=50))
    regions = segmenter(photo, "quarters")
    assert regions.n_masks == 4
    assert (regions.labels > 0).all()
    assert regions.labels[::24, ::32].tolist() == [[1, 2], [3, 4]]
    assert np.array_equal(segmenter(photo, "again").labels, regions.labels)
    assert json.loads(json.dumps(segmenter.describe())) == {
        "kind": "felzenszwalb",
        "scale": 1000,
        "sigma": 0,
        "min_size": 50,
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "kind None is none of"),
        ({"kind": "sam3"}, "'sam3' is none of felzenszwalb, ucm, human.*did you mean 'sam'"),
        ({"kind": "felzenszwalb", "minsize": 3}, "unknown setting 'minsize'"),
        ({"kind": "felzenszwalb", "scale": 0}, "scale: input should be greater than 0, not 0"),
        ({"kind": "felzenszwalb", "scale": "fine"}, "scale.*not 'fine'"),
        ({"kind": "felzenszwalb", "scale": True}, "scale.*not True"),
        ({"kind": "felzenszwalb", "sigma": float("nan")}, "sigma: must be a finite number, not nan"),
        ({"kind": "felzenszwalb", "min_size": 2.5}, "min_size: input should be a valid integer, not 2.5"),
        ({"kind": "human", "annotator": "best"}, "annotator.*not 'best'"),
        ({"kind": "human", "annotator": -1}, "annotator.*not -1"),
        ({"kind": "imported"}, "folder: missing"),
        (
            {"kind": "sam", "model": "vit_x"},
            "model: input should be 'vit_h', 'vit_l' or 'vit_b', not 'vit_x'",
        ),
        ({"kind": "sam", "pred_iou_thresh": 1.5}, "pred_iou_thresh.*less than or equal to 1, not 1.5"),
        ({"kind": "sam", "points_per_side": 0}, "points_per_side.*not 0"),
        ({"kind": "sam", "points": 3}, "unknown setting 'points'"),
        ({"kind": "sam", "file": "junk.pth"}, "give both or neither"),
    ],
)
def test_wrong_settings_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        settings_of(spec)
    with pytest.raises(UserError, match=message):
        MaskRecipe.parse(json.dumps({"image": "hr", "segmenter": spec}))


def test_a_recipe_says_what_was_given_and_nothing_else():
    """So that a new setting re-runs nothing; whole numbers stay whole."""
    text = '{"image":"lr","segmenter":{"kind":"felzenszwalb","scale":300}}'
    recipe = MaskRecipe.parse(text)
    assert recipe.text() == text
    assert recipe.segmenter == Felzenszwalb(scale=300)
    assert recipe.segmenter.sigma == 0.8


def test_bsds_must_be_somewhere(tmp_path):
    with pytest.raises(UserError, match="nowhere: no folder 'ucm2'"):
        make_segmenter(Ucm(), Places(root=tmp_path / "nowhere"))
    with pytest.raises(UserError, match="say with --root where BSDS500 is"):
        make_segmenter(Human())


def of(settings: Settings, root: Path) -> Segmenter:
    return make_segmenter(settings, Places(root=root))


@pytest.fixture
def bsds(tmp_path):
    """One BSDS500-like image, id 7, 4 x 6 pixels: a contour hierarchy and three annotators."""
    from scipy.io import savemat

    ucm2 = np.zeros((9, 13))
    ucm2[:, 4] = 0.3  # between pixel columns 1 and 2
    ucm2[:, 8] = 0.1  # between pixel columns 3 and 4
    halves = np.repeat([[1], [1], [2], [2]], 6, axis=1).astype(np.uint16)
    thirds = np.repeat([[1, 1, 2, 2, 3, 3]], 4, axis=0).astype(np.uint16)
    truth = np.empty((1, 3), object)
    for i, labels in enumerate((halves, thirds, np.ones((4, 6), np.uint16))):
        truth[0, i] = {"Segmentation": labels, "Boundaries": np.zeros((4, 6), np.uint8)}
    for folder, content in (("ucm2", {"ucm2": ucm2}), ("groundTruth", {"groundTruth": truth})):
        (tmp_path / "mirror/BSDS500" / folder / "train").mkdir(parents=True)
        savemat(tmp_path / "mirror/BSDS500" / folder / "train/7.mat", content)
    return tmp_path / "mirror"


IMAGE = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("threshold", "row"), [(0.0, [1, 1, 2, 2, 3, 3]), (0.1, [1, 1, 2, 2, 2, 2]), (0.3, [1, 1, 1, 1, 1, 1])]
)
def test_ucm_keeps_contours_above_the_threshold(bsds, threshold, row):
    segmenter = of(Ucm(threshold=threshold), bsds)
    assert segmenter(IMAGE, "7").labels.tolist() == [row] * 4
    assert segmenter.describe() == {"kind": "ucm", "threshold": threshold}


@pytest.mark.parametrize(
    ("annotator", "count"), [(0, 2), (1, 3), (2, 1), ("finest", 3), ("coarsest", 1), ("intersection", 6)]
)
def test_human_annotators(bsds, annotator, count):
    segmenter = of(Human(annotator=annotator), bsds)
    regions = segmenter(IMAGE, "7.jpg")
    assert regions.n_masks == count
    assert (regions.labels > 0).all()
    assert segmenter.describe() == {"kind": "human", "annotator": annotator}


def test_bsds_labels_are_cropped_with_their_image(bsds):
    segmenter = of(Ucm(threshold=0.0), bsds)
    assert segmenter(IMAGE[:3, :5], "7").labels.tolist() == [[1, 1, 2, 2, 3]] * 3
    with pytest.raises(UserError, match=r"7\.mat.*4 x 6.*5 x 6"):
        segmenter(np.zeros((5, 6, 3), np.uint8), "7")


def test_bsds_problems_name_the_file(bsds):
    with pytest.raises(UserError, match=r"7\.mat: 3 annotators"):
        of(Human(annotator=3), bsds)(IMAGE, "7")
    segmenter = of(Ucm(), bsds)
    with pytest.raises(UserError, match="'8'"):
        segmenter(IMAGE, "8")
    next(bsds.rglob("ucm2/train/7.mat")).write_bytes(b"MATLAB no more")
    with pytest.raises(UserError, match=r"7\.mat: not readable"):
        segmenter(IMAGE, "7")


def test_region_counts_of_the_real_files(mirror):
    """Counts made by another program, of three images: ucm at 0.1 and 0.2, annotators' extremes."""
    counts = {"100075": (49, 13, 5, 30), "100080": (20, 6, 4, 35), "100098": (166, 27, 2, 67)}

    def n(name: str, settings: Settings) -> int:
        image = read_rgb(next(mirror.rglob(f"images/train/{name}.jpg")))
        return of(settings, mirror)(image, name).n_masks

    for name, (fine, coarse, fewest, most) in counts.items():
        assert n(name, Ucm(threshold=0.1)) == fine
        assert n(name, Ucm(threshold=0.2)) == coarse
        assert n(name, Human(annotator="coarsest")) == fewest
        assert n(name, Human(annotator="finest")) == most
