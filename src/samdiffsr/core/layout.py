"""Every path of the graph, spelled here and nowhere else, relative to the repository's root.

`data/` holds what is external or costly, `work/` caches and resume states, `results/` what people read,
`checkpoints/` what was released. Arguments are values or Snakemake's wildcards: `hr("set5")` is a path and
`hr("{dataset}")` a pattern of paths. `read` is the inverse.

A *stem* is the path of a store without its suffixes: `files(hr("set5"), STORE)` are the files of one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from samdiffsr.core.recipe import Scale

Kind = Literal["encoders", "runs"]
Value = str | int

NAME = "[a-z][a-z0-9_]*"
# What a wildcard can be. Names hold neither `-` nor `.`, so that parts joined by these come apart again.
CONSTRAINTS: dict[str, str] = {
    "dataset": NAME,
    "variant": NAME,
    "encoder": NAME,
    "mask_set": NAME,
    "table": "table[a-z0-9]+",
    "figure": "figure[a-z0-9_]+",
    "steps": "[0-9]+",
    "sample": "[1-9][0-9]*",
    "samples": "[0-9]+",
    "scale": "[248]",
    "seed": "[0-9]+",
    "weights": "ema|raw|none",
    "masks": f"{NAME}(?:-x[248])?",
    "encoding": "[a-z][a-z0-9_]*(?:-[a-z][a-z0-9_]*)*",
    "part": "[0-9]+",
    "parts": "[0-9]+",
    # of what is read back, no wildcards of rules
    "run": f"{NAME}-x[248]-s[0-9]+",
    "name": f"{NAME}-x[248]-s[0-9]+",
}
NUMBERS = frozenset({"steps", "sample", "samples", "scale", "seed", "part", "parts"})
RUN = "{variant}-x{scale}-s{seed}"
ENCODER = "{encoder}-x{scale}-s{seed}"

STORE = (".json", ".bin")  # an image store
REGIONS = (*STORE, ".members.npz")  # a region store
SAMPLES = (".json", ".timing.json")  # the manifest of sampled images, and how long they took
MODEL = (".safetensors", ".curve.csv", ".timing.json")  # what a training leaves
FIGURE = (".png", ".pdf")
TABLE = {
    "wide": ".csv",
    "tidy": "_tidy.csv",
    "differences": "_differences.csv",
    "markdown": ".md",
    "latex": ".tex",
}
DATA = "data"  # what is external or costly; .dvcignore says what of it is under DVC
WEIGHTS = "weights"  # the folder of networks' weight files
DOWNLOADS = "work/downloads"  # archives, whole or in part
WRITTEN = (DATA, "work", "results", WEIGHTS, "checkpoints")  # where a killed job may leave temporary files
FEATURES = "work/features"  # what networks see in images, for FID and KID
STORES = "work/stores"
OVERLAPS = "work/overlaps"  # what was found between two sets of images
SHOWN = "results"  # what people look at, the chosen study's
SHOWN_FIGURES = "results/figures"
PUBLISHED = "paper/published_tables.csv"
ERRATA = "paper/errata.yaml"


def files(stem: str, suffixes: Sequence[str]) -> list[str]:
    """The files that share a stem."""
    return [stem + suffix for suffix in suffixes]


# ---- names that paths are made of ----


def run_name(variant: str, scale: Value, seed: Value) -> str:
    """What a run is called; an encoder's training too."""
    return f"{variant}-x{scale}-s{seed}"


def mask_name(mask_set: str, scale: Value | None = None) -> str:
    """File name of a mask set's regions; those found on LR images belong to one scale factor."""
    return mask_set if scale is None else f"{mask_set}-x{scale}"


def shard_name(part: Value, parts: Value) -> str:
    return f"{part}of{parts}"


def shard_wildcards(shards: int) -> list[str]:
    """What the name of a job's log ends with, where several jobs share one thing."""
    return [shard_name("{part}", "{parts}")] if shards > 1 else []


def typed(wildcards: Mapping[str, str]) -> dict[str, Value]:
    """Wildcards by name, those that are numbers as numbers."""
    return {name: int(value) if name in NUMBERS else value for name, value in wildcards.items()}


# ---- data, masks, weights: the same in every study ----


def source_folder(source: str) -> str:
    """Where a fetched image set lies."""
    return f"data/{source}"


def source_stamp(source: str) -> str:
    """Says that a fetched image set is whole."""
    return f"data/{source}/SOURCE.json"


def demo_image(split: str, name: str) -> str:
    """One of the photographs that scikit-image installs."""
    return f"data/demo/{split}/{name}.png"


def demo_sources() -> str:
    """Says where the demo photographs come from."""
    return "data/demo/SOURCES.json"


def weight(file: str) -> str:
    """A network's weights."""
    return f"{WEIGHTS}/{file}"


def hr(dataset: str) -> str:
    """Stem of the store of HR images."""
    return f"{STORES}/{dataset}/hr"


