# CSVs, images and small files -> results/<study>/figures/* -> results/figures/*, the chosen study's copy
rule figures:
    input:
        targets.figures(CONFIG),


rule draw:
    input:
        unpack(ask(figures.figure)),
    output:
        [LAYOUT.figure("{figure}", suffix) for suffix in layout.FIGURE],
    log:
        LAYOUT.log("figures", "{figure}"),
    benchmark:
        LAYOUT.benchmark("figures", "{figure}")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        inputs=ask(arguments.figure),
        recipe=ask(recipes.figure),
        code=ask(arguments.figure_code),
    shell:
        "python -m samdiffsr draw {wildcards.figure:q} {params.inputs:q} --out {output:q}"
        " --recipe {params.recipe:q} > {log:q} 2>&1"


rule show_figure:
    """The chosen study's figure where people look for it."""
    input:
        [LAYOUT.figure("{figure}", suffix) for suffix in layout.FIGURE],
    output:
        [
            report(
                layout.shown_figure("{figure}", suffix),
                caption="../report/figure.rst",
                category="Figures",
                labels=ask(arguments.figure_labels, content=suffix),
            )
            for suffix in layout.FIGURE
        ],
    log:
        LAYOUT.log("figures", "{figure}", "copy"),
    benchmark:
        LAYOUT.benchmark("figures", "{figure}", "copy")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=100,
        runtime=5,
    params:
        folder=lambda wc: layout.SHOWN_FIGURES,
    shell:
        "cp {input:q} {params.folder:q} 2> {log:q}"


# The same runs in other numbers of steps: sampled and scored as those of the tables, into a folder of their own.
OTHER_STEPS = LAYOUT.steps(RUN, "{steps}", "{weights}", "{dataset}")


use rule sample as sample_steps with:
    output:
        manifest=OTHER_STEPS + layout.SAMPLES[0],
        timing=OTHER_STEPS + layout.SAMPLES[1],
    log:
        LAYOUT.log("steps", RUN, "{steps}", "{weights}", "{dataset}"),
    benchmark:
        LAYOUT.benchmark("steps", RUN, "{steps}", "{weights}", "{dataset}")
    params:
        out=OTHER_STEPS,
        progress=LAYOUT.steps_state(RUN, "{steps}", "{weights}", "{dataset}"),


use rule score as score_steps with:
    input:
        manifests=OTHER_STEPS + layout.SAMPLES[0],
        hr=dated(stores.image_store(layout.hr("{dataset}"))),
        lr=dated(stores.image_store(layout.lr("{dataset}", "{scale}"))),
        weights=dated(results.step_metric_weights(CONFIG)),
    output:
        LAYOUT.steps_scores(RUN, "{steps}", "{weights}", "{dataset}"),
    log:
        LAYOUT.log("steps", RUN, "{steps}", "{weights}", "{dataset}", "score"),
    benchmark:
        LAYOUT.benchmark("steps", RUN, "{steps}", "{weights}", "{dataset}", "score")
    params:
        recipe=ask(recipes.step_scoring),


use rule score_sets as score_sets_steps with:
    input:
        manifests=OTHER_STEPS + layout.SAMPLES[0],
        hr=dated(stores.image_store(layout.hr("{dataset}"))),
        weights=dated(results.set_metric_weights(CONFIG)),
    output:
        LAYOUT.steps_scores(RUN, "{steps}", "{weights}", "{dataset}", "sets"),
    log:
        LAYOUT.log("steps", RUN, "{steps}", "{weights}", "{dataset}", "sets"),
    benchmark:
        LAYOUT.benchmark("steps", RUN, "{steps}", "{weights}", "{dataset}", "sets")


rule rule_graph:
    """What Snakemake says of its own rules, for all that there is."""
    input:
        targets.rule_files(),
    output:
        LAYOUT.rule_graph(),
    log:
        LAYOUT.log("figures", "rulegraph"),
    benchmark:
        LAYOUT.benchmark("figures", "rulegraph")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=60,
    params:
        configuration=CALL.options(),
    shell:
        "python -m snakemake --nolock --rerun-incomplete --profile none --workflow-profile none"
        " --rulegraph dot all {params.configuration:q} > {output:q} 2> {log:q}"
