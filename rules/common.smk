# Shared by all rule files - the validated configuration, names of files, small input functions.
import os
import re
import shlex
import sys
from glob import glob
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# The package beside this Snakefile, whatever is installed; children inherit it.
SRC = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SRC)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SRC, os.environ.get("PYTHONPATH")]))
)

from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.figures import (
    figure_datasets,
    figure_points,
    figure_recipe,
)
from samdiffsr.config.recipes.report import comparisons, report_recipe
from samdiffsr.config.recipes.stages import (
    dataset_recipe,
    denoiser_recipe,
    encoder_recipe,
    encoding_name,
    encoding_recipe,
    import_recipe,
    lr_recipe,
    mask_recipe,
    protocol_recipe,
    recipe_text,
    sampling_recipe,
    score_recipe,
    set_recipe,
    statistics_recipe,
    step_metrics,
    step_score_recipe,
)
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.data.catalogue import sources, weights
from samdiffsr.data.demo import PHOTOGRAPHS
from samdiffsr.data.fetch import check_disk, source_version
from samdiffsr.data.images import list_images
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import ENCODER, RUN, Layout
from samdiffsr.evaluation.metrics import (
    METRICS,
    CostMetric,
    ImageMetric,
    SetMetric,
    of_kind,
    weight_keys,
)
from samdiffsr.data.weights import read_table
from samdiffsr.workflow.fingerprint import fingerprint, scoring_fingerprint
from samdiffsr.workflow.lock import hold
from samdiffsr.masks.segmenters.kinds import LEARNED, segmenter_module
from samdiffsr.workflow.plan import refuse_slow, training_of
from samdiffsr.checkpoints.released import (
    check_model,
    models_of,
    released_path,
    trained_path,
)
from samdiffsr.config.schema import Run
from samdiffsr.workflow.availability import (
    absences,
    absent,
    all_absences,
    needed_sources,
    needed_weights,
    with_present_test_sets,
)
from samdiffsr.reporting.figures.draw import figure_module

# Rules call `python`: let it be the one that runs Snakemake, also when its environment is not activated.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
)

try:
    # Of the jobs' Snakemakes and of those that only look, none holds the folder.
    HELD = (
        workflow.is_main_process
        and not workflow.output_settings.dryrun
        and hold(Path(), logger.warning)
    )
    CONFIG = with_present_test_sets(load_config(config))
except UserError as error:
    raise WorkflowError(str(error)) from None

for name, why in CONFIG.left_out.items():
    logger.warning(f"left out (missing_test_sets: skip): test set {name}: {why}")

STUDY = CONFIG.study
CHOSEN = CONFIG.chosen
RESULTS = f"results/{STUDY}"
LAYOUT = Layout(STUDY)
SCALES = sorted({t.scale for t in CONFIG.tables.values()})
LEVELS = [level for level in ("high", "medium", "low") if level in CHOSEN.masks]
DEMO_IMAGES = [
    f"data/demo/{photograph.split}/{photograph.name}.png" for photograph in PHOTOGRAPHS
]
STUDY_SOURCES = [source.key for source in needed_sources(CONFIG)]
SOURCES = sources()
WEIGHTS = {row.file: row for row in weights().values()}
if CONFIG.mirror:
    os.environ.update(SAMDIFFSR_MIRROR=CONFIG.mirror)
ENCODINGS = {
    encoding_name(CONFIG, v): encoding_recipe(CONFIG, v) for v in CONFIG.variants
}


def run_of(wildcards):
    """The run that a path's wildcards name; an unknown variant is one line, not a missing input."""
    if wildcards.variant not in CONFIG.variants:
        raise WorkflowError(f"no variant {wildcards.variant!r} in config.yaml")
    return Run(
        variant=wildcards.variant, scale=int(wildcards.scale), seed=int(wildcards.seed)
    )


def mask_name(mask_set, scale):
    """File name of a mask set's regions: those found on LR images belong to one scale factor."""
    return (
        mask_set if CONFIG.mask_sets[mask_set].image == "hr" else f"{mask_set}-x{scale}"
    )


def store(path):
    """The files of an image store."""
    return [f"{path}.json", f"{path}.bin"]


def store_input(path):
    """The same as an input. The index holds the digest of the data, and small files count by their content: a store
    that was made again with the same content re-runs nothing, whatever its data file's time stamp says.
    """
    return [f"{path}.json", ancient(f"{path}.bin")]


