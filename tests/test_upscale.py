"""One's own images through a trained model: nothing of them is lost, nothing of theirs is overwritten."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from samdiffsr.core.errors import UserError
from samdiffsr.data.resize import downscale, upscale
from samdiffsr.data.store import StoreWriter
from samdiffsr.models.model_file import open_model, save_model
from samdiffsr.models.recipe import UNet
from samdiffsr.sampling import restorers as restore_module
from samdiffsr.sampling.recipe import DenoiserRecipe as SampledDenoiser
from samdiffsr.sampling.recipe import Draw
from samdiffsr.sampling.restorers import DenoiserRestorer, restore_dataset
from samdiffsr.sampling.upscale.command import upscale_images
from samdiffsr.sampling.upscale.models import find_models
from samdiffsr.sampling.upscale.picture import read_picture
from samdiffsr.training.denoiser import train_denoiser
from samdiffsr.training.encoder import train_encoder
from samdiffsr.training.job import Job
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe, Training

CPU = torch.device("cpu")
ORIENTATION = 0x0112
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def scene(height: int, width: int) -> np.ndarray:
    """Something smooth with edges; uint8 (height, width, 3), its four quarters differ."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    planes = [np.sin(9 * x + 3 * y), np.where(x > y, 1, -1), np.cos(14 * y)]
    return (127.5 + 90 * np.stack(planes, 2) + 30 * (x - 2 * y)[..., None]).clip(0, 255).astype(np.uint8)


