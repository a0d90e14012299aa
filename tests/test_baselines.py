"""Other methods through the same stages: a folder, a program, a network file."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml

from samdiffsr.cli.app import main
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.errors import NotHere, UserError
from samdiffsr.core.files import read_json, sha256_file
from samdiffsr.data.images import read_rgb, write_png
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.sampling.adapters import baseline_restorer
from samdiffsr.sampling.baselines import images_in, run_command
from samdiffsr.sampling.recipe import BaselineRecipe
from samdiffsr.sampling.restorers import restore_dataset
from samdiffsr.workflow.availability import absent

CPU = torch.device("cpu")


@pytest.fixture
def lr(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "lr") as store:
        for name in ("a", "b"):
            store.add(name, rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    return tmp_path / "lr"


def _recipe(adapter: str, **more: Any) -> BaselineRecipe:
    return BaselineRecipe(**{"scale": 4, "adapter": adapter, **more})


def _restore(folder: Path, recipe: BaselineRecipe, source: Path | None) -> list[str]:
    restore_dataset(
        folder / "lr", folder / "out", folder / "out.json", folder / "p.jsonl", recipe, {}, source=source,
    )  # fmt: skip
    return [x["name"] for x in json.loads((folder / "out.json").read_text())["images"]]


def test_a_folder_of_images_is_taken_as_it_is_and_what_it_lacks_is_left_out(
    tmp_path: Path, lr: Path, said: pytest.LogCaptureFixture
) -> None:
    image = np.full((48, 40, 3), 7, np.uint8)
    write_png(tmp_path / "theirs/a.png", image)
    names = _restore(tmp_path, _recipe("images"), tmp_path / "theirs")
    assert names == ["a"]
    assert np.array_equal(read_rgb(tmp_path / "out/a.png"), image)
    assert read_json(tmp_path / "out.timing.json")["seconds"] == {}  # reading a file is not its time
    assert any(line.startswith("b is left out") and "theirs/b.png" in line for line in said.messages)
    said.clear()
    names = _restore(tmp_path, _recipe("images"), tmp_path / "nowhere")
    assert names == []
    assert "nowhere: no such folder" in said.messages[0]
    with pytest.raises(NotHere):
        images_in(tmp_path / "nowhere")


def test_a_program_gets_lr_images_and_gives_sr_images(tmp_path: Path, lr: Path) -> None:
    script = tmp_path / "double quotes.py"
    script.write_text(
        "import sys, pathlib\nfrom PIL import Image\n"
        "for p in pathlib.Path(sys.argv[1]).glob('*.png'):\n"
        "    im = Image.open(p); s = int(sys.argv[3])\n"
        "    im.resize((im.width * s, im.height * s), 0).save(pathlib.Path(sys.argv[2]) / p.name)\n"
    )
    recipe = _recipe("command", command=f'{sys.executable} "{script}" {{lr}} {{sr}} {{scale}}')
    names = _restore(tmp_path, recipe, None)
    assert names == ["a", "b"]
    expected = np.asarray(Store(lr)[1]).repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(read_rgb(tmp_path / "out/b.png"), expected)


def test_lr_images_are_exported_for_programs_elsewhere(tmp_path: Path, lr: Path) -> None:
    main(["export", str(lr), "--out", str(tmp_path / "png")])
    for i, name in enumerate(("a", "b")):
        assert np.array_equal(read_rgb(tmp_path / f"png/{name}.png"), Store(lr)[i])
    assert len(list((tmp_path / "png").iterdir())) == 2


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("no-such-program {lr} {sr}", NotHere, "'no-such-program' cannot be run"),
        (f"{sys.executable} -c 'raise SystemExit(\"broken\")' {{lr}} {{sr}}", UserError, "status 1: broken"),
        ("cp {lr}", UserError, "must hold {sr}"),
    ],
)
def test_a_program_that_fails_is_named(
    tmp_path: Path, lr: Path, command: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as error:
        run_command(command, Store(lr), 4, tmp_path / "scratch")
    assert words in str(error.value)


def test_an_esrgan_file_with_random_weights(tmp_path: Path, lr: Path) -> None:
    pytest.importorskip("spandrel")
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    path = tmp_path / "esrgan.pth"
    torch.save(ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), path)
    names = _restore(tmp_path, _recipe("spandrel", sha256=sha256_file(path)), path)
    assert names == ["a", "b"]
    assert read_rgb(tmp_path / "out/a.png").shape == (48, 40, 3)
    with pytest.raises(UserError, match=r"SHA-256 is not"):
        baseline_restorer(_recipe("spandrel", sha256="0" * 64), path, Store(lr), CPU)
    with pytest.raises(UserError, match="a network of scale 4, the table's is 2"):
        baseline_restorer(_recipe("spandrel", scale=2), path, Store(lr), CPU)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="spandrel cannot load it"):
        baseline_restorer(_recipe("spandrel"), path, Store(lr), CPU)
    with pytest.raises(NotHere, match="get it from https://x"):
        baseline_restorer(_recipe("spandrel", url="https://x"), tmp_path / "no.pth", Store(lr), CPU)


def tiny_ldm(folder: Path) -> None:
    """A latent-diffusion upscaler of scale 4 in diffusers' layout, random weights."""
    from diffusers import DDIMScheduler, LDMSuperResolutionPipeline, UNet2DModel, VQModel

    torch.manual_seed(0)
    small = {"layers_per_block": 1, "norm_num_groups": 4}
    unet = UNet2DModel(
        in_channels=6, out_channels=3, block_out_channels=(8, 8), **small,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    vqvae = VQModel(
        block_out_channels=(8, 8, 8), latent_channels=3, num_vq_embeddings=16, **small,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
    )  # fmt: skip
    LDMSuperResolutionPipeline(vqvae, unet, DDIMScheduler()).save_pretrained(folder)


def test_a_latent_diffusion_folder_with_random_weights(tmp_path: Path, lr: Path) -> None:
    pytest.importorskip("diffusers")
    folder = tmp_path / "ldm"
    tiny_ldm(folder)
    weights = next(path for path in (folder / "unet").iterdir() if path.suffix == ".safetensors")
    checked = {f"unet/{weights.name}": sha256_file(weights)[:12]}
    recipe = _recipe("diffusers", steps=2, sha256=checked)
    names = _restore(tmp_path, recipe, folder)
    assert names == ["a", "b"]  # 12 x 10 pixels, padded to 32 x 32 and cropped
    first = read_rgb(tmp_path / "out/a.png")
    assert first.shape == (48, 40, 3)
    restore = baseline_restorer(recipe, folder, Store(lr), CPU)
    image = np.asarray(Store(lr)[0])
    assert np.array_equal(restore(image, "a"), first)  # the name alone seeds the noise
    assert not np.array_equal(restore(image, "b"), first)
    with pytest.raises(UserError, match="a pipeline of scale 4, the table's is 2"):
        baseline_restorer(recipe.but(scale=2), folder, Store(lr), CPU)(image, "a")
    with pytest.raises(UserError, match="SHA-256 is not 00000000"):
        baseline_restorer(recipe.but(sha256=dict.fromkeys(checked, "0" * 8)), folder, Store(lr), CPU)
    with pytest.raises(UserError, match=r"absent.bin: no such file"):
        baseline_restorer(recipe.but(sha256={"absent.bin": "0" * 8}), folder, Store(lr), CPU)
    with pytest.raises(NotHere, match="get it from https://x"):
        baseline_restorer(recipe.but(url="https://x"), tmp_path / "nowhere", Store(lr), CPU)


def test_what_the_papers_baselines_need_is_said_until_it_is_there(root: Path, tmp_path: Path) -> None:
    config = load_config(root / "config.yaml")
    shown = [row.variant for row in config.tables["table2"].rows]
    assert shown == [row.variant for row in config.tables["table3"].rows]
    others = [name for name in shown if name in config.baselines]
    assert len(others) == 10
    published = {row.split(",")[1] for row in (root / "paper/published_tables.csv").read_text().splitlines()}
    for name in others:
        baseline = config.baselines[name]
        assert baseline.label in published
        assert all([baseline.url, baseline.licence, baseline.protocol])
        why = absent(config, name, "set5", 4, tmp_path)
        place = baseline.place("set5", 4)
        assert why == f"{place} is not here; {baseline.url}"
        (tmp_path / place).mkdir(parents=True)
        assert absent(config, name, "set5", 4, tmp_path) == ""
    assert absent(config, "srgan", "set14", 4, tmp_path)  # one folder a data set
    assert absent(config, "sam_diffsr", "set5", 4, tmp_path) == ""
    recipe = table_recipe(config, "table2", {"srgan": dict.fromkeys(config.table_datasets("table2"), "gone")})
    rows = {row.variant: row for row in recipe.rows}
    assert (rows["srgan"].runs, rows["esrgan"].runs) == ((), ("esrgan-x4-s0",))


def test_an_entry_is_merged_over_the_packaged_ones(root: Path) -> None:
    raw = yaml.safe_load((root / "config.yaml").read_text())
    theirs = {"label": "Theirs", "adapter": "command", "command": "no-such-program {lr} {sr}"}
    raw["baselines"] = {"esrgan": {"file": "weights/mine.pth", "sha256": ""}, "theirs": theirs}
    config = load_config(raw)
    esrgan = config.baselines["esrgan"]
    assert (esrgan.file, esrgan.sha256, esrgan.adapter) == ("weights/mine.pth", "", "spandrel")
    assert absent(config, "theirs", "set5", 4) == "no program 'no-such-program' here"


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"adapter": "images", "folder": "b/{datset}"}, "folder: 'b/{datset}' may hold {dataset} and"),
        ({"adapter": "images", "folder": "b/{}"}, "folder: 'b/{}' may hold"),
        ({"adapter": "images", "folder": "b/{dataset"}, "folder: 'b/{dataset' may hold"),
        ({"adapter": "spandrel", "file": "{scale.x}.pth"}, "file: '{scale.x}.pth' may hold"),
        ({"adapter": "command", "command": "run '{lr} {sr}"}, "is no command line (No closing quotation)"),
        ({"adapter": "command", "command": " "}, "adapter 'command' needs `command`"),
    ],
)
def test_a_block_that_cannot_be_read_is_one_line(root: Path, block: dict[str, Any], words: str) -> None:
    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["baselines"] = {"mine": {"label": "Mine", **block}}
    with pytest.raises(UserError) as error:
        load_config(raw)
    assert str(error.value).startswith("config: baselines.mine: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_baseline_is_a_row_like_any_other(root: Path) -> None:
    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["baselines"] = {"esrgan": {"label": "ESRGAN", "adapter": "images", "folder": "x/{dataset}"}}
    rows = raw["tables"]["table2"]["rows"]
    rows.insert(0, rows.pop(rows.index("esrgan")))
    row = table_recipe(load_config(raw), "table2").rows[0]
    assert (row.published, row.runs, row.weights) == ("ESRGAN", ("esrgan-x4-s0",), ("none",))
    good = raw["baselines"]
    for name, spec, words in [
        ("other", {"label": "E", "adapter": "spandrel"}, "adapter 'spandrel' needs `file`"),
        ("srdiff", {"label": "E", "adapter": "images", "folder": "x"}, "a variant has this name too"),
    ]:
        raw["baselines"] = {**good, name: spec}
        with pytest.raises(UserError, match=words):
            load_config(raw)


def test_a_program_sees_no_more_than_it_needs(
    tmp_path: Path, lr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    code = "import os, pathlib, sys; pathlib.Path(sys.argv[2], 'seen').write_text(' '.join(os.environ))"
    folder = run_command(f'{sys.executable} -c "{code}" {{lr}} {{sr}}', Store(lr), 4, tmp_path / "scratch")
    seen = (folder / "seen").read_text().split()
    assert {"PATH", "CUDA_VISIBLE_DEVICES"} <= set(seen)
    assert not {"PYTHONPATH", "HF_TOKEN", "PYTEST_CURRENT_TEST"} & set(seen)


def test_a_program_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path, lr: Path) -> None:
    """Its child, too, which would hold the pipe and the GPU."""
    code = "echo $$ > {sr}/pids; sleep 600 & echo $! >> {sr}/pids; wait; : {lr}"
    with pytest.raises(UserError, match=r"'sh' was not done after 0\.001 h; give it more `command_hours`"):
        run_command(f"sh -c '{code}'", Store(lr), 4, tmp_path / "scratch", hours=0.001)
    _ended(tmp_path / "scratch/sr/pids")


def test_a_program_may_be_waited_for_in_a_thread(tmp_path: Path, lr: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(run_command, "cp -r {lr}/. {sr}", Store(lr), 4, tmp_path / "scratch").result()
    assert (found / "a.png").exists()


def test_a_program_ends_with_the_job_that_started_it(tmp_path: Path, lr: Path) -> None:
    """A scheduler ends a job by SIGTERM to one process."""
    code = "echo $$ > {sr}/pids; sleep 600 & echo $! >> {sr}/pids; wait; : {lr}"
    script = (
        "from pathlib import Path\n"
        "from samdiffsr.data.store import Store\n"
        "from samdiffsr.sampling.baselines import run_command\n"
        f"run_command({f'sh -c {code!r}'!r}, Store({str(lr)!r}), 4, Path({str(tmp_path / 'scratch')!r}))\n"
    )
    job = subprocess.Popen([sys.executable, "-c", script])
    pids = tmp_path / "scratch/sr/pids"
    while not pids.exists() or pids.read_text().count("\n") < 2:
        assert job.poll() is None
        time.sleep(0.05)
    job.terminate()
    assert job.wait() == 128 + signal.SIGTERM
    _ended(pids)


def _ended(pids: Path) -> None:
    """Waits until both processes whose numbers are in the file have ended."""
    found = [int(pid) for pid in pids.read_text().split()]
    assert len(found) == 2
    for pid in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