def growing(mb):
    """Memory of a job that gets more of it each time it is tried again; mb: a number, or a function of wildcards and
    input."""

    def memory(wildcards, input, attempt):
        return attempt * (mb(wildcards, input) if callable(mb) else mb)

    return memory


def stem(files):
    """What the command line calls an image store: its path without suffix."""
    return files[0].removesuffix(".json")


def trained(kind, name):
    return f"{RESULTS}/{kind}/{name}/model.safetensors"


def model_inputs(kind, run):
    """Input files that bring a model: trained here, or released (no rule makes those, so none is ever retrained)."""
    if CONFIG.checkpoint_source == "trained" or CONFIG.variants[run.variant].foreign:
        return {"file": str(trained_path(CONFIG, kind, run))}
    path = str(released_path(CONFIG, kind, run))
    if not os.path.exists(path):
        raise WorkflowError(
            f"{path} is not here: fetch it with `dvc pull {path}`, or train it with --config checkpoint_source=trained"
        )
    try:
        check_model(Path(path), CONFIG, kind, run)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    pointer = f"{path}.dvc"
    return {"file": ancient(path)} | (
        {"pointer": pointer} if os.path.exists(pointer) else {}
    )


def model_files(kind, run):
    """The same, named after the kind of model."""
    name = {"encoders": "encoder", "runs": "denoiser"}[kind]
    return {f"{name}_{k}": v for k, v in model_inputs(kind, run).items()}


# ---- fetch.smk ----


def fetch_targets(wildcards):
    """What the study needs from outside; refused before anything starts if the disk cannot hold what is missing."""
    missing = [SOURCES[key] for key in STUDY_SOURCES if not SOURCES[key].stamp.exists()]
    need = sum(source.disk for source in missing)
    files = [f"weights/{weights()[key].file}" for key in needed_weights(CONFIG)]
    need += sum(
        WEIGHTS[Path(f).name].bytes or 0 for f in files if not os.path.exists(f)
    )
    check_disk(need, Path("data"), f"study {STUDY!r}")
    return [str(SOURCES[key].stamp) for key in STUDY_SOURCES] + files


# ---- data.smk ----


def dataset_files(wildcards):
    """What must be there before a data set's images can be read: small files, so that their content decides."""
    dataset = CONFIG.datasets.get(wildcards.dataset)
    if dataset is None:
        raise WorkflowError(f"no dataset {wildcards.dataset!r} in config.yaml")
    files = [str(SOURCES[key].stamp) for key in dataset.source if key in SOURCES]
    if "demo" in dataset.source:
        files += [f for f in DEMO_IMAGES if os.path.dirname(f) in dataset.folder]
    if "local" in dataset.source:
        try:
            files += [str(f) for folder in dataset.folder for f in list_images(folder)]
        except UserError as error:
            raise WorkflowError(f"dataset {wildcards.dataset}: {error}") from None
    return files


# ---- masks.smk ----


def mask_source(wildcards):
    """The store whose images are segmented."""
    name, _, scale = wildcards.masks.partition("-x")
    if name not in CONFIG.mask_sets:
        raise WorkflowError(f"no mask set {name!r} in config.yaml")
    return f"work/stores/{wildcards.dataset}/" + (f"lr-x{scale}" if scale else "hr")


def mask_source_input(wildcards):
    """The same as an input. Regions cost hours and are pulled: a newer store alone does not make them again, other
    images do (by the rule's params; and training refuses regions of other images)."""
    files = store(mask_source(wildcards))
    local = "local" in CONFIG.datasets[wildcards.dataset].source
    return files if local else ancient(files)


def mask_files(path):
    return [f"{path}.json", f"{path}.bin", f"{path}.members.npz"]


def mask_set_of(wildcards):
    return wildcards.masks.partition("-x")[0]


def training_masks():
    """The region stores of the training set: every level, at every scale factor that some table has."""
    names = [mask_name(CHOSEN.masks[level], s) for level in LEVELS for s in SCALES]
    return [f"data/masks/{CHOSEN.train_set}/{name}" for name in dict.fromkeys(names)]


def level_masks():
    """One region store a level, for figures of masks."""
    scale = 4 if 4 in SCALES else SCALES[0]
    return [
        f"data/masks/{CHOSEN.train_set}/{mask_name(CHOSEN.masks[level], scale)}"
        for level in LEVELS
    ]


def mask_shards(wildcards):
    """The parts of a region store, in their order."""
    folder = f"work/masks/{wildcards.dataset}/{wildcards.masks}"
    parts = CHOSEN.mask_shards
    return [f"{folder}/{part}of{parts}" for part in range(parts)]


