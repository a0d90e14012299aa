# stores -> region label maps per quality level -> one value per region
rule masks:
    """The regions of the training images at all three quality levels, what they are like, and the figures of them."""
    input:
        [mask_files(path) for path in training_masks()],
        f"{RESULTS}/masks/statistics.csv",
        [f"{RESULTS}/{path}" for path in figure_files(MASK_FIGURES)],


# A shard's declared output vanishes with a failed job, so each finished image is kept under work/ until its store
# is whole; shards share that folder, and a killed job goes on from there.
if CHOSEN.mask_shards == 1:

    rule segment:
        input:
            unpack(segmenter_inputs),
            source=lambda wc: mask_source_input(wc),
        output:
            masks=mask_files("data/masks/{dataset}/{masks}"),
        log:
            "logs/masks/{dataset}.{masks}.log",
        benchmark:
            "logs/masks/{dataset}.{masks}.tsv"
        conda:
            "../envs/samdiffsr.yaml"
        threads: segmenter_threads
        resources:
            gpu=segmenter_gpu,
            mem_mb=growing(segmenter_memory),
            runtime=1440,
        params:
            source=lambda wc, input: stem(input.source),
            out=lambda wc, output: stem(output.masks),
            state="work/masks/{dataset}/{masks}.images",
            scale=lambda wc: wc.masks.partition("-x")[2] or "1",
            places=lambda wc, input: segmenter_arguments(input),
            device=CONFIG.device,
            recipe=lambda wc: recipe_text(mask_recipe(CONFIG, mask_set_of(wc))),
            dataset=lambda wc: recipe_text(dataset_recipe(CONFIG, wc.dataset)),
            code=segmenter_code,
        shell:
            "python -m samdiffsr segment --source {params.source} --out {params.out} --scale {params.scale}"
            " --state {params.state} {params.places} --device {params.device} --threads {threads}"
            " --recipe {params.recipe:q} > {log} 2>&1"

else:

    rule segment_shard:
        """One of mask_shards parts of a data set."""
        input:
            unpack(segmenter_inputs),
            source=lambda wc: mask_source_input(wc),
        output:
            masks=temp(mask_files("work/masks/{dataset}/{masks}/{part}of{parts}")),
        log:
            "logs/masks/{dataset}.{masks}.{part}of{parts}.log",
        benchmark:
            "logs/masks/{dataset}.{masks}.{part}of{parts}.tsv"
        conda:
            "../envs/samdiffsr.yaml"
        threads: segmenter_threads
        resources:
            gpu=segmenter_gpu,
            mem_mb=growing(segmenter_memory),
            runtime=1440,
        params:
            source=lambda wc, input: stem(input.source),
            out=lambda wc, output: stem(output.masks),
            state="work/masks/{dataset}/{masks}.images",
            scale=lambda wc: wc.masks.partition("-x")[2] or "1",
            places=lambda wc, input: segmenter_arguments(input),
            device=CONFIG.device,
            recipe=lambda wc: recipe_text(mask_recipe(CONFIG, mask_set_of(wc))),
            dataset=lambda wc: recipe_text(dataset_recipe(CONFIG, wc.dataset)),
            code=segmenter_code,
        shell:
            "python -m samdiffsr segment --source {params.source} --out {params.out} --scale {params.scale}"
            " --shard {wildcards.part}/{wildcards.parts}"
            " --state {params.state} {params.places} --device {params.device} --threads {threads}"
            " --recipe {params.recipe:q} > {log} 2>&1"

    rule merge_masks:
        """Byte for byte what one job would have written."""
        input:
            shards=lambda wc: [f for path in mask_shards(wc) for f in mask_files(path)],
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
            mem_mb=growing(4000),
            runtime=120,
        params:
            shards=mask_shards,
            out=lambda wc, output: stem(output.masks),
        shell:
            "python -m samdiffsr masks-merge --shards {params.shards} --out {params.out} > {log} 2>&1"


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
        mem_mb=growing(2000),
        runtime=120,
    params:
        labels=lambda wc, input: stem(input.labels),
        recipe=lambda wc: recipe_text(ENCODINGS[wc.encoding]),
        code=fingerprint("samdiffsr.masks.encode"),
    shell:
        "python -m samdiffsr encode --labels {params.labels} --out {output} --recipe {params.recipe:q} > {log} 2>&1"


rule mask_statistics:
    """Sizes, coverage, agreement with people, for one mask set."""
    input:
        unpack(annotations),
        labels=mask_files("data/masks/{dataset}/{masks}"),
    output:
        images=f"{RESULTS}/masks/{{dataset}}.{{masks}}.csv",
        summary=f"work/{STUDY}/masks/{{dataset}}.{{masks}}.summary.csv",
    log:
        f"logs/{STUDY}/masks/{{dataset}}.{{masks}}.statistics.log",
    benchmark:
        f"logs/{STUDY}/masks/{{dataset}}.{{masks}}.statistics.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    params:
        labels=lambda wc, input: stem(input.labels),
        places=lambda wc, input: segmenter_arguments(input),
        recipe=lambda wc: recipe_text(
            statistics_recipe(
                CONFIG,
                wc.dataset,
                mask_set_of(wc),
                int(wc.masks.partition("-x")[2] or min(SCALES)),
            )
        ),
        code=fingerprint("samdiffsr.masks.statistics"),
    shell:
        "python -m samdiffsr masks-statistics --labels {params.labels} --out {output.images}"
        " --summary {output.summary} {params.places} --recipe {params.recipe:q} > {log} 2>&1"


rule gather_mask_statistics:
    input:
        [
            f"work/{STUDY}/masks/{CHOSEN.train_set}.{path.rsplit('/', 1)[1]}.summary.csv"
            for path in training_masks()
        ],
    output:
        f"{RESULTS}/masks/statistics.csv",
    log:
        f"logs/{STUDY}/masks/statistics.log",
    benchmark:
        f"logs/{STUDY}/masks/statistics.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=10,
    params:
        code=fingerprint("samdiffsr.masks.statistics"),
    shell:
        "python -m samdiffsr masks-gather --parts {input} --out {output} > {log} 2>&1"