def hr_in(stores: Path, dataset: str) -> Path:
    """The same, where the stores lie in this folder."""
    return stores / Path(hr(dataset)).relative_to(STORES)


def lr(dataset: str, scale: Value) -> str:
    """Stem of the store of LR images."""
    return f"{STORES}/{dataset}/lr-x{scale}"


def regions(dataset: str, masks: str) -> str:
    """Stem of a region store."""
    return f"data/masks/{dataset}/{masks}"


def region_part(dataset: str, masks: str, part: Value, parts: Value) -> str:
    """Stem of a shard of a region store."""
    return f"work/masks/{dataset}/{masks}/{shard_name(part, parts)}"


def segmented(dataset: str, masks: str, shards: int) -> str:
    """Stem of what one job segments: a region store, or a part of it whose number is a wildcard."""
    return regions(dataset, masks) if shards == 1 else region_part(dataset, masks, "{part}", "{parts}")


def region_state(dataset: str, masks: str) -> str:
    """Folder of the images that are segmented already."""
    return f"work/masks/{dataset}/{masks}.images"


def values(dataset: str, masks: str, encoding: str) -> str:
    """One number a region, of one encoding."""
    return f"work/encodings/{dataset}/{masks}/{encoding}.npz"


def contents(name: str) -> str:
    """Hashes of files that are the user's own."""
    return f"work/contents/{name}.json"


def calibration(key: str) -> str:
    """What a training step costs on one device."""
    return f"work/calibration/{key}.json"


def log(folder: str, *parts: str) -> str:
    """The log of one job: `log("data", "set5", "hr")`."""
    return f"logs/{folder}/{'.'.join(parts)}.log"


def benchmark(folder: str, *parts: str) -> str:
    """Snakemake's record of the time and memory of the same job."""
    return f"logs/{folder}/{'.'.join(parts)}.tsv"


# ---- the tables and figures that people look at: the chosen study's ----


def shown_table(table: str, kind: str = "wide") -> str:
    return f"{SHOWN}/{table}{TABLE[kind]}"


def shown_differences() -> str:
    return f"{SHOWN}/differences.csv"


def shown_figure(figure: str, suffix: str = ".png") -> str:
    return f"{SHOWN_FIGURES}/{figure}{suffix}"


def shown_report() -> str:
    return f"{SHOWN}/report.html"