# The stamp of the fetched data set, whose folder holds BSDS500's ucm2 and groundTruth.
BSDS = "data/bsds500/SOURCE.json"


def segmenter_spec(wildcards):
    if mask_set_of(wildcards) not in CONFIG.mask_sets:
        raise WorkflowError(f"no mask set {mask_set_of(wildcards)!r} in config.yaml")
    return CONFIG.mask_sets[mask_set_of(wildcards)].segmenter


def segmenter_inputs(wildcards):
    """What a segmenter reads beside the images. Of weights only the content matters, which is checked: no date."""
    spec = segmenter_spec(wildcards)
    kind = spec["kind"]
    if kind in LEARNED:
        key = kind if kind == "mobile_sam" else f"{kind}_{spec.get('model', 'vit_h')}"
        table = read_table()
        if not spec.get("file") and key not in table:
            raise WorkflowError(
                f"mask set {mask_set_of(wildcards)!r}: no weights are called {key!r}"
            )
        return {"weights": ancient(f"weights/{spec.get('file') or table[key].file}")}
    if kind in ("ucm", "human"):
        return {"bsds": BSDS}
    if kind == "imported":
        return {"folder": ancient(spec["folder"])}
    return {}


def annotations(wildcards):
    """People's segmentations, where the images are BSDS500's."""
    return (
        {"bsds": BSDS} if "bsds500" in CONFIG.datasets[wildcards.dataset].source else {}
    )


def segmenter_arguments(input):
    """Machine paths travel beside the recipe, not in it."""
    weights = ["--weights weights"] if "weights" in input.keys() else []
    bsds = [f"--root {os.path.dirname(input.bsds)}"] if "bsds" in input.keys() else []
    return " ".join(weights + bsds)


def segmenter_code(wildcards):
    kind = segmenter_spec(wildcards)["kind"]
    return fingerprint("samdiffsr.masks.segment", segmenter_module(kind))


def segmenter_gpu(wildcards):
    return int(segmenter_spec(wildcards)["kind"] in LEARNED)


def segmenter_threads(wildcards):
    return CHOSEN.threads if segmenter_gpu(wildcards) else 1


def segmenter_memory(wildcards, input):
    """MB of the process: SAM's largest network with 64 prompts on a 2K image, or a few label maps."""
    return 16000 if segmenter_gpu(wildcards) else 2000


def mask_input(path):
    """The same as an input, by its index alone; see `store_input`."""
    index, *data = mask_files(path)
    return [index, *ancient(data)]


def structure_inputs(variant, dataset, mask_set, scale):
    """Files that give e_sam: label maps and values."""
    masks = mask_name(mask_set, scale)
    return {
        "labels": mask_input(f"data/masks/{dataset}/{masks}"),
        "values": f"work/encodings/{dataset}/{masks}/{encoding_name(CONFIG, variant)}.npz",
    }


def structure_arguments(input):
    """Their command-line arguments; nothing for a variant without masks."""
    if "values" not in input.keys():
        return ""
    return f"--labels {stem(input.labels)} --values {input.values}"


# ---- train.smk ----

SLOW_HOURS = "inf" if CONFIG.allow_slow else str(CONFIG.slow_hours)
os.environ.update(SAMDIFFSR_SLOW_HOURS=SLOW_HOURS)
TRAINING_DEVICE = f"--device {CONFIG.device}" + (" --compile" if CONFIG.compile else "")


def refuse_slow_trainings():
    """Before anything starts, where the jobs run on this machine; elsewhere each training judges its own speed."""
    if workflow.local_exec and not workflow.touch:
        trainings = [
            training_of(
                CONFIG,
                job.rule.name.removeprefix("train_"),
                os.path.basename(os.path.dirname(job.output.model)),
            )
            for job in workflow.dag.needrun_jobs()
            if job.rule.name in ("train_encoder", "train_denoiser")
        ]
        try:
            refuse_slow(CONFIG, trainings, Path(), logger.info)
        except UserError as error:
            raise WorkflowError(str(error)) from None


def denoiser_inputs(wildcards):
    run = run_of(wildcards)
    files = model_files("encoders", run)
    if (mask_set := CONFIG.mask_set(run.variant)) is not None:
        files |= structure_inputs(run.variant, CHOSEN.train_set, mask_set, run.scale)
    return files