def _training(**more: Any) -> Training:
    base = {"steps": 30, "batch": 2, "patch": 32, "lr": 2e-3, "ema": 0.9, "warmup": 2, "augment": True}
    return Training(**base | more)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/demo/ with a trained encoder and denoiser at x2 and x4, as the workflow leaves them."""
    folder = tmp_path_factory.mktemp("trained")
    demo = folder / "results" / "demo"
    hr = scene(96, 128)
    with StoreWriter(folder / "hr") as store:
        store.add("scene", hr)
    for scale in (2, 4):
        with StoreWriter(folder / f"lr{scale}", scale=scale) as store:
            store.add("scene", downscale(hr, scale))
        common = {"scale": scale, "seed": 0, "precision": "float32"}
        encoder = demo / f"encoders/default-x{scale}-s0/model.safetensors"
        stores = folder / "hr", folder / f"lr{scale}"
        train_encoder(
            Job(folder / "state", encoder, device="cpu"),
            EncoderRecipe(blocks=2, features=8, growth=4, training=_training(loss="l1"), **common),
            *stores,
        )
        unet = UNet(dim=8, mults=(1, 2))
        recipe = DenoiserRecipe(formulation="none", unet=unet, training=_training(), **common)
        out = demo / f"runs/srdiff-x{scale}-s0/model.safetensors"
        train_denoiser(Job(folder / "state", out, device="cpu"), recipe, *stores, encoder)
    return demo


def run(study: Path, *inputs: Path, out: Path, model: str = "runs/srdiff-x2-s0", **more: Any) -> None:
    options = {"steps": 2, "precision": "float32", "device": "cpu", "threads": 1}
    upscale_images(list(inputs), out, study / model, **options | more)


# ---- bands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "size", "bands"), [(2, (61, 75), 5), (4, (37, 31), 5), (4, (110, 9), 4), (2, (3, 1), 1)]
)
def test_a_trained_model_in_bands_gives_the_whole_image(
    study: Path, scale: int, size: tuple[int, int], bands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_module, "_to_image", lambda x: x[0].permute(1, 2, 0).numpy())  # not rounded
    models = find_models(study / f"runs/srdiff-x{scale}-s0")
    draw = Draw(steps=12)
    lr = scene(*size)
    calls: list[tuple[int, int]] = []
    arguments = models["denoiser"], models["encoder"], draw, CPU, "float32"
    plain = DenoiserRestorer(*arguments)(lr, "x")
    whole = DenoiserRestorer(*arguments, memory=10**9)(lr, "x")
    banded = DenoiserRestorer(
        *arguments, memory=1_000_000, progress=lambda done, total: calls.append((done, total))
    )(lr, "x")
    assert whole.shape == (size[0] * scale, size[1] * scale, 3)
    assert np.abs(banded - whole).max() < 1e-5
    assert np.array_equal(whole, plain)
    assert calls == [(i, 12 * bands) for i in range(1, 12 * bands + 1)]


def test_an_image_of_the_study_comes_out_as_there(study: Path, tmp_path: Path) -> None:
    """The same noise for the same name: what `sample` writes, but for the rounding of the last bit."""
    with StoreWriter(tmp_path / "lr", scale=2) as store:
        store.add("kite", scene(20, 24))
    Image.fromarray(scene(20, 24)).save(tmp_path / "kite.png")
    models = find_models(study / "runs/srdiff-x2-s0")
    recipe = SampledDenoiser(scale=2, seed=3, steps=4, weights="raw", precision="float32")
    restore_dataset(
        tmp_path / "lr", tmp_path, tmp_path / "m.json", tmp_path / "p", recipe, models, device="cpu"
    )
    (tmp_path / "kite.png").rename(tmp_path / "theirs.png")
    Image.fromarray(scene(20, 24)).save(tmp_path / "kite.png")
    run(study, tmp_path / "kite.png", out=tmp_path / "ours.png", seed=3, steps=4, weights="raw", pad=0)
    ours, theirs = (np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("ours", "theirs"))
    assert np.abs(ours - theirs).max() <= 1
    run(study, tmp_path / "kite.png", out=tmp_path / "other.png", seed=4, steps=4, weights="raw")
    assert np.abs(np.asarray(Image.open(tmp_path / "other.png")).astype(int) - theirs).max() > 1


def test_too_little_memory_is_said(study: Path, tmp_path: Path) -> None:
    Image.fromarray(scene(30, 600)).save(tmp_path / "a.png")
    message = r"1 MB are too little memory .* an image 1204 pixels wide; it needs --memory 2$"
    with pytest.raises(UserError, match=message):
        run(study, tmp_path / "a.png", out=tmp_path / "b.png", memory=1)


# ---- pictures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_the_rest_kept(study: Path, tmp_path: Path, orientation: int) -> None:
    upright = Image.fromarray(scene(24, 16))
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # how the camera held it
    turned = upright
    if orientation > 1:
        steps = {
            2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 7: Image.Transpose.TRANSVERSE, **inverse,
        }  # fmt: skip
        turned = upright.transpose(steps[orientation])
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x0110] = orientation, "a telephone"
    exif[0x8769] = {0xA002: turned.width, 0xA003: turned.height, 0x829A: 0.01}
    turned.save(tmp_path / "a.png", exif=exif, icc_profile=SRGB)
    model = "encoders/default-x2-s0"
    upright.save(tmp_path / "b.png")
    run(study, tmp_path / "a.png", tmp_path / "b.png", out=tmp_path / "out", model=model)
    a, b = (Image.open(tmp_path / f"out/{name}.png") for name in "ab")
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert a.size == (32, 48)
    assert a.getexif().get(ORIENTATION, 1) == 1
    assert a.getexif()[0x0110] == "a telephone"
    fields = a.getexif().get_ifd(0x8769)
    assert (fields[0xA002], fields[0xA003], float(fields[0x829A])) == (32, 48, 0.01)
    assert a.info["icc_profile"] == SRGB
    assert ImageOps.exif_transpose(a).size == a.size


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA", "1", "P", "P transparent"])
def test_modes_and_formats(study: Path, tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(scene(9, 13))
    alpha = Image.fromarray(scene(9, 13)[:, :, 2])
    if mode.startswith("P"):
        image = image.quantize(16)
        options = {"transparency": 3} if "transparent" in mode else {}
    else:
        image, options = image.convert(mode), {}
        if mode.endswith("A"):
            image.putalpha(alpha)
    image.save(tmp_path / "a.png", **options)
    clear = mode.endswith("A") or bool(options)
    arguments = {"out": tmp_path / f"b{suffix}", "model": "encoders/default-x2-s0"}
    if clear and suffix in (".jpg", ".bmp"):
        with pytest.raises(UserError, match=r"b\.\w+: \w+ holds no transparency; take PNG"):
            run(study, tmp_path / "a.png", **arguments)
        assert not (tmp_path / f"b{suffix}").exists()
        return
    run(study, tmp_path / "a.png", **arguments)
    made = Image.open(tmp_path / f"b{suffix}")
    gray = mode[0] in "L1" and suffix != ".webp"
    assert made.mode == ("L" if gray else "RGB") + "A" * clear
    assert made.size == (26, 18)
    if clear:
        wanted = np.asarray(alpha if mode.endswith("A") else image.convert("RGBA").getchannel("A"))
        if options:
            wanted = np.asarray(Image.open(tmp_path / "a.png").convert("RGBA").getchannel("A"))
        np.testing.assert_array_equal(np.asarray(made.getchannel("A")), upscale(wanted, 2))


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_the_smallest_images(study: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    Image.fromarray(scene(*size)).save(tmp_path / "a.png")
    for model in ("runs/srdiff-x4-s0", "encoders/default-x4-s0"):
        run(study, tmp_path / "a.png", out=tmp_path / "b.png", model=model, overwrite=True)
        assert Image.open(tmp_path / "b.png").size == (size[1] * 4, size[0] * 4)


def _save_animated(path: Path) -> None:
    frames = [Image.fromarray(scene(8, 8)), Image.fromarray(scene(8, 8)[::-1])]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)


def test_a_phones_mpo_is_a_photograph(tmp_path: Path) -> None:
    frames = [Image.fromarray(scene(16, 8)), Image.fromarray(scene(4, 2))]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    assert read_picture(tmp_path / "a.jpg").pixels.shape == (16, 8, 3)


def test_what_is_not_read_is_one_line(tmp_path: Path) -> None:
    def refused(name: str, words: str) -> None:
        with pytest.raises(UserError, match=words) as error:
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)

    Image.fromarray(scene(8, 8)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    refused("cmyk.jpg", "pixel format CMYK; convert it to 8-bit gray or RGB")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(tmp_path / "deep.png")
    refused("deep.png", "16 bits per channel")
    _deep_colour(tmp_path / "deep_colour.png")
    refused("deep_colour.png", "16 bits per channel")
    for suffix in ("gif", "webp", "png", "tif"):
        _save_animated(tmp_path / f"moving.{suffix}")
        refused(f"moving.{suffix}", "animated, or of several pages")
    (tmp_path / "text.png").write_text("no image")
    refused("text.png", "not a PNG, JPEG, BMP, TIFF")
    Image.fromarray(scene(40, 40)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:700])
    refused("cut.png", "cannot be decoded")
    refused("nowhere.png", "no such file")


def _deep_colour(path: Path) -> None:
    """A 16-bit RGB PNG, which Pillow reads but does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(range(12))) * 2
    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


