# ruff: noqa: E501 - a case a line
"""Bad input: each mistake ends in one line that names the culprit, a failure, and no file that was not there."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from samdiffsr.cli.app import main
from tests.workflow import Workflow
from tests.world import FELZENSZWALB, RECIPES, RUNNABLE, World, files


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the world as the working folder, on a machine without a network."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SAMDIFFSR_MIRROR", raising=False)

    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    return folder


# ---- how input is spoilt ----

Spoil = Callable[[World], Any]


def cut(path: str, keep: float = 0.5) -> Spoil:
    """Lose the end of a file."""

    def spoil(_: World) -> None:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: int(keep * len(data))])

    return spoil


def flip(path: str) -> Spoil:
    def spoil(_: World) -> None:
        data = bytearray(Path(path).read_bytes())
        data[len(data) // 2] ^= 1
        Path(path).write_bytes(data)

    return spoil


def gone(path: str) -> Spoil:
    return lambda _: Path(path).unlink()


def holds(path: str, content: str | bytes) -> Spoil:
    def spoil(_: World) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def picture(path: str, mode: str, size: tuple[int, int] = (48, 48), colour: Any = 0, **options: Any) -> Spoil:
    return lambda _: Image.new(mode, size, colour).save(path, **options)


def edit(path: str, old: str, new: str) -> Spoil:
    def spoil(_: World) -> None:
        text = Path(path).read_text()
        assert old in text, f"{path} holds no {old!r}"
        Path(path).write_text(text.replace(old, new, 1))

    return spoil


def edit_json(path: str, *keys: Any, value: Any) -> Spoil:
    def spoil(_: World) -> None:
        content = inside = json.loads(Path(path).read_text())
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = value
        Path(path).write_text(json.dumps(content))

    return spoil


def give(option: str, *values: str) -> Spoil:
    return lambda world: world.give(option, *values)


def recipe(name: str, **changes: Any) -> Spoil:
    return lambda world: world.recipe(name, **changes)


def saved(path: str, content: Any) -> Spoil:
    return lambda _: torch.save(content, path)


def zipped(path: str, **members: bytes) -> Spoil:
    """An archive; "/" is written "__" in the names of its members."""

    def spoil(_: World) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "/"), content)

    return spoil


def tarred(path: str, name: str, kind: bytes, target: str = "") -> Spoil:
    def spoil(_: World) -> None:
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member, io.BytesIO())

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(world: World) -> None:
        for each in spoils:
            each(world)

    return spoil


class Attack:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("attacked", "w")


def huge_png(_: World) -> None:
    """A PNG whose header promises 60000 x 60000 pixels."""
    data = bytearray(Path("images/images0.png").read_bytes())
    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    Path("images/images0.png").write_bytes(data)


def other_images_masks(_: World) -> None:
    main(["segment", "--source", "other", "--out", "masks", "--recipe", RECIPES["masks"].text()])
    main(["encode", "--labels", "masks", "--out", "values.npz", "--recipe", '{"position": "rope"}'])


SAM = {"image": "hr", "segmenter": {"kind": "sam", "model": "vit_b", "points_per_side": 4}}
OWN = {**SAM["segmenter"], "file": "mine.pth"}
SELFEX = "mirror/SelfExSR-8f6dd8c1d20cb7e8792a7177b4f6fd677633f598"
IMAGE = "images/images0.png"
RLE = "rle/images0.json"


def own_sam(content: Any) -> Spoil:
    """A SAM weight file named in the recipe, with its hash."""

    def spoil(world: World) -> None:
        path = Path("weights/mine.pth")
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        world.recipe("masks", segmenter={**OWN, "sha256": digest})
        world.give("--weights", "weights")

    return spoil


# (stage, what is spoilt, words of the line); the comment lines are the kinds of input
CASES: dict[str, tuple[str, Spoil, str]] = {
    # config
    "config: misspelt key": (
        "doctor", edit("config.yaml", "seeds: [0]", "sedes: [0]"), "studies.demo.sedes: unknown key (did you mean 'seeds'?)"),
    "config: misspelt value": (
        "doctor", edit("config.yaml", "device: auto", "device: gpu"), "device: input should be 'auto', 'cpu' or 'cuda', not 'gpu'"),
    "config: text for a number": (
        "doctor", edit("config.yaml", "steps: 1200", "steps: many"), "training.steps: input should be a valid integer"),
    "config: negative learning rate": (
        "doctor", edit("config.yaml", "lr: 1.0e-3", "lr: -1.0e-3"), "training.lr: input should be greater than 0, not -0.001"),
    "config: NaN": ("doctor", edit("config.yaml", "lr: 1.0e-3", "lr: .nan"), "training.lr:"),
    "config: infinite learning rate": ("doctor", edit("config.yaml", "lr: 1.0e-3", "lr: .inf"), "training.lr:"),
    "config: unknown data set": (
        "doctor", edit("config.yaml", "train_set: demo_train", "train_set: demo_trian"), "studies.demo.train_set: no dataset 'demo_trian' (did you mean 'demo_train'?)"),
    "config: no seeds": ("doctor", edit("config.yaml", "seeds: [0]", "seeds: []"), "studies.demo.seeds:"),
    "config: negative seed": ("doctor", edit("config.yaml", "seeds: [0]", "seeds: [-1]"), "studies.demo.seeds"),
    "config: the same seed twice": ("doctor", edit("config.yaml", "seeds: [0]", "seeds: [0, 0]"), "studies.demo.seeds"),
    "config: a formulation without masks": (
        "doctor", edit("config.yaml", "{label: SAM-DiffSR, masks: high}", "{label: SAM-DiffSR}"), "formulation 'published' needs masks"),
    "config: a base that leads back": (
        "doctor", edit("config.yaml", "{base: sam_diffsr, label: Low,", "{base: mask_low, label: Low,"), "variants.mask_low.base: 'mask_low' leads back to itself"),
    "config: an unknown base": (
        "doctor", edit("config.yaml", "{base: sam_diffsr, label: Low,", "{base: sam_difsr, label: Low,"), "no variant 'sam_difsr' (did you mean 'sam_diffsr'?)"),
    "config: a variant that is no mapping": (
        "doctor", edit("config.yaml", "mask_low: {base: sam_diffsr, label: Low, masks: low}", "mask_low: low"), "variants.mask_low"),
    "config: training that is no mapping": (
        "doctor", edit("config.yaml", "label: Low, masks: low}", "label: Low, masks: low, training: 3}"), "variants.mask_low"),
    "config: unknown training key of a variant": (
        "doctor", edit("config.yaml", "label: Low, masks: low}", "label: Low, masks: low, training: {step: 3}}"), "variants.mask_low.training.step: unknown key"),
    "config: unknown metric": ("doctor", edit("config.yaml", "psnr_y, fid_clean, encoder_parameters", "psnr, fid_clean, encoder_parameters"), "tables.table1.metrics.3"),
    "config: a name that is no file name": ("doctor", edit("config.yaml", "  mask_low: {base", "  ../low: {base"), "variants.../low"),
    "config: unknown segmenter": ("doctor", edit("config.yaml", "kind: felzenszwalb, scale: 300, sigma: 0.8, min_size: 200", "kind: felsenzwalb"), "segmenter kind 'felsenzwalb' is none of"),
    "config: unknown segmenter setting": ("doctor", edit("config.yaml", "min_size: 200", "minsize: 200"), "mask_sets.felzenszwalb_fine"),
    "config: patch and scale that do not fit": ("doctor", edit("config.yaml", "batch: 4, patch: 48", "batch: 4, patch: 50"), "patch"),
    "config: not YAML": ("doctor", edit("config.yaml", "study: demo", "study: [demo"), "not valid YAML"),
    "config: a tab": ("doctor", edit("config.yaml", "  demo:\n    about", "\tdemo:\n    about"), "not valid YAML"),
    "config: a list": ("doctor", holds("config.yaml", "- study"), "must map keys to values"),
    "config: empty": ("doctor", holds("config.yaml", ""), "must map keys to values"),
    "config: not text": ("doctor", holds("config.yaml", b"\xff\xfe\x00study"), "config.yaml"),
    "config: absent": ("doctor", gone("config.yaml"), "config.yaml: no such file; run from the repository's root"),
    "config: code in YAML": ("doctor", edit("config.yaml", "study: demo", "study: !!python/object/apply:os.system ['touch attacked']"), "not valid YAML"),
    "config: unknown study": ("doctor", give("--study", "dmeo"), "study: no study 'dmeo' (did you mean 'demo'?)"),
    # images
    "image: truncated": ("prepare-hr", cut(IMAGE), f"{IMAGE}: cannot be decoded"),
    "image: empty": ("prepare-hr", holds(IMAGE, ""), f"{IMAGE}: not a PNG, JPEG, BMP"),
    "image: a web page": ("prepare-hr", holds(IMAGE, "<html>"), f"{IMAGE}: not a PNG, JPEG, BMP"),
    "image: flipped byte": ("prepare-hr", flip(IMAGE), f"{IMAGE}: cannot be decoded"),
    "image: 16 bits": ("prepare-hr", picture(IMAGE, "I;16"), f"{IMAGE}: 16 bits per channel"),
    "image: transparent": ("prepare-hr", picture(IMAGE, "RGBA", colour=(1, 2, 3, 4)), f"{IMAGE}: has transparent pixels"),
    "image: CMYK": ("prepare-hr", picture("images/a.jpg", "CMYK"), "images/a.jpg: pixel format CMYK"),
    "image: HEIC": ("prepare-hr", holds("images/a.heic", ""), "images/a.heic: .heic is not read"),
    "image: a bomb": ("prepare-hr", huge_png, f"{IMAGE}: too large an image"),
    "image: two of one name": ("prepare-hr", picture("images/images0.bmp", "RGB"), "two images are called 'images0'"),
    "image: too small": ("prepare-lr", both(picture(IMAGE, "RGB", (48, 7)), lambda _: main(["prepare-hr", "--folder", "images", "--out", "hr"])), "image 'images0' is smaller than 8 pixels"),
    "images: none": ("prepare-hr", both(gone(IMAGE), gone("images/images1.png")), "images: holds no image"),
    "images: no folder": ("prepare-hr", give("--folder", "nowhere"), "nowhere: no such folder"),
    "images: a file for a folder": ("prepare-hr", give("--folder", IMAGE), f"{IMAGE}: no such folder"),
    # stores
    "store: absent": ("prepare-lr", gone("hr.json"), "hr.json: no such store"),
    "store: data cut short": ("prepare-lr", cut("hr.bin"), "hr.bin: 6240 bytes, the index says 12480"),
    "store: data absent": ("prepare-lr", gone("hr.bin"), "hr.bin: -1 bytes"),
    "store: index cut short": ("prepare-lr", cut("hr.json"), "hr.json: not valid JSON"),
    "store: another JSON": ("prepare-lr", holds("hr.json", "[]"), "hr.json: not the index of a store"),
    "store: half an index": ("prepare-lr", holds("hr.json", '{"format": 1}'), "hr.json"),
    "store: of a later version": ("prepare-lr", edit_json("hr.json", "format", value=2), "hr.json: store format 2, expected 1"),
    "store: LR of other images": ("train-encoder", give("--hr", "other"), "other and lr hold different images"),
    # masks
    "masks: cut short": ("masks-import", cut(RLE), f"{RLE}: not valid JSON"),
    "masks: a mapping": ("masks-import", holds(RLE, "{}"), f"{RLE}: not masks in COCO run lengths"),
    "masks: a polygon": ("masks-import", edit_json(RLE, 0, "segmentation", value=[[1, 1, 5, 1, 5, 5]]), f"{RLE}: not masks in COCO run lengths (ValueError('a polygon"),
    "masks: run lengths of another size": ("masks-import", edit_json(RLE, 0, "segmentation", "counts", value=[3, 4]), f"{RLE}: not masks in COCO run lengths"),
    "masks: negative run lengths": ("masks-import", edit_json(RLE, 0, "segmentation", "counts", value=[-3, 1923]), f"{RLE}: not masks in COCO run lengths"),
    "masks: not COCO's text": ("masks-import", edit_json(RLE, 0, "segmentation", "counts", value="\x7f\x00"), f"{RLE}: not masks in COCO run lengths"),
    "masks: of another image": ("masks-import", lambda _: shutil.copy("rle/images1.json", RLE), f"{RLE}: segments 40 x 56 pixels, the image has 48 x 40"),
    "masks: one absent": ("masks-import", gone(RLE), f"image 'images0': {RLE} is missing"),
    "masks: none": ("masks-import", give("--folder", "weights"), "weights: no .json, .png or .npz file in it"),
    "masks: members damaged": ("encode", flip("masks.members.npz"), "masks.members.npz:"),
    "masks: members absent": ("encode", gone("masks.members.npz"), "masks.members.npz: missing"),
    "masks: members of other masks": ("encode", lambda _: shutil.copy("part0.members.npz", "masks.members.npz"), "masks.members.npz: does not belong to masks.json"),
    "masks: of other images": ("train-denoiser", other_images_masks, "masks: regions of other images than hr"),
    "masks: values cut short": ("train-denoiser", cut("values.npz"), "values.npz: damaged"),
    "masks: values that run code": ("train-denoiser", lambda _: np.savez("values.npz", values=np.array([Attack()]), offsets=np.zeros(1), meta="{}"), "values.npz: damaged"),
    "masks: a shard twice": ("masks-merge", give("--shards", "part0", "part0"), "the 2 shards are not all of the source's images"),
    "masks: a shard absent": ("masks-merge", give("--shards", "part1"), "the 1 shards are not all of the source's images"),
    "masks: unknown setting": ("segment", recipe("masks", segmenter={**dict(FELZENSZWALB), "size": 3}), "segmenter felzenszwalb: unknown setting 'size'"),
    "masks: impossible setting": ("segment", recipe("masks", segmenter__sigma=-1), "segmenter felzenszwalb: sigma: input should be greater than or equal to 0, not -1"),
    "masks: setting that is NaN": ("segment", recipe("masks", segmenter__scale=float("nan")), "segmenter felzenszwalb: scale: must be a finite number, not nan"),
    # weights
    "weights: absent": ("segment", both(recipe("masks", **SAM), give("--weights", "weights")), "weights 'sam_vit_b': weights/sam_vit_b_01ec64.pth not found; download https://"),
    "weights: an error page": ("segment", both(recipe("masks", **SAM), give("--weights", "weights"), holds("weights/sam_vit_b_01ec64.pth", "<html>")), "weights/sam_vit_b_01ec64.pth has SHA-256"),
    "weights: another file": ("segment", both(recipe("masks", segmenter={**OWN, "sha256": "0" * 64}), give("--weights", "weights"), holds("weights/mine.pth", "x")), "weights/mine.pth has SHA-256"),
    "weights: that run code": ("segment", own_sam({"a": Attack()}), "weights/mine.pth: not readable as a file of PyTorch tensors"),
    "weights: not PyTorch's": ("segment", own_sam(b"PK\x03\x04"), "weights/mine.pth: not readable as a file of PyTorch tensors"),
    "weights: no mapping": ("segment", own_sam([1]), "weights/mine.pth: holds no mapping of names to tensors"),
    "weights: of another network": ("segment", own_sam({"a": torch.zeros(1)}), "weights/mine.pth: weights of unknown, not of sam_vit_b"),
    "weights: of a metric": ("score-sets", holds("weights/weights-inception-2015-12-05-6726825d.pth", "x"), "has 1 bytes, not 95628359"),
    "weights: no hash with the file": ("segment", both(recipe("masks", segmenter=OWN), give("--weights", "weights")), "give both or neither"),
    # models
    "model: absent": ("sample", gone("denoiser"), "denoiser"),
    "model: cut short": ("sample", cut("denoiser"), "denoiser: damaged or not a safetensors file"),
    "model: a pickle": ("sample", saved("denoiser", {"a": Attack()}), "denoiser: is a checkpoint of PyTorch"),
    "model: one flipped bit": ("sample", flip("encoder"), "encoder: damaged, its checksum differs"),
    "model: of the other kind": ("sample", give("--denoiser", "encoder"), "encoder: is of the kind encoder, a model of the kind denoiser is needed"),
    "model: of another encoder": ("sample", lambda w: (main([*other_encoder()]), w.give("--encoder", "second")), "denoiser: was trained with another encoder than second"),
    "model: none given": ("sample", lambda w: w.drop("--denoiser"), "--denoiser"),
    "model: encoder absent": ("train-denoiser", gone("encoder"), "encoder: no such model"),
    "model: a structure without masks": ("train-denoiser", lambda w: w.drop("--labels"), "its recipe has a structure; give --labels and --values"),
    # scores and tables
    "images: one was changed": ("score", flip("sr/images0.png"), "sr/images0.png: is not the file that was sampled"),
    "scores: no manifest": ("score", gone("sr.json"), "sr.json: no such file"),
    "scores: another JSON": ("score", holds("sr.json", "{}"), "sr.json"),
    "scores: a manifest without the kind of its method": ("score", edit_json("sr.json", "recipe", value={"weights": "ema"}), "sr.json: recipe: key 'kind' is missing"),
    "scores: a manifest of an unknown kind of method": ("score", edit_json("sr.json", "recipe", "kind", value="gan"), "sr.json: recipe: 'kind' is 'gan', not one of 'bicubic', 'encoder', "),
    "scores: a manifest with an unknown setting": ("score", edit_json("sr.json", "recipe", "glow", value=1), "glow: unknown key"),
    "table: no scores": ("gather", gone("scores.csv"), "scores.csv"),
    "table: another CSV": ("gather", holds("scores.csv", "a,b\n1,2\n"), "scores.csv: not a score file"),
    "table: a score that is no number": ("gather", lambda _: spoil_value("abc"), "scores.csv"),
    "table: a score that is infinite": ("gather", lambda _: spoil_value("inf"), "scores.csv: psnr_y of images0 is inf"),
    "table: no published values": ("gather", gone("paper/published_tables.csv"), "paper/published_tables.csv"),
    "table: errata that are no YAML": ("gather", holds("paper/errata.yaml", "- ["), "paper/errata.yaml"),
    "overlap: a test image among the training images": ("overlap", give("--test", "test=hr"), "images0"),
    "overlap: a store without a name": ("overlap", give("--test", "hr"), "must be NAME=PATH"),
    # archives and sources
    "archive: cut short": ("fetch", both(zipped(f"{SELFEX}.zip", a=b"x" * 9999), cut(f"{SELFEX}.zip")), f"{SELFEX}.zip is neither a zip nor a tar archive"),
    "archive: a path that leads out": ("fetch", zipped(f"{SELFEX}.zip", **{"..__evil.png": b"x"}), "its member '../evil.png' would land outside its folder"),
    "archive: an absolute path": ("fetch", zipped(f"{SELFEX}.zip", **{"__evil.png": b"x"}), "its member '/evil.png' would land outside its folder"),
    "archive: a link": ("fetch", tarred(f"{SELFEX}.tar.gz", "a/b.png", tarfile.SYMTYPE, "/etc/passwd"), "its member 'a/b.png' is a link or a device"),
    "archive: a device": ("fetch", tarred(f"{SELFEX}.tgz", "a/b.png", tarfile.CHRTYPE), "its member 'a/b.png' is a link or a device"),
    "archive: a bomb": ("fetch", zipped(f"{SELFEX}.zip", **{"a.png": b"\0" * 5_000_000}), "its member 'a.png' unpacks to 5000000 bytes"),
    "archive: nothing of it wanted": ("fetch", zipped(f"{SELFEX}.zip", **{"readme.txt": b"x"}), "holds none of the files"),
    "source: unknown": ("fetch", lambda w: w.argv.__setitem__(1, "set6"), "nothing is called 'set6'"),
    "source: no network": ("fetch", lambda w: w.drop("--mirror"), "set5: cannot be had"),
    "source: a wrong image in place": ("verify", lambda _: (Path("data/set5").mkdir(parents=True), [Image.new("RGB", (8, 8)).save(f"data/set5/img_00{i}_SRF_4_HR.png") for i in range(1, 6)]), "data/set5/img_001_SRF_4_HR.png"),
    "source: nothing in place": ("verify", lambda _: None, "set5"),
    # baselines
    "baseline: a program that fails": ("sample", recipe("baseline", command="sh -c 'echo no memory; exit 3' {lr} {sr}"), "command 'sh' ended with status 3: no memory"),
    "baseline: no place for its images": ("sample", recipe("baseline", command="cat {lr}"), "must hold {sr}"),
    "baseline: an unclosed quote": ("sample", recipe("baseline", command="cat '{lr} {sr}"), "command"),
    "baseline: an unknown place": ("sample", recipe("baseline", command="cat {lr} {sr} {hr}"), "command"),
    # command lines
    "command: unknown stage": ("doctor", lambda w: w.argv.__setitem__(0, "docter"), "No such command 'docter'. Did you mean 'doctor'?"),
    "command: unknown option": ("doctor", give("--studdy", "x"), "No such option: --studdy (Possible options: --set, --study)"),
    "command: an option without its value": ("doctor", lambda w: w.argv.pop(), "Option '--study' requires an argument"),
    "command: a stage without its paths": ("prepare-lr", lambda w: w.drop("--hr"), "Missing option '--hr'"),
    "command: a recipe that is no JSON": ("prepare-lr", give("--recipe", "{"), "--recipe: not valid JSON"),
    "command: a recipe that is no mapping": ("prepare-lr", give("--recipe", "[4]"), "--recipe: must be a JSON object"),
    "command: a recipe without a key": ("prepare-lr", give("--recipe", '{"rounding": "end"}'), "--recipe: scale: missing"),
    "command: no shard": ("segment", give("--shard", "2"), "must be PART/PARTS"),
    "command: a shard too many": ("segment", give("--shard", "2/2"), "PART must be 0 to 1"),
    "command: no threads": ("encode", give("--threads", "0"), "'--threads': Input should be greater than or equal to 1"),
    "command: threads that are no number": ("encode", give("--threads", "all"), "'--threads': Input should be a valid integer"),
    "command: a setting without a value": ("doctor", give("--set", "study"), "--set study: must be KEY=VALUE"),
    "command: a run that is none": ("release", lambda w: w.argv.__setitem__(1, "sam_difsr-x4-s0"), "no run or table is called 'sam_difsr-x4-s0'"),
    "command: a run that is not trained": ("release", lambda _: None, "not trained yet"),
    "command: a GPU that is not there": ("sample", give("--device", "cuda"), "device: cuda was asked for, but torch sees no GPU"),
    "command: an output that is a folder": ("encode", lambda _: Path("out/values.npz").mkdir(parents=True), "out/values.npz"),
    "command: a batch for no process": ("train-encoder", give("--save-every", "0"), "'--save-every': Input should be greater than or equal to 1"),
}  # fmt: skip


def other_encoder() -> list[str]:
    second = RECIPES["encoder"].model_copy(update={"seed": 1})
    paths = ["--hr", "hr", "--lr", "lr", "--state", "state", "--out", "second"]
    return ["train-encoder", *paths, "--recipe", second.text()]


def spoil_value(value: str) -> None:
    head, first, *rest = Path("scores.csv").read_text().splitlines()
    fields = first.split(",")
    fields[5] = value
    Path("scores.csv").write_text("\n".join([head, ",".join(fields), *rest]))


@pytest.mark.parametrize("stage", RUNNABLE)
def test_the_same_commands_work_on_good_input(here: Path, stage: str) -> None:
    World(stage).run()
    assert [path for path in here.glob("out/**/*") if path.is_file()]


@pytest.mark.parametrize("name", CASES)
def test_bad_input(here: Path, capsys: pytest.CaptureFixture[str], count: Counter[str], name: str) -> None:
    stage, spoil, words = CASES[name]
    world = World(stage)
    spoil(world)
    before = files(here)
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        world.run()
    assert left.value.code in (1, 2)
    printed = capsys.readouterr()
    error = printed.err.splitlines()[-1]
    assert words in error
    assert "error:" in error
    assert len(printed.err.splitlines()) == 1, printed.err
    after = files(here)
    assert {path: after[path] for path in after if after[path] != before.get(path)} == {}, "half-written"
    count["cases of bad input tried"] += 1


@pytest.mark.parametrize("name", ["config: not YAML", "image: truncated", "model: a pickle"])
def test_bad_input_to_a_real_process(here: Path, name: str) -> None:
    stage, spoil, words = CASES[name]
    world = World(stage)
    spoil(world)
    command = [sys.executable, "-m", "samdiffsr", *world.command()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert "Traceback" in debug.stderr


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "study=dmeo"], "study: no study 'dmeo' (did you mean 'demo'?)"),
        (["--config", "device=gpu"], "device: input should be 'auto', 'cpu' or 'cuda', not 'gpu'"),
        (["--config", "stduy=demo"], "stduy: unknown key (did you mean 'study'?)"),
        (["ablation_mask_lwo"], "No rule to produce ablation_mask_lwo"),
    ],
)
def test_bad_input_to_snakemake(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = Workflow.new(tmp_path / "repository").dry(*arguments)
    assert result.code != 0
    assert words in result.text
    assert "Traceback" not in result.text