FOREIGN = [name for name, variant in CONFIG.variants.items() if variant.foreign]
IMPORTED = "|".join(FOREIGN) or "(?!)"  # nothing


def foreign_file(kind):
    """Input function: others' file that holds a network of this kind."""

    def file(wildcards):
        foreign = CONFIG.variants[wildcards.variant].foreign
        path = foreign.encoder_file if kind == "encoder" else foreign.denoiser
        if not os.path.exists(path):
            raise WorkflowError(
                f"variant {wildcards.variant}: {absent(CONFIG, wildcards.variant, '', 4)}"
            )
        return path

    return file


# ---- sample.smk ----


def baseline_source(wildcards):
    """A baseline's folder or network file; nothing for other variants."""
    baseline = CONFIG.baselines.get(wildcards.variant)
    if baseline is None:
        return ""
    return baseline.place(wildcards.dataset, wildcards.scale)


def restoring_code(wildcards):
    """Modules that make a variant's images; those of baselines decide nothing about the others."""
    other = wildcards.variant in CONFIG.baselines
    return ("samdiffsr.sampling.restorers",) + (
        ("samdiffsr.sampling.baselines",) if other else ()
    )


def source_argument(wildcards):
    source = baseline_source(wildcards)
    return f"--source {source}" if source else ""


def baseline_files(wildcards):
    """What there is of it."""
    source = baseline_source(wildcards)
    if os.path.isdir(source):
        return sorted(str(path) for path in Path(source).rglob("*") if path.is_file())
    return [source] if os.path.exists(source) else []


def sample_inputs(wildcards):
    run = run_of(wildcards)
    variant = CONFIG.variants[run.variant]
    files = {}
    if variant.kind == "baseline":
        if why := absent(CONFIG, run.variant, wildcards.dataset, run.scale):
            raise WorkflowError(f"baseline {run.variant}: {why}")
        files["baseline"] = baseline_files(wildcards)
    for kind in models_of(CONFIG, run):
        files |= model_files(kind, run)
    if variant.formulation == "condition":
        # there is no HR image at inference: its masks come from LR, whatever it was trained with
        files |= structure_inputs(
            run.variant, wildcards.dataset, CHOSEN.masks["low"], run.scale
        )
    return files


def model_arguments(input):
    return " ".join(
        f"--{kind} {input[f'{kind}_file']}"
        for kind in ("encoder", "denoiser")
        if f"{kind}_file" in input.keys()
    )


def sample_parts(wildcards):
    """The parts of one run's images, in their order; what is neither trained nor random is not worth sharing."""
    parts = 1 if CONFIG.trivial(wildcards.variant) else CHOSEN.sample_shards
    run = run_of(wildcards).name
    folder = f"work/{STUDY}/sample/{run}/{wildcards.weights}/{wildcards.dataset}"
    return [f"{folder}/{part}of{parts}.json" for part in range(parts)]


# ---- evaluate.smk ----


def manifests(wildcards):
    """What was sampled from a run: one manifest for each kind of its weights."""
    run = run_of(wildcards)
    folder = f"{RESULTS}/samples/{run.name}"
    return [
        f"{folder}/{weights}/{wildcards.dataset}.json"
        for weights in CONFIG.weights(run.variant)
    ]


def score_files(variant, scale, dataset, suffix=".csv"):
    """The scores of all seeds of a variant on one data set."""
    return [
        f"{RESULTS}/scores/{run.name}/{dataset}{suffix}"
        for run in CONFIG.runs(variant, scale)
    ]


def weight_files(keys):
    """Weights of metrics. Of a weight file only the content matters, which is checked when it is read: no date.

    With `missing_weights: skip` those that are there; when one arrives, what uses it runs again.
    """
    table = read_table()
    files = [f"weights/{table[key].file}" for key in keys]
    if CONFIG.missing_weights == "skip":
        files = [path for path in files if os.path.exists(path)]
    return ancient(files)


def metric_weights(metrics):
    """Weights that metrics of images need."""
    return weight_files(weight_keys(metrics))


def image_metric_weights(wildcards):
    return metric_weights(CONFIG.metrics(ImageMetric))


def set_metric_weights(wildcards):
    return metric_weights(CONFIG.metrics(SetMetric))


def timings(wildcards):
    """Timing records of what was sampled from a run, headline weights first."""
    return [path.replace(".json", ".timing.json") for path in manifests(wildcards)]