@dataclass(frozen=True)
class Layout:
    """The paths of one study; home: folder of its results, if they lie elsewhere than in results/<study>."""

    study: str
    home: str = ""

    @property
    def results(self) -> str:
        return self.home or f"{SHOWN}/{self.study}"

    # ---- models ----

    def model(self, kind: Kind, name: str) -> str:
        """What a training makes, or an import; `name`: see `run_name`."""
        return self._training(kind, name) + MODEL[0]

    def curve(self, kind: Kind, name: str) -> str:
        """Loss and learning rate of a training."""
        return self._training(kind, name) + MODEL[1]

    def training_record(self, kind: Kind, name: str) -> str:
        """How long a training took, and on what."""
        return self._training(kind, name) + MODEL[2]

    def _training(self, kind: Kind, name: str) -> str:
        return f"{self.results}/{kind}/{name}/model"

    def training_state(self, kind: Kind, name: str) -> str:
        """Folder of the states that a stopped training goes on from."""
        return f"work/{self.study}/train/{_apart(kind, name)}"

    def tensorboard(self) -> str:
        """Folder of TensorBoard's event files, a folder a training."""
        return f"work/{self.study}/tensorboard"

    def released(self, kind: Kind, name: str) -> str:
        """What `samdiffsr release` makes of a model."""
        return f"checkpoints/{self.study}/{_apart(kind, name)}.safetensors"

    # ---- samples and scores ----

    def samples(self, run: str, weights: str, dataset: str) -> str:
        """Stem of the manifest of SR images, and the folder that holds them."""
        return f"{self.results}/samples/{run}/{weights}/{dataset}"

    def sample_state(self, run: str, weights: str, dataset: str) -> str:
        """The images that are sampled already."""
        return f"work/{self.study}/sample/{run}/{weights}/{dataset}.jsonl"

    def sample_part(self, run: str, weights: str, dataset: str, part: Value, parts: Value) -> str:
        """Stem of the manifest of a shard of SR images."""
        return f"work/{self.study}/sample/{run}/{weights}/{dataset}/{shard_name(part, parts)}"

    def sampled(self, run: str, weights: str, dataset: str, shards: int) -> str:
        """Stem of what one job samples: the whole manifest, or a part of it whose number is a wildcard."""
        if shards == 1:
            return self.samples(run, weights, dataset)
        return self.sample_part(run, weights, dataset, "{part}", "{parts}")

    def sampled_state(self, run: str, weights: str, dataset: str, shards: int) -> str:
        """The images that the same job has sampled already."""
        if shards == 1:
            return self.sample_state(run, weights, dataset)
        return f"{self.sample_part(run, weights, dataset, '{part}', '{parts}')}.jsonl"

    def steps(self, run: str, steps: Value, weights: str, dataset: str) -> str:
        """Stem of the manifest of SR images drawn in another number of steps."""
        return f"{self.results}/steps/{run}/{steps}/{weights}/{dataset}"

    def steps_scores(self, run: str, steps: Value, weights: str, dataset: str, kind: str = "") -> str:
        """Their scores; kind: empty for those of single images, or sets."""
        return f"{self.steps(run, steps, weights, dataset)}{'.' if kind else ''}{kind}.csv"

    def steps_state(self, run: str, steps: Value, weights: str, dataset: str) -> str:
        return f"work/{self.study}/steps/{run}/{steps}/{weights}/{dataset}.jsonl"

    def draws(self, run: str, sample: Value, weights: str, dataset: str) -> str:
        """Stem of the manifest of SR images of another sampling seed than 0."""
        return f"{self.results}/draws/{run}/{sample}/{weights}/{dataset}"

    def draws_state(self, run: str, sample: Value, weights: str, dataset: str) -> str:
        return f"work/{self.study}/draws/{run}/{sample}/{weights}/{dataset}.jsonl"

    def scores(self, run: str, dataset: str, kind: str = "") -> str:
        """Scores of a run; kind: empty for those of single images, or sets, protocols, cost, samplesK."""
        return f"{self.results}/scores/{run}/{dataset}{'.' if kind else ''}{kind}.csv"

    def overlaps(self) -> str:
        """Images that the study's sets have in common."""
        return f"{self.results}/overlaps.csv"

    def split(self) -> str:
        """The same, as trainings wait for it: no test image is trained on."""
        return f"work/{self.study}/split.csv"

    # ---- masks ----

    def mask_statistics(self, dataset: str, masks: str) -> str:
        """Of each image of a region store."""
        return f"{self.results}/masks/{dataset}.{masks}.csv"

    def mask_summary(self, dataset: str, masks: str) -> str:
        """Of a region store as a whole."""
        return f"work/{self.study}/masks/{dataset}.{masks}.summary.csv"

    def all_mask_statistics(self) -> str:
        return f"{self.results}/masks/statistics.csv"

    # ---- tables, figures, report ----

    def table(self, table: str, kind: str = "wide") -> str:
        """One file of a table; kind: a key of TABLE."""
        return f"{self.results}/{table}{TABLE[kind]}"

    def differences(self) -> str:
        """What all tables claim."""
        return f"{self.results}/differences.csv"

    def figure(self, figure: str, suffix: str = ".png") -> str:
        return f"{self.results}/figures/{figure}{suffix}"

    def rule_graph(self) -> str:
        return f"work/{self.study}/rulegraph.dot"

    def report(self) -> str:
        return f"{self.results}/report.html"

    # ---- logs ----

    def log(self, folder: str, *parts: str) -> str:
        """As `log`, below the study's folder; folder: empty for the study's own."""
        return log(f"{self.study}/{folder}".rstrip("/"), *parts)

    def benchmark(self, folder: str, *parts: str) -> str:
        return benchmark(f"{self.study}/{folder}".rstrip("/"), *parts)


def _apart(kind: Kind, name: str) -> str:
    """Names of encoders' and of denoisers' trainings in one folder; names hold no `-`, so none are equal."""
    return f"encoder-{name}" if kind == "encoders" else name


# ---- from a path back to what it is made of ----


def read(path: str, spell: Callable[..., str], **given: str) -> dict[str, str] | None:
    """The arguments with which `spell`, of this module or of `Layout`, gives `path`; None if none do.

    Args:
        given: arguments that are known. One that has a default keeps it unless it is given.

    Example: `read("work/stores/set5/lr-x4", lr)` is {"dataset": "set5", "scale": "4"}.
    """
    parameters = inspect.signature(spell).parameters.items()
    names = [name for name, found in parameters if found.default is found.empty and name not in given]
    return _match(path, spell(**{name: f"{{{name}}}" for name in names}, **given))


def read_run(name: str) -> tuple[str, Scale, int] | None:
    """(variant or encoder, scale, seed) of a name that `run_name` made."""
    found = _match(name, RUN)
    return None if found is None else (found["variant"], cast(Scale, int(found["scale"])), int(found["seed"]))


def seed_of(run: str) -> int:
    """The seed in a name that `run_name` made; ValueError for another name."""
    found = read_run(run)
    if found is None:
        raise ValueError(f"{run!r} is no name of a run")
    return found[2]


def read_masks(name: str) -> tuple[str, int | None]:
    """(mask set, scale) of a name that `mask_name` made; no scale for regions of HR images."""
    mask_set, _, scale = name.partition("-x")
    return mask_set, int(scale) if scale else None


def _match(path: str, pattern: str) -> dict[str, str] | None:
    regex = re.sub(
        r"\\\{(\w+)\\\}", lambda m: f"(?P<{m[1]}>{CONSTRAINTS.get(m[1], '[^/]+')})", re.escape(pattern)
    )
    found = re.fullmatch(regex, path)
    return None if found is None else found.groupdict()
