# sources -> data/<dataset>/ -> HR and LR stores


rule data:
    """All stores that the study needs."""
    input:
        [
            store_input(f"work/stores/{d}/hr")
            for d in (CHOSEN.train_set, *CHOSEN.test_sets)
        ],
        [
            store_input(f"work/stores/{d}/lr-x{s}")
            for d in (CHOSEN.train_set, *CHOSEN.test_sets)
            for s in sorted({t.scale for t in CONFIG.tables.values()})
        ],
        f"{RESULTS}/overlaps.csv",


rule demo_data:
    """Photographs that scikit-image and matplotlib install."""
    output:
        DEMO_IMAGES,
        "data/demo/SOURCES.json",
    log:
        "logs/data/demo.log",
    benchmark:
        "logs/data/demo.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=10,
    params:
        code=fingerprint("samdiffsr.data.demo"),
    shell:
        "python -m samdiffsr demo-data --out data/demo > {log} 2>&1"


rule prepare_hr:
    """One flat file of decoded images, each compared with its manifest on the way."""
    input:
        dataset_files,
    output:
        hr=store("work/stores/{dataset}/hr"),
    log:
        "logs/data/{dataset}.hr.log",
    benchmark:
        "logs/data/{dataset}.hr.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=120,
    params:
        out=lambda wc, output: stem(output.hr),
        recipe=lambda wc: recipe_text(dataset_recipe(CONFIG, wc.dataset)),
        code=fingerprint("samdiffsr.data.prepare"),
    shell:
        "python -m samdiffsr prepare-hr --out {params.out} --recipe {params.recipe:q} > {log} 2>&1"


rule prepare_lr:
    """MATLAB's bicubic, by one scale factor."""
    input:
        hr=store_input("work/stores/{dataset}/hr"),
    output:
        lr=store("work/stores/{dataset}/lr-x{scale}"),
    log:
        "logs/data/{dataset}.lr-x{scale}.log",
    benchmark:
        "logs/data/{dataset}.lr-x{scale}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=120,
    params:
        hr=lambda wc, input: stem(input.hr),
        out=lambda wc, output: stem(output.lr),
        recipe=lambda wc: recipe_text(lr_recipe(CONFIG, int(wc.scale))),
        code=fingerprint("samdiffsr.data.prepare"),
    shell:
        "python -m samdiffsr prepare-lr --hr {params.hr} --out {params.out} --recipe {params.recipe:q} > {log} 2>&1"


rule overlap:
    """No test image may be a training image, whole, cropped or rescaled; fails naming the one that is."""
    input:
        train=store_input(f"work/stores/{CHOSEN.train_set}/hr"),
        tests=[store_input(f"work/stores/{d}/hr") for d in CHOSEN.test_sets],
    output:
        f"{RESULTS}/overlaps.csv",
    log:
        f"logs/{STUDY}/overlap.log",
    benchmark:
        f"logs/{STUDY}/overlap.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    params:
        train=lambda wc, input: f"{CHOSEN.train_set}={stem(input.train)}",
        tests=[f"{d}=work/stores/{d}/hr" for d in CHOSEN.test_sets],
        recipe=recipe_text(dataset_recipe(CONFIG, CHOSEN.train_set)),
        code=fingerprint("samdiffsr.data.overlap"),
    shell:
        "python -m samdiffsr overlap --train {params.train} --test {params.tests} --out {output}"
        " --recipe {params.recipe:q} > {log} 2>&1"
