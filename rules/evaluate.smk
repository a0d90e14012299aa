# SR + HR -> one CSV row per image and metric
rule score:
    input:
        manifests=manifests,
        hr=store_input("work/stores/{dataset}/hr"),
        lr=store_input("work/stores/{dataset}/lr-x{scale}"),
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
        mem_mb=3000,
        runtime=240,
    params:
        hr=lambda wc, input: stem(input.hr),
        lr=lambda wc, input: stem(input.lr),
        recipe=lambda wc: recipe_text(CONFIG.score_recipe(int(wc.scale))),
        code=fingerprint("samdiffsr.evaluation.stage"),
    shell:
        "python -m samdiffsr score --run {wildcards.variant}-x{wildcards.scale}-s{wildcards.seed}"
        " --dataset {wildcards.dataset} --manifests {input.manifests}"
        " --hr {params.hr} --lr {params.lr} --out {output} --threads {threads}"
        " --recipe {params.recipe:q} > {log} 2>&1"


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
