"""The authors' code, called as its own trainer calls it.

It has no licence and is therefore no part of this repository: whoever measures gives a checkout of
github.com/lose4578/SAM-DiffSR. Nothing in it is changed. Around it: packages that it imports and these
measurements do not use (`UNUSED`) are replaced by empty ones, what it prints on import is dropped, and the
working directory and search path that its modules change are put back.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# The metrics' module builds its networks on import, which downloads their weights.
UNUSED = ("thop", "lpips", "joblib", "tools", "tools.caculate_iqa", "torch.utils.tensorboard")
CONFIG = "configs/sam/sam_diffsr_df2k4x.yaml"


class Released:
    """A checkout of the authors' code.

    Args:
        checkout: its folder.
        steps: diffusion steps T; the only setting that differs from their released configuration.
    """

    def __init__(self, checkout: Path, steps: int = 100) -> None:
        if not (checkout / CONFIG).is_file():
            sys.exit(f"{checkout}: no checkout of the authors' code ({CONFIG} is not there)")
        with _apart(checkout):
            self.tasks = importlib.import_module("tasks.srdiff_df2k_sam")
            self.diffusion: Any = importlib.import_module("models_sr.diffusion_sam")
            self.data = importlib.import_module("data_gen.utils")
            self.merge = importlib.import_module("data_gen.merge_mask_to_one")
            self.imresize = importlib.import_module("utils_sr.matlab_resize").imresize
            self.builder = importlib.import_module("utils_sr.indexed_datasets").IndexedDatasetBuilder
            self.hparams = importlib.import_module("utils_sr.hparams")
            sys.argv[1:] = ["--config", str((checkout / CONFIG).resolve()), "--hparams", f"timesteps={steps}"]
            self.hparams.set_hparams(print_hparams=False)

    def model(self, device: torch.device) -> Any:
        """Their diffusion model with fresh weights."""
        trainer = self._trainer()
        model = trainer.build_model().to(device)
        model.sample_tqdm = False
        return model

    def training_step(self, model: Any, batch: dict[str, Tensor]) -> Callable[[], float]:
        """What their trainer does with one batch: the loss as it is printed."""
        trainer = self._trainer()
        trainer.model = model.train()
        optimizer = trainer.build_optimizer(model)

        def step() -> float:
            losses, total = trainer.training_step(batch)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            return losses["q"].item()  # as their progress bar does

        return step

    def sampled(
        self, model: Any, lr: Tensor, up: Tensor, x_T: Tensor, noise: Callable[[int], Tensor]
    ) -> Tensor:
        """Their sampling with given random numbers; (B, 3, H, W) in [-1, 1] as lr and up are."""
        steps = iter(reversed(range(model.num_timesteps)))
        fed = types.SimpleNamespace(**vars(torch))
        fed.randn = lambda *_, **__: x_T.clone()
        before = self.diffusion.torch, self.diffusion.noise_like
        self.diffusion.torch, self.diffusion.noise_like = fed, lambda *_, **__: noise(next(steps))
        try:
            return model.eval().sample(lr, up, up.shape)[0]
        finally:
            self.diffusion.torch, self.diffusion.noise_like = before

    def dataset(self, folder: Path, images: list[tuple[str, Path, Path]]) -> Any:
        """Their training set of images, packed into `folder`; (name, PNG, structure map's .npy) each."""
        settings = self.hparams.hparams
        settings["binary_data_dir"] = str(folder)
        crop, least = settings["crop_size"], settings["thresh_size"]
        pack = self.builder(f"{folder}/train")
        for number, (_, png, npy) in enumerate(images):
            job = (number, str(png), settings["patch_size"], [crop, crop], least, 4, str(npy.parent))
            for item in self.data.worker_sam(job)[1]:
                pack.add_item(item)
        pack.finalize()
        return self.tasks.Df2kDataSet_sam("train")

    def _trainer(self) -> Any:
        # its constructor opens log files and builds metrics
        return object.__new__(self.tasks.SRDiffDf2k_sam)


def weights_of(model: Any, folder: Path) -> Path:
    """Their model's weights as a checkpoint file in their layout."""
    path = folder / "released.ckpt"
    torch.save({"state_dict": {"model": model.state_dict()}}, path)
    return path


def normalised(image: np.ndarray, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 or float in [0, 1] -> (1, 3, H, W) in [-1, 1], as their data sets give it."""
    scaled = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))[None].to(device) * 2 - 1


@contextlib.contextmanager
def _apart(checkout: Path) -> Iterator[None]:
    folder, path, arguments = Path.cwd(), list(sys.path), list(sys.argv)
    for name in UNUSED:
        if name.startswith("tools") or not _there(name):
            sys.modules[name] = _Empty(name)
    sys.path.insert(0, str(checkout.resolve()))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.chdir(folder)
        sys.path[:], sys.argv[:] = path, arguments


def _there(name: str) -> bool:
    try:  # torch has a module for tensorboard, which is there without it
        importlib.import_module(name)
    except ImportError:
        return False
    return True


class _Empty(types.ModuleType):
    """A module that has every name, each of no use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing


def _nothing(*_: Any, **__: Any) -> None:
    raise RuntimeError("the benchmark replaced this package because it is not used")
