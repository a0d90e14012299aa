"""What a training shows of itself while it runs: PSNR on a few test patches, and TensorBoard.

It decides no weights. The network is a copy, random numbers come from generators of their own, and nothing
of the training's state is touched. So the workflow's fingerprint of a training leaves this module out: who
begins to watch trains nothing again.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samdiffsr.core.errors import UserError
from samdiffsr.core.extras import optional
from samdiffsr.core.randomness import sample_generator
from samdiffsr.data.degradation.draw import drawn
from samdiffsr.data.degradation.steps import carried_out
from samdiffsr.data.recipe import Bicubic, Degradation
from samdiffsr.data.resize import downscale, upsampled
from samdiffsr.data.store import Store
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.diffusion.sampler import chain, sample
from samdiffsr.training.recipe import DenoiserRecipe
from samdiffsr.training.step import Task
from samdiffsr.training.watching import WatchRecipe

log = logging.getLogger(__name__)

SEED = 0x7A7C4  # of the noise that validation begins with: the same at every step, in every training


class Watch:
    """Watches one training, as `told`; `WatchRecipe()` is told nothing and does nothing.

    Args:
        task: before its network is compiled. autocast: as the training's.
        folder: below `told.tensorboard`, of this training.

    Raises:
        UserError: TensorBoard is not installed; no store of test images, or none as large as a patch; no such
            sampling steps.
    """

    def __init__(
        self, told: WatchRecipe, task: Task, device: torch.device, autocast: Any, folder: str
    ) -> None:
        self.told, self.task, self.device, self.autocast = told, task, device, autocast
        self.every = told.every
        self.seconds = 0.0  # spent here by this process
        self._writer: Any = None
        self._board = Path(told.tensorboard) / folder if told.tensorboard else None
        if self._board is not None:
            self._tensorboard = optional("torch.utils.tensorboard", "tensorboard")
        recipe = task.recipe
        if self.every and isinstance(recipe, DenoiserRecipe):
            if FORMULATIONS[recipe.formulation].needs_masks:
                log.warning(f"{task.name}: needs masks at inference, so it is not validated")
                self.every = 0
            else:
                process = self._loss.process
                chain(process, steps=told.steps, start=process.first_t)
        if self.every:
            self.net = copy.deepcopy(task.net).eval().requires_grad_(False)
            self.hr, self.lr = (
                part.to(device) for part in patches(told, recipe.scale, recipe.training.patch)
            )

    def begin(self, step: int) -> None:
        """The training goes on after `step` steps: what TensorBoard has of later ones is void."""
        if self._board is not None:
            purge = step + 1 if step else None
            self._writer = self._tensorboard.SummaryWriter(str(self._board), purge_step=purge)
            if self.every and not step:
                self._writer.add_images("validation/HR", self.hr, 0)

    def point(self, step: int, loss: float, lr: float, speed: float) -> None:
        """A point of the curve. speed: steps a second."""
        if self._writer is not None:
            for name, value in (("loss", loss), ("learning rate", lr), ("steps a second", speed)):
                self._writer.add_scalar(name, value, step)

    def due(self, step: int, last: int) -> bool:
        """Whether to validate after this step: every so many, and at the end."""
        return bool(self.every) and (step % self.every == 0 or step == last)

    def validate(self, step: int, weights: dict[str, Tensor]) -> float:
        """Mean PSNR (dB) of the patches, on RGB, as the network with these weights restores them."""
        began = time.perf_counter()
        self.net.to(self.device).load_state_dict(weights)
        with torch.inference_mode(), self.autocast():
            sr = self._restored().float()
        sr = (sr.clamp(0, 1) * 255).round()
        error = (sr - self.hr.float()).square().mean(dim=(1, 2, 3))
        psnr = float((10 * torch.log10(255**2 / error.clamp(min=1e-10))).mean())
        if self._writer is not None:
            self._writer.add_scalar("validation/PSNR", psnr, step)
            self._writer.add_images("validation/SR", sr.to(torch.uint8), step)
        seconds = time.perf_counter() - began
        self.seconds += seconds
        log.info(f"{self.task.name}: step {step}  validation {psnr:.2f} dB  {seconds:.1f} s")
        return psnr

    def close(self) -> None:
        """Finish TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()

    @property
    def _loss(self) -> Any:
        """A denoiser's loss (`training.denoiser.NoiseLoss`), which holds its process and its encoder."""
        return self.task.loss

    @property
    def _net(self) -> Any:
        """The copy, as a denoiser."""
        return self.net

    def _restored(self) -> Tensor:
        """float (N, 3, patch, patch), 1 is white."""
        recipe, small = self.task.recipe, self.lr.float() / 255
        if not isinstance(recipe, DenoiserRecipe):
            return self.net(small)
        loss, net = self._loss, self._net
        condition = net.project(loss.frozen.features(small), None)
        up = upsampled(self.lr, recipe.scale, recipe.lr_divisor)

        def noise(i: int) -> Tensor:
            return torch.randn(up.shape, generator=sample_generator(SEED, i, self.device), device=self.device)

        x_0 = sample(
            lambda x_t, t: net(x_t, t, condition),
            noise(loss.process.schedule.T),
            loss.process.schedule,
            loss.process,
            noise,
            steps=self.told.steps,
            start=loss.process.first_t,
            e_max=self.task.facts["e_max"],
        )
        return up + x_0 / (2 * recipe.diffusion.residual_scale)


def patches(told: WatchRecipe, scale: int, patch: int) -> tuple[Tensor, Tensor]:
    """The middle of some test images, evenly chosen: uint8 HR (N, 3, patch, patch) and LR, N <= told.patches.

    LR is made of the HR patch alone.
    """
    path = Path(told.hr)
    if not path.with_name(f"{path.name}.json").exists():
        raise UserError(
            f"{path}: no such store, and watch.validate_every needs it; run `snakemake {path}.json`"
        )
    store = Store(path)
    large = [i for i in range(len(store)) if min(store.shape(i)[:2]) >= patch]
    if not large:
        raise UserError(
            f"{path}: no image is as large as a patch of {patch} pixels; set watch.validate_every: 0"
        )
    count = min(told.patches, len(large))
    hr, lr = [], []
    for k in range(count):
        i = large[math.floor((k + 0.5) * len(large) / count)]
        top, left = ((side - patch) // 2 for side in store.shape(i)[:2])
        hr.append(np.ascontiguousarray(store[i][top : top + patch, left : left + patch]))
        lr.append(_shrunk(hr[-1], store.names[i], scale, told.degradation))
    stacks = (np.stack(images).transpose(0, 3, 1, 2) for images in (hr, lr))
    first, second = (torch.from_numpy(np.ascontiguousarray(stack)) for stack in stacks)
    return first, second


def _shrunk(image: np.ndarray, name: str, scale: int, degradation: Degradation) -> np.ndarray:
    """The LR patch of an HR patch."""
    if isinstance(degradation, Bicubic):
        return downscale(image, scale, degradation.rounding)
    return carried_out(image, drawn(name, image.shape[:2], scale, degradation))
