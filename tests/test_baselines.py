"""Other methods through the same stages: a folder, a program, a network file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samdiffsr.baselines import baseline_restorer, images_restorer, run_command
from samdiffsr.config import load_config
from samdiffsr.data.images import read_rgb, write_png
from samdiffsr.data.store import Store, StoreWriter
from samdiffsr.errors import NotHere, UserError
from samdiffsr.files import sha256_file
from samdiffsr.restore import restore_dataset

CPU = torch.device("cpu")


@pytest.fixture
def lr(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "lr") as store:
        for name in ("a", "b"):
            store.add(name, rng.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    return tmp_path / "lr"


def _recipe(adapter: str, **more: Any) -> dict[str, Any]:
    shared = {"kind": "baseline", "scale": 4, "weights": "none", "command": "", "sha256": "", "url": ""}
    return shared | {"adapter": adapter} | more


def _restore(folder: Path, recipe: dict[str, Any], source: Path | None) -> tuple[list[str], list[str]]:
    said: list[str] = []
    restore_dataset(
        folder / "lr", folder / "out", folder / "out.json", folder / "p.jsonl", recipe, {},
        baseline=lambda lr, device: baseline_restorer(recipe, source, lr, device), say=said.append,
    )  # fmt: skip
    return [x["name"] for x in json.loads((folder / "out.json").read_text())["images"]], said


def test_a_folder_of_images_is_taken_as_it_is_and_what_it_lacks_is_left_out(tmp_path: Path, lr: Path) -> None:
    image = np.full((48, 40, 3), 7, np.uint8)
    write_png(tmp_path / "theirs/a.png", image)
    names, said = _restore(tmp_path, _recipe("images"), tmp_path / "theirs")
    assert names == ["a"]
    assert np.array_equal(read_rgb(tmp_path / "out/a.png"), image)
    assert any(line.startswith("warning: b is left out") and "theirs/b.png" in line for line in said)
    names, said = _restore(tmp_path, _recipe("images"), tmp_path / "nowhere")
    assert names == []
    assert "nowhere: no such folder" in said[0]
    with pytest.raises(NotHere):
        images_restorer(tmp_path / "nowhere")


def test_a_program_gets_lr_images_and_gives_sr_images(tmp_path: Path, lr: Path) -> None:
    script = tmp_path / "double quotes.py"
    script.write_text(
        "import sys, pathlib\nfrom PIL import Image\n"
        "for p in pathlib.Path(sys.argv[1]).glob('*.png'):\n"
        "    im = Image.open(p); s = int(sys.argv[3])\n"
        "    im.resize((im.width * s, im.height * s), 0).save(pathlib.Path(sys.argv[2]) / p.name)\n"
    )
    recipe = _recipe("command", command=f'{sys.executable} "{script}" {{lr}} {{sr}} {{scale}}')
    names, _ = _restore(tmp_path, recipe, None)
    assert names == ["a", "b"]
    expected = np.asarray(Store(lr)[1]).repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(read_rgb(tmp_path / "out/b.png"), expected)


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
    names, _ = _restore(tmp_path, _recipe("spandrel", sha256=sha256_file(path)), path)
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


def test_a_baseline_is_a_row_like_any_other(root: Path) -> None:
    import yaml

    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["baselines"] = {"esrgan": {"label": "ESRGAN", "adapter": "images", "folder": "x/{dataset}"}}
    raw["tables"]["table2"]["rows"][0] = "esrgan"
    row = load_config(raw).table_recipe("table2")["rows"][0]
    assert (row["published"], row["runs"], row["weights"]) == ("ESRGAN", ["esrgan-x4-s0"], ["none"])
    good = raw["baselines"]
    for name, spec, words in [
        ("other", {"label": "E", "adapter": "spandrel"}, "adapter 'spandrel' needs `file`"),
        ("srdiff", {"label": "E", "adapter": "images", "folder": "x"}, "a variant has this name too"),
    ]:
        raw["baselines"] = {**good, name: spec}
        with pytest.raises(UserError, match=words):
            load_config(raw)