# ---- folders, targets ------------------------------------------------------------------------------------


def test_a_bad_file_in_a_folder_is_named_and_the_others_are_made(
    study: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(scene(8, 8)).save(folder / "a.jpg")
    (folder / "b.png").write_text("no image")
    _save_animated(folder / "c.webp")
    Image.fromarray(scene(8, 8)).convert("L").save(folder / "d.tif")
    (folder / "notes.txt").write_text("left out")
    with pytest.raises(UserError, match="2 of 4 images failed; see above"):
        upscale_images(
            [folder], tmp_path / "out", study / "encoders/default-x2-s0", device="cpu", threads=1,
            suffix=".tif",
        )  # fmt: skip
    lines = said.messages
    assert lines[0] == f"{folder}: left out, no image by its name: notes.txt"
    assert [line.startswith("failed: ") for line in lines[1:]] == [True, True, False, False]
    assert str(folder / "b.png") in lines[1]
    assert str(folder / "c.webp") in lines[2]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.*") if p.name[0] != ".") == ["a.tif", "d.tif"]


def test_nothing_is_overwritten_unless_asked(study: Path, tmp_path: Path) -> None:
    model = "encoders/default-x2-s0"
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(scene(8, 8)).save(a)
    before = a.read_bytes()
    b.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"b\.png: exists; give --overwrite"):
        run(study, a, out=b, model=model)
    assert b.read_bytes() == b"mine"
    run(study, a, out=b, model=model, overwrite=True)
    assert Image.open(b).size == (16, 16)
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (a, tmp_path, tmp_path / "link" / "a.png"):
        with pytest.raises(UserError, match=r"a\.png: is an input, which is never overwritten"):
            run(study, a, out=out, model=model, overwrite=True)
    assert a.read_bytes() == before
    Image.fromarray(scene(8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"a\.png and .*a\.jpg would both become .*out/a\.png"):
        run(study, a, tmp_path / "a.jpg", out=tmp_path / "out", model=model)


def test_an_interrupted_write_leaves_nothing(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(scene(8, 8)).save(tmp_path / "a.png")

    save = Image.Image.save

    def die(self: Image.Image, file: Any, **more: Any) -> None:
        if isinstance(file, io.BytesIO):  # metadata on trial
            return save(self, file, **more)
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", die)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "a.png", out=tmp_path / "out", model="encoders/default-x2-s0")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("inputs", "out", "words"),
    [
        (["nowhere.png"], "b.png", "nowhere.png: no such file or folder"),
        (["a.png", "c.png"], "b.png", "one file for several images"),
        (["."], "b.png", "one file for several images"),
        (["a.png"], "b.xyz", "no format is written as .xyz"),
        (["empty"], "out", "empty: holds no image"),
    ],
)
def test_a_wrong_place_is_one_line(
    study: Path, tmp_path: Path, inputs: list[str], out: str, words: str
) -> None:
    for name in "ac":
        Image.fromarray(scene(8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words):
        run(study, *(tmp_path / i for i in inputs), out=tmp_path / out)


# ---- models ----------------------------------------------------------------------------------------------


def test_the_encoder_is_found_by_its_hash(study: Path, tmp_path: Path) -> None:
    encoder, denoiser = (study / f"{k}-x4-s0/model.safetensors" for k in ("encoders/default", "runs/srdiff"))
    for given in (denoiser, denoiser.parent):
        assert find_models(given) == {"encoder": encoder, "denoiser": denoiser}
    assert find_models(encoder.parent) == {"encoder": encoder}
    # a release: files beside one another, and one more encoder that is not the one
    shutil.copy(denoiser, tmp_path / "srdiff-x4-s0.safetensors")
    shutil.copy(study / "encoders/default-x2-s0/model.safetensors", tmp_path / "encoder-a.safetensors")
    with pytest.raises(UserError, match=r"the encoder it was trained with .* is not beside it; give --enc"):
        find_models(tmp_path / "srdiff-x4-s0.safetensors")
    shutil.copy(encoder, tmp_path / "encoder-b.safetensors")
    found = find_models(tmp_path / "srdiff-x4-s0.safetensors")
    assert found["encoder"] == tmp_path / "encoder-b.safetensors"


def test_a_wrong_model_is_one_line(study: Path, tmp_path: Path) -> None:
    Image.fromarray(scene(8, 8)).save(tmp_path / "a.png")
    out = tmp_path / "b.png"
    with pytest.raises(UserError, match=r"no such run; .*runs has srdiff-x2-s0, srdiff-x4-s0"):
        run(study, tmp_path / "a.png", out=out, model="runs/sam_diffsr-x4-s0")
    (tmp_path / "no run").mkdir()
    with pytest.raises(UserError, match=r"c\.pth: no such run$"):
        run(study, tmp_path / "a.png", out=out, model=str(tmp_path / "c.pth"))
    with pytest.raises(UserError, match=r"runs: holds no model.safetensors"):
        run(study, tmp_path / "a.png", out=out, model="runs")
    with pytest.raises(UserError, match=r"was trained with another encoder than"):
        run(study, tmp_path / "a.png", out=out, encoder=study / "encoders/default-x4-s0")
    with pytest.raises(UserError, match=r"steps must be in 1\.\.100, got 101"):
        run(study, tmp_path / "a.png", out=out, steps=101)
    file = open_model(study / "runs/srdiff-x2-s0/model.safetensors")
    info = json.loads(json.dumps(file.info))
    info["recipe"]["formulation"] = "condition"
    save_model(tmp_path / "model.safetensors", file.weights("raw"), file.weights("ema"), info)
    with pytest.raises(UserError, match="this network needs region masks at inference"):
        upscale_images([tmp_path / "a.png"], out, tmp_path)
    assert not out.exists()


def test_a_bar_on_a_terminal_and_a_line_an_image_in_a_log(
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: pytest.LogCaptureFixture,
) -> None:
    for name in "ab":
        Image.fromarray(scene(8, 8)).save(tmp_path / f"{name}.png")
    inputs = tmp_path / "a.png", tmp_path / "b.png"
    run(study, *inputs, out=tmp_path / "1")
    assert [line.split(",")[0] for line in said.messages] == [
        f"{tmp_path}/1/a.png: 1 of 2", f"{tmp_path}/1/b.png: 2 of 2"
    ]  # fmt: skip
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(study, *inputs, out=tmp_path / "2")
    assert "/2 [" in capsys.readouterr().err
