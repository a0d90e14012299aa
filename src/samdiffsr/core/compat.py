"""What other people's packages need to be told, each with the reason and with when it can go.

Nothing here is imported before it is asked for, and a package stays as it was after a patch's block.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import sys
import tempfile
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from samdiffsr.core.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn


# ---- Snakemake ----


def look_past_ancient_input() -> None:
    """Let Snakemake plan the jobs that wait for an ancient file whose own job runs again.

    Release 9.27 plans none of them: it takes for granted that a job that runs again makes all that depends on
    it run, looks no further, and then stops at the ancient file, which does not. A table that is missing is
    not made, and the workflow ends as a success. Seen when `split.csv` was made again, after a kill or for
    another test set. Goes when `DAG.update_needrun` no longer masks what it does not run.
    """
    DAG = importlib.import_module("snakemake.dag").DAG
    if hasattr(DAG.update_needrun, "__wrapped__"):
        return

    @functools.wraps(DAG.update_needrun)
    async def update_needrun(self: Any, *args: Any, **kwargs: Any) -> None:
        self.bfs = functools.partial(_that_runs, self)
        try:
            await update_needrun.__wrapped__(self, *args, **kwargs)
        finally:
            del self.bfs

    DAG.update_needrun = update_needrun


def _that_runs(dag: Any, depending: Any, *jobs: Any) -> Iterator[Any]:
    """Jobs, and what runs because they do: what waits for more than ancient files that are there."""
    queue, visited = deque(jobs), set(jobs)
    while queue:
        yield (job := queue.popleft())
        for next_, files in depending[job].items():
            if next_ not in visited and not all(f.is_ancient and Path(f).exists() for f in files):
                visited.add(next_)
                queue.append(next_)


# ---- Pillow ----


def turn_as_told(image: Image.Image, exif: Image.Exif) -> None:
    """Decode an image in place and turn it by `exif` in place of its own, which may be broken.

    Pillow 12 turns a TIFF while it decodes it, by the EXIF that it reads itself; `load` takes no other. Goes
    when it does.
    """
    from PIL import ImageOps

    image.getexif = lambda: exif  # type: ignore[method-assign]
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


# ---- torch ----


def uncompile(module: nn.Module) -> None:
    """Take back `module.compile()`; torch has no call for it."""
    module._compiled_call_impl = None


# ---- segment-anything ----


def one_device_generator() -> type[Any]:
    """segment-anything's automatic mask generator with its non-maximum suppression on one device.

    Release 1.0, the only one on the package index, makes the boxes' classes (all zero) on the CPU, which
    torchvision refuses where there are many boxes on a GPU. Reported as issue 17 of
    facebookresearch/segment-anything and mended there by pull request 41, but never released. Goes with a
    release above 1.0.
    """
    from segment_anything import SamAutomaticMaskGenerator

    methods = ("_process_crop", "_generate_masks")
    seeing = {
        name: _seeing(getattr(SamAutomaticMaskGenerator, name), batched_nms=_one_class_nms)
        for name in methods
    }
    return type("OneDeviceGenerator", (SamAutomaticMaskGenerator,), seeing)


def _one_class_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """`batched_nms` of boxes that are all of one class, whatever device `idxs` is on."""
    from torchvision.ops import nms

    kept: Tensor = nms(boxes, scores, iou_threshold)
    return kept


def _seeing(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """The same function with some of its module's names replaced; the module stays as it is."""
    return types.FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__
    )


# ---- MobileSAM ----


