"""Real-ESRGAN's blind degradation: each step against an independent one, its choices, and its very bytes."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samdiffsr.core.errors import UserError
from samdiffsr.data.degradation import exact, kernels, steps
from samdiffsr.data.degradation.draw import drawn
from samdiffsr.data.degradation.jpeg import jpeg
from samdiffsr.data.prepare import build_degraded_store
from samdiffsr.data.recipe import LrRecipe, RealEsrgan
from samdiffsr.data.store import Store, StoreWriter

RECIPE = RealEsrgan()


def picture(height: int = 96, width: int = 80) -> np.ndarray:
    """Edges, waves and a ramp, of whole numbers alone."""
    y, x = np.mgrid[:height, :width]
    planes = [(x * 3 + y) % 256, ((x // 8 + y // 8) % 2) * 180 + 40, (x * y // 7) % 256]
    return np.stack(planes, axis=-1).astype(np.uint8)


# ---- the bytes ----

GOLDEN = {
    ("bird", 4, 0): "29f7f3e6c1b77f09",
    ("bird", 2, 0): "a938d513e066f419",
    ("bird", 4, 1): "1e02cf425140492e",
    ("baboon", 4, 0): "863fa7d56fa5e6d8",
    ("ppt3", 4, 0): "358bfeb4ba9f1729",
    ("zebra", 2, 7): "c6f2420cf827e6f9",
}


@pytest.mark.parametrize(("name", "scale", "seed"), GOLDEN)
def test_the_bytes_are_the_same_on_every_machine(name: str, scale: int, seed: int) -> None:
    """If this fails somewhere, LR images differ there: mend the arithmetic, do not change the hash."""
    image = picture()
    lr = steps.carried_out(image, drawn(name, image.shape[:2], scale, RealEsrgan(seed=seed)))
    assert lr.shape == (96 // scale, 80 // scale, 3)
    assert hashlib.sha256(lr.tobytes()).hexdigest()[:16] == GOLDEN[name, scale, seed]


def test_a_store_holds_every_step_and_can_be_made_again_from_them(tmp_path: Path) -> None:
    images = {"a": picture(100, 84), "b": picture(70, 64)}
    with StoreWriter(tmp_path / "hr") as writer:
        for name, image in images.items():
            writer.add(name, image)
    build_degraded_store(tmp_path / "hr", tmp_path / "lr", 4, RECIPE)
    lr, record = Store(tmp_path / "lr"), json.loads((tmp_path / "lr.json").read_text())["meta"]
    assert record["made"] == RECIPE.model_dump(mode="json")
    for i, (name, image) in enumerate(images.items()):
        height, width = (n - n % 8 for n in image.shape[:2])
        again = steps.carried_out(image[:height, :width], record["steps"][name])
        assert np.array_equal(lr[i], again)
        assert lr[i].shape == (height // 4, width // 4, 3)
    # an image's own name decides, not its place among others
    with StoreWriter(tmp_path / "hr") as writer:
        writer.add("b", images["b"])
    build_degraded_store(tmp_path / "hr", tmp_path / "alone", 4, RECIPE)
    assert np.array_equal(Store(tmp_path / "alone")[0], lr[1])


def test_an_image_too_small_is_named(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "hr") as writer:
        writer.add("tiny", picture(7, 7))
    with pytest.raises(UserError, match="'tiny' is smaller than 8 pixels"):
        build_degraded_store(tmp_path / "hr", tmp_path / "lr", 4, RECIPE)
    assert not (tmp_path / "lr.json").exists()


# ---- the choices ----


def choices(recipe: RealEsrgan = RECIPE, count: int = 3000) -> list[list[dict[str, Any]]]:
    return [drawn(f"image{i}", (256, 256), 4, recipe) for i in range(count)]


def test_choices_are_as_frequent_as_the_recipe_says() -> None:
    """Within four standard deviations of a share of 3000."""
    made = choices()
    first = [found[0] for found in made]
    kinds = Counter((step.get("kernel", "sinc"), step.get("degrees") == 0.0) for step in first)
    wanted = {("sinc", False): 0.1} | {(kind, even): 0.9 * p for kind, even, p in RECIPE.first.shapes}
    for kind, share in wanted.items():
        assert kinds[kind] / len(made) == pytest.approx(share, abs=4 * (share / len(made)) ** 0.5), kind
    shares = {
        "a second blur": (0.8, [found[4]["step"] in ("blur", "sinc") for found in made]),
        "a sinc filter at the end": (0.8, ["sinc" in [s["step"] for s in found[-2:]] for found in made]),
        "jpeg last": (0.5, [found[-1]["step"] == "jpeg" for found in made]),
        "gaussian": (0.5, [found[2]["step"] == "gaussian_noise" for found in made]),
        "grey": (0.4, [found[2]["grey"] for found in made]),
        "up": (0.2, [found[1]["height"] > 256 for found in made]),
        "down": (0.7, [found[1]["height"] < 256 for found in made]),
    }
    for what, (share, found) in shares.items():
        assert np.mean(found) == pytest.approx(share, abs=0.04), what


def test_parameters_stay_in_their_bounds_and_reach_them() -> None:
    made = choices(count=1500)
    noises = [found[2] for found in made]
    for key, (low, high) in {"sigma": (1, 30), "scale": (0.05, 3)}.items():
        values = [step[key] for step in noises if key in step]
        assert low <= min(values) < low + 0.05 * high
        assert 0.97 * high < max(values) <= high
        assert all(value == round(value, 4) for value in values)
    sizes = {found[0]["size"] for found in made}
    assert sizes == set(range(7, 22, 2))
    qualities = [step["quality"] for found in made for step in found if step["step"] == "jpeg"]
    assert (min(qualities), max(qualities)) == (30, 95)
    heights = [found[1]["height"] for found in made]
    assert min(heights) >= 256 * 0.15 - 1
    assert max(heights) <= 256 * 1.5


def test_another_probability_leaves_an_images_other_choices_alone_where_it_can() -> None:
    a = drawn("x", (64, 64), 4, RECIPE)
    b = drawn("x", (64, 64), 4, RECIPE.but(final_sinc=0.0))
    assert a[: len(b) - 2] == b[: len(b) - 2]
    assert drawn("x", (64, 64), 4, RECIPE.but(seed=1)) != a
    assert drawn("y", (64, 64), 4, RECIPE) != a


# ---- the steps ----


def test_cosine_sine_and_bessel_are_right() -> None:
    from scipy.special import j1

    for x in (0.0, 0.3, 1.0, 3.14159, -2.5, 40.0, 45.0):
        assert float(exact.cosine(Decimal(x))) == pytest.approx(np.cos(x), abs=1e-14)
        assert float(exact.sine(Decimal(x))) == pytest.approx(np.sin(x), abs=1e-14)
        assert float(exact.bessel_j1(Decimal(abs(x)))) == pytest.approx(j1(abs(x)), abs=1e-14)


@pytest.mark.parametrize(
    ("kind", "beta"), [("gaussian", 1.0), ("generalised", 0.7), ("generalised", 3.0), ("plateau", 1.5)]
)
def test_bells_are_their_formulas(kind: str, beta: float) -> None:
    angle = np.deg2rad(33.5)
    y, x = np.mgrid[-6:7, -6:7]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    q = (u / 2.4) ** 2 + (v / 0.8) ** 2
    wanted = 1 / (1 + q**beta) if kind == "plateau" else np.exp(-(q**beta) / 2)
    kernel = kernels.bell(kind, 13, 2.4, 0.8, 33.5, beta)
    assert kernel.sum() == 2**15
    np.testing.assert_allclose(
        np.delete(kernel.ravel(), 84), np.delete((wanted / wanted.sum()).ravel(), 84) * 2**15, atol=0.51
    )
    assert np.array_equal(kernel, kernel[::-1, ::-1])


def test_the_sinc_filter_is_its_formula() -> None:
    from scipy.special import j1

    y, x = np.mgrid[-7:8, -7:8]
    r, w = np.hypot(x, y), 0.4 * np.pi
    r[7, 7] = 1
    wanted = w * j1(w * r) / (2 * np.pi * r)
    wanted[7, 7] = w * w / (4 * np.pi)
    kernel = kernels.sinc(15, 0.4)
    assert kernel.sum() == 2**15
    assert kernel.min() < 0  # it rings
    np.testing.assert_allclose(
        np.delete(kernel.ravel(), 112), np.delete((wanted / wanted.sum()).ravel(), 112) * 2**15, atol=0.51
    )


@pytest.mark.parametrize("size", [7, 21])
def test_filtering_is_a_correlation(size: int) -> None:
    from scipy.ndimage import correlate

    image, kernel = picture(40, 33), kernels.bell("gaussian", size, 3.0, 0.5, 20.0, 1.0)
    wanted = [correlate(image[..., k].astype(float), kernel / 2**15, mode="mirror") for k in range(3)]
    np.testing.assert_allclose(steps.filtered(image, kernel), np.stack(wanted, -1), atol=0.501)


@pytest.mark.parametrize("size", [(33, 51), (96, 80), (150, 91), (5, 7), (1, 1)])
@pytest.mark.parametrize("method", ["area", "bilinear", "bicubic"])
def test_resizing_is_torchs(method: str, size: tuple[int, int]) -> None:
    import torch

    image = picture()
    x = torch.tensor(image).permute(2, 0, 1)[None].double()
    options = {} if method == "area" else {"align_corners": False}
    wanted = (
        torch.nn.functional.interpolate(x, size, mode=method, **options)[0].permute(1, 2, 0).clamp(0, 255)
    )
    np.testing.assert_allclose(steps.resized(image, method, size), wanted.numpy(), atol=0.51)


@given(
    st.integers(1, 40),
    st.integers(1, 90),
    st.sampled_from(("area", "bilinear", "bicubic")),
    st.integers(0, 255),
)
@settings(deadline=None, max_examples=60)
def test_a_flat_image_stays_flat(n: int, m: int, method: str, level: int) -> None:
    image = np.full((n, 3, 3), level, np.uint8)
    assert (steps.resized(image, method, (m, 2)) == level).all()
    assert (steps.filtered(image, kernels.sinc(7, 0.5)) == level).all()


def test_noise_has_the_moments_that_it_should() -> None:
    """Standard errors over 30 000 pixels are below 1 %."""
    flat = np.full((100, 100, 3), 120, np.uint8)
    normal = steps.with_gaussian(flat, 9.5, False, 1).astype(float) - 120
    assert normal.mean() == pytest.approx(0, abs=0.2)
    assert normal.std() == pytest.approx(9.5, rel=0.03)
    assert abs(np.corrcoef(normal[..., 0].ravel(), normal[..., 1].ravel())[0, 1]) < 0.05
    shot = steps.with_poisson(flat, 1.5, False, 2).astype(float) - 120
    assert shot.mean() == pytest.approx(0, abs=0.4)
    assert shot.std() == pytest.approx(1.5 * 120**0.5, rel=0.03)
    dark = steps.with_poisson(np.zeros_like(flat), 3.0, False, 3)
    assert (dark == 0).all()  # no light, no photons
    for noisy in (steps.with_gaussian(flat, 5.0, True, 4), steps.with_poisson(flat, 1.0, True, 4)):
        assert (noisy == noisy[..., :1]).all()
        assert noisy.std() > 2
    assert not np.array_equal(
        steps.with_gaussian(flat, 5.0, True, 4), steps.with_gaussian(flat, 5.0, True, 5)
    )


def test_tables_are_the_distributions() -> None:
    from scipy.stats import norm, poisson

    middles = (np.arange(65536) + 0.5) / 65536
    np.testing.assert_allclose(steps.normal_table() / 4096, norm.ppf(middles), atol=1.3e-4)
    for mean in (0, 1, 17, 255):
        assert np.array_equal(steps.poisson_table()[mean], poisson.ppf(middles, mean))


@pytest.mark.parametrize("quality", [10, 30, 49, 50, 75, 95, 100])
def test_jpeg_is_a_codecs_but_for_rounding(quality: int) -> None:
    image = picture(61, 83)
    image[..., 1:] = image[..., :1]  # grey: codecs differ in how they enlarge chroma
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
    wanted = np.asarray(Image.open(file).convert("RGB")).astype(int)
    ours = jpeg(image, quality).astype(int)
    assert np.abs(ours - wanted).mean() < 0.5
    assert (np.abs(ours - wanted) <= 1).mean() > 0.95  # a coefficient may round to the other side


def test_jpeg_averages_colour_over_2_x_2_pixels() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2] = (255, 0, 0)
    image[:, 1::2] = (0, 76, 255)
    ours = jpeg(image, 100).astype(int)
    chroma = ours[..., 0] - ours @ (0.299, 0.587, 0.114)
    assert (
        np.abs(chroma - chroma.mean()).max() < 60 < np.abs(np.diff(image[..., 0].astype(int), axis=1)).min()
    )


# ---- the recipe ----


def test_a_recipe_without_it_keeps_its_text() -> None:
    assert LrRecipe(scale=4).text() == '{"rounding":"each_axis","scale":4}'
    told = LrRecipe(scale=4, degradation=RECIPE.but(seed=3))
    assert LrRecipe.parse(told.text()) == told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"first": {"isotropic": 0.5}}, "kernels must add up to 1"),
        ({"second": {"up": 0.7, "down": 0.7}}, "more than 1"),
        ({"first": {"sizes": (8, 21)}}, "sizes are odd"),
        ({"first": {"sizes": (7, 23)}}, "sizes are odd, 3 to 21"),
        ({"first": {"sigma": (3.0, 0.2)}}, "the lower bound comes first"),
        ({"second": {"quality": (0, 95)}}, "greater than or equal to 1"),
        ({"second": {"factor": (0.1, 0.9)}}, "1 must lie between"),
        ({"final_sinc": 1.5}, "less than or equal to 1"),
    ],
)
def test_an_impossible_recipe_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RealEsrgan.model_validate(change)
