# stores -> region label maps per quality level -> one value per region
rule masks:
    """The regions of the training images at all three quality levels."""
    input:
        [
            mask_files(f"data/masks/{CHOSEN.train_set}/{mask_name(m, s)}")
            for m in sorted(set(CHOSEN.masks.values()))
            for s in sorted({t.scale for t in CONFIG.tables.values()})
        ],


rule segment:
    input:
        source=lambda wc: mask_source_input(wc),
    output:
        masks=mask_files("data/masks/{dataset}/{masks}"),
    log:
        "logs/masks/{dataset}.{masks}.log",
    benchmark:
        "logs/masks/{dataset}.{masks}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=600,
    params:
        source=lambda wc, input: stem(input.source),
        out=lambda wc, output: stem(output.masks),
        scale=lambda wc: wc.masks.partition("-x")[2] or "1",
        recipe=lambda wc: recipe_text(CONFIG.mask_recipe(wc.masks.partition("-x")[0])),
        dataset=lambda wc: recipe_text(CONFIG.dataset_recipe(wc.dataset)),
        code=fingerprint("samdiffsr.masks.stage"),
    shell:
        "python -m samdiffsr segment --source {params.source} --out {params.out} --scale {params.scale}"
        " --recipe {params.recipe:q} > {log} 2>&1"


rule encode:
    """Paper equation (6)."""
    input:
        labels=mask_input("data/masks/{dataset}/{masks}"),
    output:
        "work/encodings/{dataset}/{masks}/{encoding}.npz",
    log:
        "logs/masks/{dataset}.{masks}.{encoding}.log",
    benchmark:
        "logs/masks/{dataset}.{masks}.{encoding}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        labels=lambda wc, input: stem(input.labels),
        recipe=lambda wc: recipe_text(ENCODINGS[wc.encoding]),
        code=fingerprint("samdiffsr.masks.stage"),
    shell:
        "python -m samdiffsr encode --labels {params.labels} --out {output} --recipe {params.recipe:q} > {log} 2>&1"
