# CSVs, images and small files -> results/<study>/figures/* -> results/figures/*, the chosen study's copy
rule figures:
    input:
        [f"results/{path}" for path in figure_files(CONFIG.figures)],


rule draw:
    input:
        unpack(figure_inputs),
    output:
        multiext(f"{RESULTS}/figures/{{figure}}", ".png", ".pdf"),
    log:
        f"logs/{STUDY}/figures/{{figure}}.log",
    benchmark:
        f"logs/{STUDY}/figures/{{figure}}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        inputs=lambda wc, input: figure_arguments(input),
        recipe=lambda wc: recipe_text(figure_recipe(CONFIG, wc.figure)),
        code=lambda wc: fingerprint(
            "samdiffsr.reporting.figures.draw", figure_module(figure_of(wc).kind)
        ),
    shell:
        "python -m samdiffsr draw {wildcards.figure} {params.inputs} --out {output}"
        " --recipe {params.recipe:q} > {log} 2>&1"


rule show_figure:
    """The chosen study's figure where people look for it."""
    input:
        multiext(f"{RESULTS}/figures/{{figure}}", ".png", ".pdf"),
    output:
        [
            report(
                f"results/figures/{{figure}}.{kind}",
                caption="../report/figure.rst",
                category="Figures",
                labels=figure_labels(kind),
            )
            for kind in ("png", "pdf")
        ],
    log:
        f"logs/{STUDY}/figures/{{figure}}.copy.log",
    benchmark:
        f"logs/{STUDY}/figures/{{figure}}.copy.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "cp {input} results/figures/ 2> {log}"


# The same runs in other numbers of steps: sampled and scored as those of the tables, into a folder of their own.
OTHER_STEPS = f"{RESULTS}/steps/{{variant}}-x{{scale}}-s{{seed}}/{{steps}}/{{weights}}"


use rule sample as sample_steps with:
    output:
        manifest=f"{OTHER_STEPS}/{{dataset}}.json",
        timing=f"{OTHER_STEPS}/{{dataset}}.timing.json",
    log:
        f"logs/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}.{{steps}}.{{weights}}.{{dataset}}.log",
    benchmark:
        f"logs/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}.{{steps}}.{{weights}}.{{dataset}}.tsv"
    params:
        progress=f"work/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}/{{steps}}/{{weights}}/{{dataset}}.jsonl",
        recipe=lambda wc: recipe_text(
            sampling_recipe(CONFIG, run_of(wc), wc.weights) | {"steps": int(wc.steps)}
        ),


use rule score as score_steps with:
    input:
        manifests=f"{OTHER_STEPS}/{{dataset}}.json",
        hr=store_input("work/stores/{dataset}/hr"),
        lr=store_input("work/stores/{dataset}/lr-x{scale}"),
        weights=lambda wc: metric_weights(step_metrics(CONFIG)),
    output:
        f"{OTHER_STEPS}/{{dataset}}.csv",
    log:
        f"logs/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}.{{steps}}.{{weights}}.{{dataset}}.score.log",
    benchmark:
        f"logs/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}.{{steps}}.{{weights}}.{{dataset}}.score.tsv"
    params:
        recipe=lambda wc: recipe_text(step_score_recipe(CONFIG, int(wc.scale))),


use rule score_sets as score_sets_steps with:
    input:
        manifests=f"{OTHER_STEPS}/{{dataset}}.json",
        hr=store_input("work/stores/{dataset}/hr"),
        weights=set_metric_weights,
    output:
        f"{OTHER_STEPS}/{{dataset}}.sets.csv",
    log:
        f"logs/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}.{{steps}}.{{weights}}.{{dataset}}.sets.log",
    benchmark:
        f"logs/{STUDY}/steps/{{variant}}-x{{scale}}-s{{seed}}.{{steps}}.{{weights}}.{{dataset}}.sets.tsv"


rule rule_graph:
    """What Snakemake says of its own rules, for all that there is."""
    input:
        ["Snakefile", *sorted(glob("rules/*.smk"))],
    output:
        f"work/{STUDY}/rulegraph.dot",
    log:
        f"logs/{STUDY}/figures/rulegraph.log",
    benchmark:
        f"logs/{STUDY}/figures/rulegraph.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=60,
    params:
        configuration=own_arguments(),
    shell:
        "python -m snakemake --nolock --rerun-incomplete --profile none --workflow-profile none"
        " --rulegraph dot all {params.configuration} > {output} 2> {log}"
