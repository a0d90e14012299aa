"""MATLAB's bicubic against a plain reference, stored vectors, and LR images that others made with MATLAB.

`python tests/test_resize.py` writes the vectors anew, from the reference alone.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdiffsr.data.images import read_rgb
from samdiffsr.data.resize import crop_to_multiple, downscale, imresize, upscale, upscale_batch

VECTORS = Path(__file__).parent / "vectors" / "resize.npz"
SCALES = (Fraction(1, 4), Fraction(1, 3), Fraction(1, 2), Fraction(2), Fraction(4))
MODES = list(itertools.product(("end", "each_axis"), ("symmetric", "replicate")))


def reference_taps(n: int, s: float, border: str) -> tuple[np.ndarray, np.ndarray]:
    """MATLAB's `contributions`, one output pixel at a time, in its 1-based coordinates."""
    weights, indices = [], []
    width = 4 / min(s, 1)
    for x in range(1, math.ceil(n * s) + 1):
        u = x / s + 0.5 * (1 - 1 / s)
        left = math.floor(u - width / 2)
        row = {}
        for k in range(left, left + math.ceil(width) + 2):
            a = abs(u - k) * min(s, 1)
            if a <= 1:
                row[k] = 1.5 * a**3 - 2.5 * a**2 + 1
            elif a <= 2:
                row[k] = -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2
            else:
                row[k] = 0.0
        total = sum(row.values())
        weights.append([w / total for w in row.values()])
        mirror = [*range(n), *reversed(range(n))]
        indices.append(
            [min(max(k - 1, 0), n - 1) if border == "replicate" else mirror[(k - 1) % (2 * n)] for k in row]
        )
    return np.array(weights), np.array(indices)


def reference(image: np.ndarray, scale: Fraction, rounding: str | None, border: str) -> np.ndarray:
    """float64, tap after tap, no tricks."""
    x = image.astype(np.float64)
    for axis, name in ((0, "height"), (1, "width")):
        weights, indices = reference_taps(x.shape[axis], float(scale), border)
        x = np.moveaxis(x, axis, 0)
        x = sum(
            weights[:, k].reshape(-1, *[1] * (x.ndim - 1)) * x[indices[:, k]] for k in range(weights.shape[1])
        )
        x = np.moveaxis(x, 0, axis)
        if rounding == "each_axis" or (rounding == "end" and name == "width"):
            x = np.floor(np.clip(x, 0, 255) + 0.5)
    return x.astype(np.uint8) if rounding else x


def vector_image() -> np.ndarray:
    """48x36: noise on the left (overshoots, clips), a slanted edge and a ramp on the right."""
    rows, columns = np.mgrid[:48, :36]
    image = np.random.default_rng(7).integers(0, 256, (48, 36, 3))
    image[:, 18:, 0] = np.where(rows + 2 * columns > 80, 255, 0)[:, 18:]
    image[:, 18:, 1] = (rows * 5)[:, 18:]
    image[:, 18:, 2] = (columns * 7 % 256)[:, 18:]
    return image.astype(np.uint8)


