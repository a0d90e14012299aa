"""SAM-DiffSR, the whole study: see README.md. Run from the repository's root."""

from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"


wildcard_constraints:
    **layout.CONSTRAINTS,


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
    # before anything runs
    if not workflow.touch:
        made = [
            (job.rule.name, path)
            for job in workflow.dag.needrun_jobs()
            for path in job.output
        ]
        ask(beforehand.refuse_undrawable, made=made)({})
        # what this machine decides, where the jobs run on it; elsewhere each training judges its own speed
        if workflow.local_exec:
            for refuse in (beforehand.refuse, refuse_slow):
                ask(refuse, made=made, root=Path())({})


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
        layout.shown_report(),
        rules.figures.input,