def cost_inputs(wildcards):
    """Model files that a run has, and the record of its training if it was trained here."""
    run = run_of(wildcards)
    kind = CONFIG.variants[run.variant].kind
    files = {}
    if kind in ("encoder", "denoiser"):
        files["encoder"] = model_inputs("encoders", run)["file"]
    if kind == "denoiser":
        files["denoiser"] = model_inputs("runs", run)["file"]
        foreign = CONFIG.variants[run.variant].foreign
        if CONFIG.checkpoint_source == "trained" and foreign is None:
            files["training"] = trained("runs", run.name).replace(
                ".safetensors", ".timing.json"
            )
    return files


def cost_arguments(input):
    return " ".join(
        f"--{name} {input[name]}"
        for name in ("encoder", "denoiser", "training")
        if name in input.keys()
    )


# ---- tables.smk ----


def table_recipe_text(wildcards):
    """Also refuses to call a table released whose checkpoints are not here: results of trained ones may lie there."""
    if CONFIG.checkpoint_source == "released":
        for row in table_of(wildcards).rows:
            for run in (
                CONFIG.runs(row.variant, table_of(wildcards).scale)
                if row.variant
                else ()
            ):
                for kind in models_of(CONFIG, run):
                    model_inputs(kind, run)
    return recipe_text(
        table_recipe(CONFIG, wildcards.table, absences(CONFIG, wildcards.table))
    )


def table_of(wildcards):
    table = CONFIG.tables.get(wildcards.table)
    if table is None:
        raise WorkflowError(
            f"no table {wildcards.table!r} in config.yaml; there are {', '.join(CONFIG.tables)}"
        )
    return table


def table_files(wildcards, suffix=None):
    table = table_of(wildcards)
    suffix = suffix or (".protocols.csv" if table.protocols else ".csv")
    missing = absences(CONFIG, wildcards.table)
    return [
        path
        for variant in table.variants
        for dataset in CONFIG.table_datasets(wildcards.table)
        if dataset not in missing.get(variant, ())
        for path in score_files(variant, table.scale, dataset, suffix)
    ]


def table_sets(wildcards):
    """Scores of sets and costs, if the table asks for some."""
    metrics = table_of(wildcards).metrics
    files = []
    if of_kind(metrics, SetMetric):
        files += table_files(wildcards, ".sets.csv")
    if of_kind(metrics, CostMetric):
        files += table_files(wildcards, ".cost.csv")
    return files


def table_labels(content):
    """How Snakemake's report lists one file of a table."""
    return lambda wc: {
        "table": f"{wc.table.removeprefix('table').upper()}: {table_of(wc).title}",
        "content": content,
    }


# ---- report.smk ----


def report_images(wildcards):
    """Per-image scores and samples that the page shows: what the tables need anyway."""
    files = []
    for comparison in comparisons(CONFIG, all_absences(CONFIG)):
        dataset = comparison["dataset"]
        for method in comparison["methods"]:
            run, weights = method["run"], method["weights"]
            samples = f"{RESULTS}/samples/{run}/{weights}/{dataset}"
            files += [f"{RESULTS}/scores/{run}/{dataset}.csv"]
            files += multiext(samples, ".json", ".timing.json")
    return files


# ---- figures.smk ----

MASK_FIGURES = [name for name, spec in CONFIG.figures.items() if spec.kind == "masks"]


def figure_files(names):
    """Both files of each figure, below the folder of results."""
    return [f"figures/{name}{suffix}" for name in names for suffix in (".png", ".pdf")]


def figure_of(wildcards):
    figure = CONFIG.figures.get(wildcards.figure)
    if figure is None:
        raise WorkflowError(
            f"no figure {wildcards.figure!r} in config.yaml; there are {', '.join(CONFIG.figures)}"
        )
    return figure


def figure_labels(content):
    """How Snakemake's report lists one file of a figure."""
    return lambda wc: {
        "figure": f"{wc.figure.removeprefix('figure').strip('_')}: {figure_of(wc).title}",
        "content": content,
    }


