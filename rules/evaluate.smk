# SR + HR -> one CSV row per image and metric
rule score:
    input:
        manifests=manifests,
        hr=store_input("work/stores/{dataset}/hr"),
        lr=store_input("work/stores/{dataset}/lr-x{scale}"),
        weights=image_metric_weights,
    output:
        f"{RESULTS}/scores/{{variant}}-x{{scale}}-s{{seed}}/{{dataset}}.csv",
    log:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.log",
    benchmark:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        gpu=lambda wc, input: min(1, CHOSEN.gpus) if input.weights else 0,
        mem_mb=growing(lambda wc, input: 8000 if input.weights else 3000),
        runtime=240,
    params:
        hr=lambda wc, input: stem(input.hr),
        device=CONFIG.device,
        lr=lambda wc, input: stem(input.lr),
        recipe=lambda wc: recipe_text(score_recipe(CONFIG, int(wc.scale))),
        code=scoring_fingerprint(
            "samdiffsr.evaluation.stages", CONFIG.metrics(ImageMetric)
        ),
    shell:
        "python -m samdiffsr score --run {wildcards.variant}-x{wildcards.scale}-s{wildcards.seed}"
        " --dataset {wildcards.dataset} --manifests {input.manifests}"
        " --hr {params.hr} --lr {params.lr} --out {output} --threads {threads}"
        " --weights weights --device {params.device}"
        " --recipe {params.recipe:q} > {log} 2>&1"


rule score_sets:
    """FID and KID. The features are kept in work/features, which no rule declares: the truth's serve every run."""
    input:
        manifests=manifests,
        hr=store_input("work/stores/{dataset}/hr"),
        weights=set_metric_weights,
    output:
        f"{RESULTS}/scores/{{variant}}-x{{scale}}-s{{seed}}/{{dataset}}.sets.csv",
    log:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.sets.log",
    benchmark:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.sets.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        gpu=lambda wc, input: min(1, CHOSEN.gpus) if input.weights else 0,
        mem_mb=growing(3000),
        runtime=240,
    params:
        hr=lambda wc, input: stem(input.hr),
        device=CONFIG.device,
        recipe=lambda wc: recipe_text(set_recipe(CONFIG, int(wc.scale))),
        code=scoring_fingerprint("samdiffsr.evaluation.set", CONFIG.metrics(SetMetric)),
    shell:
        "python -m samdiffsr score-sets --run {wildcards.variant}-x{wildcards.scale}-s{wildcards.seed}"
        " --dataset {wildcards.dataset} --manifests {input.manifests}"
        " --hr {params.hr} --out {output} --threads {threads} --cache work/features"
        " --weights weights --device {params.device} --recipe {params.recipe:q} > {log} 2>&1"


rule score_protocols:
    """The same images under several protocols, for Table S2."""
    input:
        manifests=manifests,
        hr=store_input("work/stores/{dataset}/hr"),
    output:
        f"{RESULTS}/scores/{{variant}}-x{{scale}}-s{{seed}}/{{dataset}}.protocols.csv",
    log:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.protocols.log",
    benchmark:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.protocols.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=240,
    params:
        hr=lambda wc, input: stem(input.hr),
        recipe=lambda wc: recipe_text(protocol_recipe(CONFIG, int(wc.scale))),
        code=scoring_fingerprint("samdiffsr.evaluation.stages", ("psnr_y", "ssim_y")),
    shell:
        "python -m samdiffsr score-protocols --run {wildcards.variant}-x{wildcards.scale}-s{wildcards.seed}"
        " --dataset {wildcards.dataset} --manifests {input.manifests} --hr {params.hr} --out {output}"
        " --threads {threads} --recipe {params.recipe:q} > {log} 2>&1"


rule cost:
    """Parameters, times and memory, out of the run's own records."""
    input:
        unpack(cost_inputs),
        samples=timings,
    output:
        f"{RESULTS}/scores/{{variant}}-x{{scale}}-s{{seed}}/{{dataset}}.cost.csv",
    log:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.cost.log",
    benchmark:
        f"logs/{STUDY}/score/{{variant}}-x{{scale}}-s{{seed}}.{{dataset}}.cost.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=10,
    params:
        models=lambda wc, input: cost_arguments(input),
        code=scoring_fingerprint(
            "samdiffsr.evaluation.cost", of_kind(METRICS, CostMetric)
        ),
    shell:
        "python -m samdiffsr cost --run {wildcards.variant}-x{wildcards.scale}-s{wildcards.seed}"
        " --dataset {wildcards.dataset} --samples {input.samples} {params.models} --out {output} > {log} 2>&1"


# `snakemake ablation_mask_low`: train and score one variant alone, at every scale factor a table has it at
for variant in CONFIG.variants:

    rule:
        name:
            f"ablation_{variant}"
        input:
            [
                score_files(variant, scale, dataset)
                for scale in CONFIG.scales(variant)
                for dataset in CHOSEN.test_sets
            ],
        localrule: True
