"""What a training is told to show of itself: no part of what decides its weights, nor of its fingerprint."""

from __future__ import annotations

from samdiffsr.core.recipe import NotNegative, Positive, Recipe, Strict
from samdiffsr.data.recipe import Bicubic, Degradation


class Watching(Strict):
    """What a training shows while it runs. It decides no weights, and a change trains nothing again."""

    validate_every: NotNegative = 0
    """Steps between two validations, which put the PSNR of a few test patches into the curve. 0: none."""
    patches: Positive = 4
    """Patches of a validation, from the first test set whose LR images are made here."""
    tensorboard: bool = False
    """Write TensorBoard's event files to work/STUDY/tensorboard/. Needs the extra `tensorboard`."""


class WatchRecipe(Recipe):
    """The same, as a training is told it.

    Attributes:
        every: steps between two validations; 0: none.
        hr: store of the images whose patches are restored.
        degradation: by which LR patches are made of them.
        steps: of the sampling; None: all.
        tensorboard: a folder; empty: none.
    """

    every: NotNegative = 0
    patches: Positive = 4
    hr: str = ""
    degradation: Degradation = Bicubic()
    steps: Positive | None = None
    tensorboard: str = ""
