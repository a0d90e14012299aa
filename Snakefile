"""SAM-DiffSR, the whole study: see README.md. Run from the repository's root."""

from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


report: "report/workflow.rst"


wildcard_constraints:
    dataset="[a-z][a-z0-9_]*",
    variant="[a-z][a-z0-9_]*",
    encoder="[a-z][a-z0-9_]*",
    table="table[a-z0-9]+",
    figure="figure[a-z0-9_]+",
    steps="[0-9]+",
    scale="[248]",
    seed="[0-9]+",
    weights="ema|raw|none",
    masks="[a-z][a-z0-9_]*(-x[248])?",
    part="[0-9]+",
    parts="[0-9]+",


include: "rules/common.smk"
include: "rules/fetch.smk"
include: "rules/data.smk"
include: "rules/masks.smk"
include: "rules/train.smk"
include: "rules/sample.smk"
include: "rules/evaluate.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


onstart:
    refuse_slow_trainings()
    HELD or hold(
        Path(), logger.warning
    )  # something that only looked held it before


localrules:
    all,
    data,
    masks,
    tables,
    figures,
    show_table,
    show_differences,
    show_report,
    show_figure,
    rule_graph,


rule all:
    default_target: True
    input:
        rules.data.input,
        rules.tables.input,
        "results/report.html",
        rules.figures.input,