def figure_inputs(wildcards):
    """What a figure is drawn from, by use; `beside` are files that go with another one."""
    spec = figure_of(wildcards)
    datasets = (
        figure_datasets(CONFIG, wildcards.figure) if hasattr(spec, "datasets") else []
    )
    published = {
        "published": "paper/published_tables.csv",
        "beside": "paper/errata.yaml",
    }
    if spec.kind == "noise":
        masks = CONFIG.mask_set(spec.variant)
        scale = CONFIG.scales(spec.variant)[-1]
        labels, *members = mask_input(
            f"data/masks/{CHOSEN.train_set}/{mask_name(masks, scale)}"
        )
        files = structure_inputs(spec.variant, CHOSEN.train_set, masks, scale)
        return image_store(CHOSEN.train_set, *members) | {
            "labels": labels,
            "values": files["values"],
        }
    if spec.kind == "masks":
        stores = [mask_input(path) for path in level_masks()]
        members = [file for _, *rest in stores for file in rest]
        return image_store(CHOSEN.train_set, *members) | {
            "labels": [index for index, *_ in stores]
        }
    if spec.kind in ("crops", "artifacts"):
        return {
            "manifests": [
                shown_samples(variant, spec.scale, dataset)
                for variant in spec.variants
                for dataset in datasets
            ],
            "hr": [f"work/stores/{dataset}/hr.json" for dataset in datasets],
            "beside": ancient(
                [f"work/stores/{dataset}/hr.bin" for dataset in datasets]
            ),
        }
    if spec.kind == "metrics":
        return {"tables": [f"{RESULTS}/{t}_tidy.csv" for t in spec.tables]} | published
    if spec.kind == "published":
        return {
            "tables": [f"{RESULTS}/{t}_tidy.csv" for t in spec.tables],
            "differences": [f"{RESULTS}/{t}_differences.csv" for t in spec.tables],
        } | published
    if spec.kind == "mask_gain":
        return {
            "scores": [
                path
                for variant in (*spec.variants, spec.control)
                for dataset in datasets
                for path in score_files(variant, spec.scale, dataset)
            ],
            "statistics": f"{RESULTS}/masks/statistics.csv",
        }
    if spec.kind == "steps":
        return step_inputs(wildcards.figure, datasets[0])
    if spec.kind == "curves" and CONFIG.checkpoint_source == "trained":
        curves = figure_recipe(CONFIG, wildcards.figure)["curves"]
        paths = [trained(curve["folder"], curve["name"]) for curve in curves]
        return {"curves": [p.replace(".safetensors", ".curve.csv") for p in paths]}
    if spec.kind == "rules":
        return {"graph": f"work/{STUDY}/rulegraph.dot"}
    return {}


def image_store(dataset, *beside):
    """A data set's truth, whose data file may be newer than what was made of it; see `store_input`."""
    index, data = store_input(f"work/stores/{dataset}/hr")
    return {"hr": index, "beside": [data, *beside]}


def shown_samples(variant, scale, dataset):
    """The manifest of the images that figures show of a variant: the first seed's, headline weights."""
    run, weights = CONFIG.runs(variant, scale)[0], CONFIG.weights(variant)[0]
    return f"{RESULTS}/samples/{run.name}/{weights}/{dataset}.json"


def step_inputs(figure, dataset):
    """Scores and times for each number of steps; those of the study's own number are the tables'."""
    spec = CONFIG.figures[figure]
    own = CHOSEN.sampling.steps or CONFIG.diffusion.steps
    kinds = {"scores": ".csv", "timings": ".timing.json"}
    if of_kind(spec.metrics, SetMetric):
        kinds["sets"] = ".sets.csv"
    files = {use: [] for use in kinds}
    for variant, steps in figure_points(CONFIG, figure):
        run, weights = CONFIG.runs(variant, spec.scale)[0], CONFIG.weights(variant)[0]
        for use, suffix in kinds.items():
            if steps != own:
                folder = f"{RESULTS}/steps/{run.name}/{steps}/{weights}"
            elif use == "timings":
                folder = f"{RESULTS}/samples/{run.name}/{weights}"
            else:
                folder = f"{RESULTS}/scores/{run.name}"
            files[use].append(f"{folder}/{dataset}{suffix}")
    return files


def figure_arguments(input):
    """USE=PATH of everything that the figure shows."""
    pairs = [
        f"{use}={path}"
        for use, files in input.items()
        if use != "beside"
        for path in ([files] if isinstance(files, str) else files)
    ]
    return f"--inputs {' '.join(pairs)}" if pairs else ""


def own_arguments():
    """What this call of Snakemake says of the configuration, for a second one."""
    settings = workflow.config_settings
    files = [os.path.relpath(path) for path in settings.configfiles]
    values = [f"{key}={value}" for key, value in settings.config.items()]
    return " ".join(
        (["--configfile", *map(shlex.quote, files)] if files else [])
        + (["--config", *map(shlex.quote, values)] if values else [])
    )
