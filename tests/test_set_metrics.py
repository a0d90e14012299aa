"""FID and KID against independent computations, and the features they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.data.catalogue import WeightFile
from samdiffsr.data.weights import MissingWeights
from samdiffsr.evaluation import features as inception
from samdiffsr.evaluation import set as set_metrics
from samdiffsr.evaluation.features import (
    EXTRACTORS,
    Features,
    Inception,
    features,
    load_features,
    save_features,
)
from samdiffsr.evaluation.set import fid, frechet_distance, kernel_distance, kid


def sample(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, (n, d)) @ rng.normal(0, 1, (d, d)) / d**0.5


def frechet_by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.linalg import sqrtm

    mean = a.mean(axis=0) - b.mean(axis=0)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(ca)
    return float(mean @ mean + np.trace(ca + cb - 2 * np.real(sqrtm(root @ cb @ root))))


# --- distances


@pytest.mark.parametrize(("n", "m", "d"), [(60, 60, 12), (40, 90, 20), (13, 13, 12)])
def test_frechet_distance_equals_the_matrix_square_root(n: int, m: int, d: int) -> None:
    a, b = sample(0, n, d), sample(1, m, d, 0.5)
    assert frechet_distance(a, b) == pytest.approx(frechet_by_sqrtm(a, b), rel=1e-6, abs=1e-6)


def test_frechet_distance_of_fewer_images_than_features() -> None:
    """The covariances are singular; a grain of noise makes them regular for the other computation."""
    a, b = sample(0, 10, 24), sample(1, 10, 24, 0.3)
    expected = frechet_by_sqrtm(a, b)
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-4)


def test_frechet_distance_in_one_dimension_by_hand() -> None:
    a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])  # means 1 and 7, variances 2 and 8
    assert frechet_distance(a, b) == pytest.approx(36 + 2 + 8 - 2 * 4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 30), st.integers(1, 20))
def test_frechet_distance_is_a_distance_of_sets(seed: int, n: int, d: int) -> None:
    a, b = sample(seed, n, d), sample(seed + 1, n, d, 0.1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9, abs=1e-9)
    order = np.random.default_rng(seed).permutation(n)
    assert frechet_distance(a[order], b) == pytest.approx(frechet_distance(a, b), rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * d, rel=1e-9)


def kid_by_loops(a: np.ndarray, b: np.ndarray) -> float:
    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / len(x) + 1) ** 3

    n = len(a)
    within = sum(k(x[i], x[j]) for x in (a, b) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within - 2 * sum(k(x, y) for x in a for y in b) / n**2


def test_kid_equals_double_loops_over_all_images() -> None:
    a, b = sample(0, 12, 8), sample(1, 12, 8, 0.5)
    mean, sd = kernel_distance(a, b)
    assert mean == pytest.approx(kid_by_loops(a, b), rel=1e-9)
    assert sd == 0


def test_kid_of_many_images_is_a_mean_over_stated_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_metrics, "KID_SUBSET_SIZE", 40)
    a, b = sample(0, 120, 6), sample(1, 120, 6, 0.5)
    mean, sd = kernel_distance(a, b)
    assert sd > 0
    assert mean == pytest.approx(kid_by_loops(a, b), abs=3 * sd / 10)
    assert kernel_distance(a, b) == (mean, sd)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_sets_without_a_distance_are_refused(distance) -> None:
    a = sample(0, 5, 3)
    with pytest.raises(UserError, match="at least 2 images"):
        distance(a, a[:1])
    with pytest.raises(UserError, match="do not compare"):
        distance(a, a[:, :2])
    with pytest.raises(UserError, match="not finite"):
        distance(a, np.where(np.arange(3) == 1, np.nan, a))


# --- features


class MeanPool:
    """A tiny network: 13x13 mean pool, 3 * 23 * 23 numbers."""

    sha256 = "random:meanpool"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images):
        import torch.nn.functional as F

        assert images.shape[1:] == (3, 299, 299)
        self.batches.append(len(images))
        return F.avg_pool2d(images, 13).flatten(1)


def pictures(n: int, height: int = 320, width: int = 480, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [(f"img_{i}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for i in range(n)]


def test_features_are_streamed_in_batches_of_any_size() -> None:
    net = MeanPool()
    images = pictures(5)
    result = features(iter(images), "clean", net, batch_size=2)
    assert net.batches == [2, 2, 1]
    assert result.values.shape == (5, 1587)
    assert result.values.dtype == np.float32
    assert result.names == tuple(name for name, _ in images)
    one = features(iter(images), "clean", MeanPool(), batch_size=8)
    np.testing.assert_allclose(result.values, one.values, rtol=1e-5)


def test_patches_are_native_pixels_and_do_not_overlap() -> None:
    [(name, image)] = pictures(1, 610, 900)
    seen = []

    class Keep(MeanPool):
        def __call__(self, images):
            seen.extend(images.numpy())
            return super().__call__(images)

    result = features([(name, image)], "patch299", Keep())
    assert result.names == tuple(f"img_0@{top},{left}" for top in (0, 299) for left in (0, 299, 598))
    assert np.array_equal(seen[5], image[299:598, 598:897].transpose(2, 0, 1))


def test_a_set_without_a_single_patch_is_refused() -> None:
    with pytest.raises(UserError, match="no image of at least 299 pixels a side"):
        features(pictures(2, 298, 400), "patch299", MeanPool())
    with pytest.raises(UserError, match="unknown feature extractor"):
        features(pictures(1), "lanczos", MeanPool())
    with pytest.raises(UserError, match="img: image is float64"):
        features([("img", np.zeros((300, 300, 3)))], "clean", MeanPool())


def test_the_two_resizes_are_the_libraries() -> None:
    """clean: antialiased, so it averages; tf: 2x2 taps only, so it samples."""
    stripes = np.zeros((2990, 299, 3), np.uint8)
    stripes[::10] = 250  # every tenth row: mean 25
    clean, tf = (features([("s", stripes)], e, MeanPool()).values for e in ("clean", "tf"))
    assert clean.mean() == pytest.approx(25, abs=1)
    assert tf.mean() == pytest.approx(250, abs=1)  # exactly the bright rows: why the two FIDs differ
    same = pictures(1, 299, 299)
    a, b, c = (features(same, e, MeanPool()).values for e in EXTRACTORS)
    np.testing.assert_allclose(a, b, atol=1e-3)
    np.testing.assert_array_equal(b, c)


def test_features_survive_the_disk(tmp_path: Path) -> None:
    value = features(pictures(3), "tf", MeanPool())
    save_features(tmp_path / "f.npz", value)
    back = load_features(tmp_path / "f.npz")
    assert np.array_equal(back.values, value.values)
    assert (back.names, back.extractor, back.weights_sha256) == (value.names, "tf", "random:meanpool")
    (tmp_path / "g.npz").write_bytes((tmp_path / "f.npz").read_bytes()[:-100])
    with pytest.raises(UserError, match=r"g\.npz: not a feature file"):
        load_features(tmp_path / "g.npz")
    with pytest.raises(UserError, match="no such feature file"):
        load_features(tmp_path / "h.npz")


def a_set(seed: int = 0, n: int = 6, **changes) -> Features:
    row = {
        "values": sample(seed, n, 5).astype(np.float32),
        "names": tuple(f"img_{i}" for i in range(n)),
        "extractor": "clean",
        "weights_sha256": "w",
    }
    return Features(**{**row, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extractor": "tf"}, "'tf' and 'clean' do not compare"),
        ({"weights_sha256": "v"}, "different weights"),
        ({"names": ("img_0", "img_1", "img_2", "img_3", "img_4", "x")}, "'img_5' is in one only"),
        ({"names": ("img_1", "img_0", "img_2", "img_3", "img_4", "img_5")}, "order differs"),
    ],
)
def test_only_features_of_the_same_images_and_network_are_compared(changes: dict, message: str) -> None:
    for metric in (fid, kid):
        with pytest.raises(UserError, match=message):
            metric(a_set(1, **changes), a_set(2))


def test_fid_and_kid_of_a_set_with_itself() -> None:
    value = a_set(n=40)
    assert fid(value, value)[0] == pytest.approx(0, abs=1e-6)
    assert kid(value, value)[0] <= 0  # unbiased for independent sets, below zero for equal ones


# --- Inception, with random weights


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, WeightFile]]:
    import torch
    import torchvision

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    net = torchvision.models.inception_v3(
        weights=None, num_classes=1008, aux_logits=False, init_weights=False
    )
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):  # torchvision's own initialisation lets the signal fade
            torch.nn.init.kaiming_normal_(module.weight)
    path = folder / "inception.pth"
    torch.save(net.state_dict(), path)
    return folder, {"inception": WeightFile("inception", path.name, sha256_file(path))}


def test_our_features_are_torch_fidelitys(inception_weights: tuple[Path, dict[str, WeightFile]]) -> None:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    folder, table = inception_weights
    images = pictures(2, 310, 340)
    network = Inception(folder, table=table)
    assert network.sha256 == table["inception"].sha256
    ours = features(images, "tf", network).values
    path = str(folder / "inception.pth")
    theirs = FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path=path)
    expected = [theirs(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy()[0] for _, image in images]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert ours.std() > 0.1


def test_the_clean_input_is_pyiqas(tmp_path: Path) -> None:
    from PIL import Image
    from pyiqa.archs.fid_arch import ResizeDataset

    [(_, image)] = pictures(1, 400, 350)
    Image.fromarray(image).save(tmp_path / "a.png")
    theirs = ResizeDataset([tmp_path / "a.png"], "clean")[0].numpy()
    assert np.array_equal(inception._resize_clean(image).numpy(), theirs)


def test_weights_that_are_missing_or_do_not_fit_are_refused(
    tmp_path: Path, inception_weights: tuple[Path, dict[str, WeightFile]]
) -> None:
    import torch

    with pytest.raises(MissingWeights, match=r"weights-inception-2015-12-05-6726825d\.pth not found"):
        Inception(tmp_path)
    path = tmp_path / "inception.pth"
    torch.save({"a": torch.zeros(1)}, path)
    table = {"inception": WeightFile("inception", path.name, sha256_file(path))}
    with pytest.raises(UserError, match="does not fit InceptionV3"):
        Inception(tmp_path, table=table)
