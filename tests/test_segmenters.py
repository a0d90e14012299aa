"""Segmenters: settings, determinism, BSDS500's files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data.images import read_rgb
from samdiffsr.masks.segmenters.kinds import make_segmenter


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
    segmenter = make_segmenter({"kind": "felzenszwalb", "scale": 1000, "sigma": 0, "min_size": 50})
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
        ({}, "kind None"),
        ({"kind": "sam3"}, "'sam3'.*felzenszwalb, ucm, human"),
        ({"kind": "felzenszwalb", "minsize": 3}, "unknown setting 'minsize'"),
        ({"kind": "felzenszwalb", "scale": 0}, "scale 0: must be a number > 0"),
        ({"kind": "felzenszwalb", "scale": "fine"}, "scale 'fine'"),
        ({"kind": "felzenszwalb", "sigma": float("nan")}, "sigma nan"),
        ({"kind": "felzenszwalb", "min_size": 2.5}, "min_size 2.5: must be a whole number"),
        ({"kind": "ucm"}, "'root' is missing"),
        ({"kind": "ucm", "root": "/nowhere"}, "/nowhere: no folder 'ucm2'"),
        ({"kind": "human", "root": "/nowhere", "annotator": "best"}, "annotator 'best'"),
        ({"kind": "human", "root": "/nowhere", "annotator": -1}, "annotator -1"),
    ],
)
def test_wrong_specs_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        make_segmenter(spec)


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
    segmenter = make_segmenter({"kind": "ucm", "root": str(bsds), "threshold": threshold})
    assert segmenter(IMAGE, "7").labels.tolist() == [row] * 4
    assert segmenter.describe() == {"kind": "ucm", "threshold": threshold}


@pytest.mark.parametrize(
    ("annotator", "count"), [(0, 2), (1, 3), (2, 1), ("finest", 3), ("coarsest", 1), ("intersection", 6)]
)
def test_human_annotators(bsds, annotator, count):
    segmenter = make_segmenter({"kind": "human", "root": str(bsds), "annotator": annotator})
    regions = segmenter(IMAGE, "7.jpg")
    assert regions.n_masks == count
    assert (regions.labels > 0).all()
    assert segmenter.describe() == {"kind": "human", "annotator": annotator}


def test_bsds_labels_are_cropped_with_their_image(bsds):
    segmenter = make_segmenter({"kind": "ucm", "root": str(bsds), "threshold": 0.0})
    assert segmenter(IMAGE[:3, :5], "7").labels.tolist() == [[1, 1, 2, 2, 3]] * 3
    with pytest.raises(UserError, match=r"7\.mat.*4 x 6.*5 x 6"):
        segmenter(np.zeros((5, 6, 3), np.uint8), "7")


def test_bsds_problems_name_the_file(bsds):
    with pytest.raises(UserError, match=r"7\.mat: 3 annotators"):
        make_segmenter({"kind": "human", "root": str(bsds), "annotator": 3})(IMAGE, "7")
    segmenter = make_segmenter({"kind": "ucm", "root": str(bsds)})
    with pytest.raises(UserError, match="'8'"):
        segmenter(IMAGE, "8")
    next(bsds.rglob("ucm2/train/7.mat")).write_bytes(b"MATLAB no more")
    with pytest.raises(UserError, match=r"7\.mat: not readable"):
        segmenter(IMAGE, "7")


def test_region_counts_of_the_real_files(mirror):
    """Counts made by another program, of three images: ucm at 0.1 and 0.2, annotators' extremes."""
    counts = {"100075": (49, 13, 5, 30), "100080": (20, 6, 4, 35), "100098": (166, 27, 2, 67)}

    def n(name: str, **spec) -> int:
        image = read_rgb(next(mirror.rglob(f"images/train/{name}.jpg")))
        return make_segmenter({"root": str(mirror), **spec})(image, name).n_masks

    for name, (fine, coarse, fewest, most) in counts.items():
        assert n(name, kind="ucm", threshold=0.1) == fine
        assert n(name, kind="ucm", threshold=0.2) == coarse
        assert n(name, kind="human", annotator="coarsest") == fewest
        assert n(name, kind="human", annotator="finest") == most
