"""Masks from MobileSAM (Zhang et al., 2023): SAM with TinyViT (Wu et al., 2022) as its image encoder.

The network is the `mobile_sam` package's, so the official weight file fits as it is. The automatic mask
generator is segment-anything's, as for SAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from samdiffsr.core import compat
from samdiffsr.masks.segmenters.sam import GridPrompted, load_strictly, variant, wrong_network


class MobileSam(GridPrompted):
    """MobileSAM under the automatic mask generator."""

    def build(self, state: Mapping[str, Tensor], path: Path) -> nn.Module:
        found, wanted = variant(state), self.settings.network
        if found != wanted:
            raise wrong_network(path, wanted, found)
        model = compat.mobile_sam()
        load_strictly(model, state, path, wanted)
        return model.eval()  # again: `compat.mobile_sam` says why