def mobile_sam() -> nn.Module:
    """MobileSAM's network with random weights, from the package that mirrors the authors' code.

    Call `eval()` after loading weights: the attention keeps what it made of its biases before until then.

    Its TinyViT registers five networks under names that timm has too, and imports timm by deprecated paths,
    with a warning each (facebookresearch/segment-anything issues 658 and 801 report the same code). Nothing
    here asks timm for those five, so the warnings are silenced. Goes when the package no longer warns.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Overwriting tiny_vit")
        warnings.filterwarnings("ignore", message="Importing from timm.models", category=FutureWarning)
        from mobile_sam import sam_model_registry

    model: nn.Module = sam_model_registry["vit_t"]()
    return model


# ---- pyiqa ----


def pyiqa_arch(name: str) -> types.ModuleType:
    """One module of `pyiqa.archs`, e.g. "psnr_arch", without what the packages around it import.

    `import pyiqa` brings all that any of its metrics might need, torchvision and OpenCV among it: 5 s of a
    processor before the PSNR of one image. It is left as it was, to be imported later. Goes when pyiqa's
    packages import lazily: 0.1.16 does so for its networks, not for its tools.
    """
    with _without_init("pyiqa", "pyiqa.archs", "pyiqa.utils"):
        return importlib.import_module(f"pyiqa.archs.{name}")


@contextmanager
def _without_init(*packages: str) -> Iterator[None]:
    """Modules of these packages can be imported in the block, and the packages' own code does not run.

    packages: the first is the outermost. Those that are imported already stay as they are.
    """
    spec = importlib.util.find_spec(packages[0])
    assert spec is not None
    assert spec.submodule_search_locations
    root = spec.submodule_search_locations[0]
    bare = {}
    for name in packages:
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__path__ = ["/".join([root, *name.split(".")[1:]])]
            bare[name] = module
    sys.modules.update(bare)
    try:
        yield
    finally:
        for name in bare:
            del sys.modules[name]


def filter_by_axis(ssim_arch: types.ModuleType) -> None:
    """Let pyiqa's SSIM filter with its Gaussian window an axis at a time: the same but for rounding.

    pyiqa 0.1.16 convolves in float64 with the whole window. Torch does that so slowly on a CPU that SSIM took
    most of the time of scoring. No report of it is known; goes when `pyiqa.archs.ssim_arch` filters by axis.
    """
    ssim_arch.filter2 = _by_axis  # type: ignore[attr-defined]


def _by_axis(image: Tensor, window: Tensor, shape: str) -> Tensor:
    if shape != "valid":
        raise ValueError(f"SSIM filters 'valid', not {shape!r}")
    gauss = window[0, 0].sum(0).tolist()
    for dim in (2, 3):
        kept = image.shape[dim] - len(gauss) + 1
        image = sum(weight * image.narrow(dim, i, kept) for i, weight in enumerate(gauss))
    return image


@contextmanager
def given_alexnet(backbone: nn.Module) -> Iterator[None]:
    """pyiqa's LPIPS, built in the block, takes this AlexNet instead of fetching one.

    pyiqa 0.1.16 asks torchvision for pretrained weights even with `pretrained=False`. Goes when LPIPS takes a
    path for both of its files.
    """
    with mock.patch("torchvision.models.alexnet", return_value=backbone):
        yield


@contextmanager
def given_inception(state: Mapping[str, Tensor]) -> Iterator[None]:
    """torch-fidelity's Inception, built in the block, takes these weights instead of fetching them.

    torch-fidelity 0.4 reads a file that it is given by `torch.load(weights_only=False)`, which runs what a
    file holds. Goes when it no longer does.
    """
    with mock.patch(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", return_value=state
    ):
        yield


@contextmanager
def random_vit() -> Iterator[None]:
    """pyiqa's MANIQA, built in the block, takes a random ViT instead of fetching one.

    pyiqa 0.1.16 asks timm for pretrained weights only to overwrite them with its checkpoint. Goes when it no
    longer does.
    """
    import timm

    create_model = timm.create_model

    def untrained(architecture: str, pretrained: bool = True, **options: Any) -> Any:
        return create_model(architecture, pretrained=False, **options)

    with mock.patch("timm.create_model", untrained):
        yield


@contextmanager
def only_files(files: Mapping[str, Path]) -> Iterator[None]:
    """What is built in the block finds these weight files where pyiqa, torchvision and CLIP keep theirs.

    The UserError for a file that is not among them names it. A network that timm would fetch is built of NaN,
    so that it shows itself unless a weight file is loaded over it. pyiqa 0.1.16 has no way to be told where
    weights are; goes when each of its metrics takes a path for every file.

    Args:
        files: the name that a package gives a file -> where it lies.
    """
    import timm

    create_model = timm.create_model

    def blank(architecture: str, pretrained: bool = False, **options: Any) -> Any:
        model = create_model(architecture, pretrained=False, **options)
        for tensor in (*model.parameters(), *model.buffers()) if pretrained else ():
            if tensor.is_floating_point():
                tensor.data.fill_(math.nan)
        return model

    def refuse(url: str, *args: Any, **options: Any) -> Any:
        url = getattr(url, "full_url", url)
        raise UserError(f"it needs the weight file {url.rsplit('/', 1)[-1]} ({url}); list it under `weights`")

    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for place in ("pyiqa", "checkpoints", "clip"):
            (Path(folder) / place).mkdir()
            for name, path in files.items():
                (Path(folder) / place / name).symlink_to(path.resolve())
        patched: dict[str, Any] = {
            "timm.create_model": blank,
            "torch.hub.get_dir": lambda: folder,
            "torch.hub.download_url_to_file": refuse,
            "pyiqa.utils.download_util.download_url_to_file": refuse,
            "pyiqa.utils.download_util.DEFAULT_CACHE_DIR": f"{folder}/pyiqa",
            "pyiqa.archs.clip_model.get_dir": lambda: folder,
            "urllib.request.urlopen": refuse,
        }
        for name, value in patched.items():
            patches.enter_context(mock.patch(name, value))
        yield


@contextmanager
def offline() -> Iterator[None]:
    """Any attempt to reach the network in the block is an error: weights come from files that were checked.

    No fault of a package's; it stays.
    """

    def refuse(*args: Any, **options: Any) -> Any:
        raise UserError(
            "a metric tried to reach the network for weights; install the pinned versions of pyiqa and timm"
        )

    # Looked up at each call by every HTTP client; patching a download function instead would stay behind in
    # modules that import it by name in the meantime.
    with mock.patch("socket.getaddrinfo", refuse):
        yield
