# SR + HR -> one CSV row per image and metric
rule score:
    input:
        manifests=ask(results.sampled),
        split=ask(split.before_scores),
        hr=dated(stores.image_store(layout.hr("{dataset}"))),
        lr=dated(stores.image_store(layout.lr("{dataset}", "{scale}"))),
        weights=dated(results.image_metric_weights(CONFIG)),
    output:
        LAYOUT.scores(RUN, "{dataset}"),
    log:
        LAYOUT.log("score", RUN, "{dataset}"),
    benchmark:
        LAYOUT.benchmark("score", RUN, "{dataset}")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        gpu=arguments.image_scoring_gpu(CONFIG),
        mem_mb=growing(arguments.image_scoring_mb(CONFIG)),
        runtime=240,
    params:
        run=RUN,
        hr=ask(layout.hr),
        lr=ask(layout.lr),
        weights=layout.WEIGHTS,
        device=CONFIG.device,
        recipe=ask(recipes.scoring),
        code=arguments.image_scoring_code(CONFIG),
    shell:
        "python -m samdiffsr score --run {params.run:q} --dataset {wildcards.dataset:q}"
        " --manifests {input.manifests:q} --hr {params.hr:q} --lr {params.lr:q} --out {output:q}"
        " --threads {threads} --weights {params.weights:q} --device {params.device:q}"
        " --recipe {params.recipe:q} > {log:q} 2>&1"


rule score_sets:
    """FID and KID. The features are kept in work/, where no rule declares them: the truth's serve every run."""
    input:
        manifests=ask(results.sampled),
        split=ask(split.before_scores),
        hr=dated(stores.image_store(layout.hr("{dataset}"))),
        weights=dated(results.set_metric_weights(CONFIG)),
    output:
        LAYOUT.scores(RUN, "{dataset}", "sets"),
    log:
        LAYOUT.log("score", RUN, "{dataset}", "sets"),
    benchmark:
        LAYOUT.benchmark("score", RUN, "{dataset}", "sets")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        gpu=arguments.set_scoring_gpu(CONFIG),
        mem_mb=growing(3000),
        runtime=240,
    params:
        run=RUN,
        hr=ask(layout.hr),
        weights=layout.WEIGHTS,
        cache=layout.FEATURES,
        device=CONFIG.device,
        recipe=ask(recipes.set_scoring),
        code=arguments.set_scoring_code(CONFIG),
    shell:
        "python -m samdiffsr score-sets --run {params.run:q} --dataset {wildcards.dataset:q}"
        " --manifests {input.manifests:q} --hr {params.hr:q} --out {output:q} --threads {threads}"
        " --cache {params.cache:q} --weights {params.weights:q} --device {params.device:q}"
        " --recipe {params.recipe:q} > {log:q} 2>&1"


rule score_protocols:
    """The same images under several protocols, for Table S2."""
    input:
        manifests=ask(results.sampled),
        split=ask(split.before_scores),
        hr=dated(stores.image_store(layout.hr("{dataset}"))),
    output:
        LAYOUT.scores(RUN, "{dataset}", "protocols"),
    log:
        LAYOUT.log("score", RUN, "{dataset}", "protocols"),
    benchmark:
        LAYOUT.benchmark("score", RUN, "{dataset}", "protocols")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=240,
    params:
        run=RUN,
        hr=ask(layout.hr),
        recipe=ask(recipes.protocol_scoring),
        code=arguments.protocol_scoring_code(CONFIG),
    shell:
        "python -m samdiffsr score-protocols --run {params.run:q} --dataset {wildcards.dataset:q}"
        " --manifests {input.manifests:q} --hr {params.hr:q} --out {output:q} --threads {threads}"
        " --recipe {params.recipe:q} > {log:q} 2>&1"


rule score_samples:
    """Several images of each LR image: how much of the error is noise, for Table S4."""
    input:
        manifests=ask(results.drawn),
        split=ask(split.before_scores),
        hr=dated(stores.image_store(layout.hr("{dataset}"))),
    output:
        LAYOUT.scores(RUN, "{dataset}", "samples{samples}"),
    log:
        LAYOUT.log("score", RUN, "{dataset}", "samples{samples}"),
    benchmark:
        LAYOUT.benchmark("score", RUN, "{dataset}", "samples{samples}")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=240,
    params:
        run=RUN,
        hr=ask(layout.hr),
        recipe=ask(recipes.samples_scoring),
        code=arguments.samples_scoring_code(CONFIG),
    shell:
        "python -m samdiffsr score-samples --run {params.run:q} --dataset {wildcards.dataset:q}"
        " --manifests {input.manifests:q} --hr {params.hr:q} --out {output:q} --threads {threads}"
        " --recipe {params.recipe:q} > {log:q} 2>&1"


rule cost:
    """Parameters, times and memory, out of the run's own records."""
    input:
        unpack(ask(results.cost)),
        samples=ask(results.sampled, suffix=layout.SAMPLES[1]),
    output:
        LAYOUT.scores(RUN, "{dataset}", "cost"),
    log:
        LAYOUT.log("score", RUN, "{dataset}", "cost"),
    benchmark:
        LAYOUT.benchmark("score", RUN, "{dataset}", "cost")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        run=RUN,
        models=ask(arguments.cost),
        code=arguments.cost_code(),
    shell:
        "python -m samdiffsr cost --run {params.run:q} --dataset {wildcards.dataset:q}"
        " --samples {input.samples:q} {params.models:q} --out {output:q} > {log:q} 2>&1"


# `snakemake ablation_mask_low`: train and score one variant alone, at every scale factor a table has it at
for variant in CONFIG.variants:

    rule:
        name:
            f"ablation_{variant}"
        input:
            targets.variant(CONFIG, variant),
        localrule: True
