# stores -> region label maps per quality level -> one value per region
rule masks:
    """The regions of the training images at all three quality levels, what they are like, and the figures of them."""
    input:
        targets.masks(CONFIG),


# A declared output vanishes with a failed job, so each finished image is kept under work/ until its store is whole;
# the parts of a store share that folder, and a killed job goes on from there.
SEGMENTED = layout.segmented("{dataset}", "{masks}", CHOSEN.mask_shards)


rule segment:
    """A data set, or one of mask_shards parts of it."""
    input:
        unpack(ask(stores.segmentation)),
    output:
        passing(files(SEGMENTED, layout.REGIONS), CHOSEN.mask_shards),
    log:
        layout.log(
            "masks",
            "{dataset}",
            "{masks}",
            *layout.shard_wildcards(CHOSEN.mask_shards),
        ),
    benchmark:
        layout.benchmark(
            "masks",
            "{dataset}",
            "{masks}",
            *layout.shard_wildcards(CHOSEN.mask_shards),
        )
    conda:
        "../envs/samdiffsr.yaml"
    threads: ask(arguments.segmenter_threads)
    resources:
        gpu=ask(arguments.segmenter_gpu),
        mem_mb=growing(arguments.segmenter_mb),
        runtime=1440,
    params:
        source=ask(stores.segmented),
        out=SEGMENTED,
        shard=ask(arguments.shard),
        state=layout.region_state("{dataset}", "{masks}"),
        scale=ask(arguments.mask_scale),
        places=ask(arguments.mask_places),
        device=CONFIG.device,
        recipe=ask(recipes.regions),
        dataset=ask(recipes.images),
        content=ask(arguments.segmentation_content),
        code=ask(arguments.segmenter_code),
    shell:
        "python -m samdiffsr segment --source {params.source:q} --out {params.out:q} --scale {params.scale}"
        " {params.shard:q} --state {params.state:q} {params.places:q} --device {params.device:q}"
        " --threads {threads} --recipe {params.recipe:q} > {log:q} 2>&1"


if CHOSEN.mask_shards > 1:

    rule merge_masks:
        """Byte for byte what one job would have written."""
        input:
            ask(stores.region_part_files),
        output:
            files(layout.regions("{dataset}", "{masks}"), layout.REGIONS),
        log:
            layout.log("masks", "{dataset}", "{masks}"),
        benchmark:
            layout.benchmark("masks", "{dataset}", "{masks}")
        conda:
            "../envs/samdiffsr.yaml"
        threads: 1
        resources:
            mem_mb=growing(4000),
            runtime=120,
        params:
            shards=ask(stores.region_parts),
            out=layout.regions("{dataset}", "{masks}"),
            code=fingerprint("samdiffsr.masks.store"),
        shell:
            "python -m samdiffsr masks-merge --shards {params.shards:q} --out {params.out:q} > {log:q} 2>&1"


rule encode:
    """Paper equation (6)."""
    input:
        unpack(ask(stores.encoded)),
    output:
        layout.values("{dataset}", "{masks}", "{encoding}"),
    log:
        layout.log("masks", "{dataset}", "{masks}", "{encoding}"),
    benchmark:
        layout.benchmark("masks", "{dataset}", "{masks}", "{encoding}")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=120,
    params:
        labels=ask(layout.regions),
        images=ask(arguments.encoding_images),
        recipe=ask(recipes.encoding),
        code=ask(arguments.encoding_code),
    shell:
        "python -m samdiffsr encode --labels {params.labels:q} {params.images:q} --out {output:q} --recipe {params.recipe:q}"
        " > {log:q} 2>&1"


rule mask_statistics:
    """Sizes, coverage, agreement with people, for one mask set."""
    input:
        unpack(ask(stores.annotated)),
    output:
        images=LAYOUT.mask_statistics("{dataset}", "{masks}"),
        summary=LAYOUT.mask_summary("{dataset}", "{masks}"),
    log:
        LAYOUT.log("masks", "{dataset}", "{masks}", "statistics"),
    benchmark:
        LAYOUT.benchmark("masks", "{dataset}", "{masks}", "statistics")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    params:
        labels=ask(layout.regions),
        places=ask(arguments.human_annotations),
        recipe=ask(recipes.mask_statistics),
        code=fingerprint("samdiffsr.masks.statistics"),
    shell:
        "python -m samdiffsr masks-statistics --labels {params.labels:q} --out {output.images:q}"
        " --summary {output.summary:q} {params.places:q} --recipe {params.recipe:q} > {log:q} 2>&1"


rule gather_mask_statistics:
    input:
        targets.mask_summaries(CONFIG),
    output:
        LAYOUT.all_mask_statistics(),
    log:
        LAYOUT.log("masks", "statistics"),
    benchmark:
        LAYOUT.benchmark("masks", "statistics")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=10,
    params:
        code=fingerprint("samdiffsr.masks.statistics"),
    shell:
        "python -m samdiffsr masks-gather --parts {input:q} --out {output:q} > {log:q} 2>&1"