def vector_key(scale: Fraction, rounding: str, border: str) -> str:
    return f"{scale.numerator}_{scale.denominator}_{rounding}_{border}"


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize(("rounding", "border"), MODES)
def test_stored_vectors(scale: Fraction, rounding: str, border: str) -> None:
    with np.load(VECTORS) as vectors:
        image, expected = vectors["image"], vectors[vector_key(scale, rounding, border)]
    image = image[:12, 10:30] if scale > 1 else image
    result = imresize(image, scale, rounding, border)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 45),
    width=st.integers(1, 45),
    scale=st.sampled_from([*SCALES, Fraction(1, 8), Fraction(3), Fraction(2, 3)]),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 99),
)
def test_equals_the_reference_on_any_size(
    height: int, width: int, scale: Fraction, mode: tuple[str, str], seed: int
) -> None:
    """Also sizes that are no multiple of the scale, and images smaller than the kernel."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    rounding, border = mode
    plain = reference(image, scale, None, border)
    np.testing.assert_allclose(imresize(image, scale, None, border), plain, atol=1e-10)
    result = imresize(image, scale, rounding, border).astype(int)
    expected = reference(image, scale, rounding, border).astype(int)
    if scale.numerator * scale.denominator in (2, 4, 8):
        np.testing.assert_array_equal(result, expected)  # dyadic weights: every sum is exact
    else:  # an exact half may fall to either side
        assert np.abs(result - expected).max() <= 1
        assert (result != expected).sum() <= max(2, 0.01 * result.size)  # seldom, also in a tiny image


def test_larger_than_a_block() -> None:
    image = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    for scale in (Fraction(1, 4), Fraction(1, 2), Fraction(2)):
        np.testing.assert_array_equal(imresize(image, scale), reference(image, scale, "end", "symmetric"))


def test_the_two_roundings_and_borders_are_different_data_sets() -> None:
    image = vector_image()
    results = [imresize(image, Fraction(1, 4), *mode) for mode in MODES]
    for a, b in itertools.combinations(results, 2):
        assert (a != b).any()


def test_halves_round_up() -> None:
    """Inside, a checkerboard of 0 and 1 becomes exactly 1/2; rounded to even that would be 0."""
    board = (np.indices((32, 32)).sum(0) % 2).astype(np.uint8)
    assert (imresize(board, Fraction(1, 4))[2:-2, 2:-2] == 1).all()
    assert (imresize(board, Fraction(1, 4), None)[2:-2, 2:-2] == 0.5).all()


@pytest.mark.parametrize("scale", [*SCALES, 0.25, 4.0], ids=str)
def test_constants_are_kept(scale: Fraction | float) -> None:
    for value in (0, 77, 255):
        image = np.full((24, 24, 3), value, np.uint8)
        assert (imresize(image, scale) == value).all()


def test_ramp_is_kept_inside() -> None:
    """Cubic convolution with a = -1/2 reproduces linear functions; the pixel grid's centres stay put."""
    ramp = np.broadcast_to(np.arange(32.0), (32, 32))
    large = upscale(ramp, 4, None)
    centres = (np.arange(128) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(large[:, 8:-8], np.broadcast_to(centres, (128, 128))[:, 8:-8], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_stays_float(dtype: type) -> None:
    image = np.random.default_rng(2).random((16, 12, 3)).astype(dtype)
    for rounding in ("end", "each_axis", None):
        result = imresize(image, 4, rounding)
        assert result.dtype == dtype
        np.testing.assert_allclose(result, reference(image, Fraction(4), None, "symmetric"), atol=1e-6)
    assert result.min() < 0 or result.max() > 1  # overshoot is not clipped


def test_two_dimensional_images_and_views() -> None:
    image = vector_image()
    np.testing.assert_array_equal(imresize(image[..., 1], 2), imresize(image, 2)[..., 1])
    turned = imresize(np.swapaxes(image, 0, 1)[:, ::-1], Fraction(1, 2))
    np.testing.assert_array_equal(turned, imresize(np.swapaxes(image, 0, 1)[:, ::-1].copy(), Fraction(1, 2)))
    before = image.copy()
    imresize(image.astype(np.float64), 1)
    np.testing.assert_array_equal(image, before)


def test_bad_arguments() -> None:
    image = vector_image()
    for arguments in (
        (image.astype(np.int32), 2),
        (image[None], 2),
        (image, 0),
        (image, -1),
        (image[:0], 2),
        (image, 2, "sometimes"),
        (image, 2, "end", "wrap"),
    ):
        with pytest.raises(ValueError, match="imresize"):
            imresize(*arguments)
    with pytest.raises(ValueError, match="multiple of 5"):
        downscale(image, 5)


def test_crop_to_multiple_is_top_left() -> None:
    image = vector_image()
    cropped = crop_to_multiple(image, 7)
    assert cropped.shape == (42, 35, 3)
    np.testing.assert_array_equal(cropped, image[:42, :35])
    assert crop_to_multiple(image, 4).shape == image.shape


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (12, 40), (40, 7)])
def test_upscale_batch_equals_imresize(scale: int, size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    lr = np.random.default_rng(3).random((2, *size, 3))
    expected = np.stack([imresize(image, scale) for image in lr]).transpose(0, 3, 1, 2)
    batch = torch.from_numpy(lr.transpose(0, 3, 1, 2).copy())
    np.testing.assert_allclose(upscale_batch(batch, scale).numpy(), expected, atol=1e-12)
    single = upscale_batch(batch.float().contiguous(memory_format=torch.channels_last), scale)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-5)


def test_upscale_batch_refuses_integers() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="float"):
        upscale_batch(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 4)


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_selfexsr_lr_bit_for_bit(mirror: Path, name: str, scale: int) -> None:
    """The true oracle: LR images that MATLAB made, from their HR images, with no pixel different."""
    folders = mirror.glob(f"SelfExSR-*/data/{name}/image_SRF_{scale}")
    lr_files = sorted(path for folder in folders for path in folder.glob("*_LR.png"))
    if not lr_files:
        pytest.skip(f"the mirror holds no LR images of {name} x{scale}")
    for lr_file in lr_files[:14]:
        hr = read_rgb(lr_file.with_name(lr_file.name.replace("_LR", "_HR")))
        result = downscale(hr, scale, "each_axis", "replicate")
        np.testing.assert_array_equal(result, read_rgb(lr_file), err_msg=str(lr_file))


def write_vectors() -> None:
    image = vector_image()
    vectors = {"image": image}
    for scale in SCALES:
        for rounding, border in MODES:
            part = image[:12, 10:30] if scale > 1 else image
            vectors[vector_key(scale, rounding, border)] = reference(part, scale, rounding, border)
    VECTORS.parent.mkdir(exist_ok=True)
    np.savez_compressed(VECTORS, **vectors)


if __name__ == "__main__":
    write_vectors()
