# checkpoint + LR -> SR images. The declared output is a manifest; the PNG files lie in a folder beside it and are
# kept when the job fails, so that it goes on with the image it was at.
WHOLE = LAYOUT.samples(RUN, "{weights}", "{dataset}")
SAMPLED = LAYOUT.sampled(RUN, "{weights}", "{dataset}", CHOSEN.sample_shards)


rule sample:
    """A run's images of one data set, or one of sample_shards parts of them."""
    input:
        unpack(ask(runs.sampling)),
        lr=dated(stores.image_store(layout.lr("{dataset}", "{scale}"))),
    output:
        manifest=passing(SAMPLED + layout.SAMPLES[0], CHOSEN.sample_shards),
        timing=passing(SAMPLED + layout.SAMPLES[1], CHOSEN.sample_shards),
    log:
        LAYOUT.log(
            "sample",
            RUN,
            "{weights}",
            "{dataset}",
            *layout.shard_wildcards(CHOSEN.sample_shards),
        ),
    benchmark:
        LAYOUT.benchmark(
            "sample",
            RUN,
            "{weights}",
            "{dataset}",
            *layout.shard_wildcards(CHOSEN.sample_shards),
        )
    conda:
        "../envs/samdiffsr.yaml"
    threads: CHOSEN.threads
    resources:
        gpu=ask(arguments.sampling_gpu),
        mem_mb=growing(CHOSEN.memory_mb),
        runtime=CHOSEN.hours * 60,
    params:
        lr=ask(layout.lr),
        out=WHOLE,
        device=CONFIG.device,
        shard=ask(arguments.shard),
        progress=LAYOUT.sampled_state(
            RUN, "{weights}", "{dataset}", CHOSEN.sample_shards
        ),
        models=ask(arguments.models),
        structure=ask(arguments.sampling_structure),
        source=ask(arguments.source),
        content=ask(arguments.source_content),
        recipe=ask(recipes.sampling),
        code=ask(arguments.restoring_code),
    shell:
        "python -m samdiffsr sample --lr {params.lr:q} --out {params.out:q} --manifest {output.manifest:q}"
        " {params.shard:q} --progress {params.progress:q} {params.models:q} {params.structure:q}"
        " {params.source:q} --device {params.device:q} --threads {threads} --recipe {params.recipe:q}"
        " > {log:q} 2>&1"


# The same with another sampling seed than 0, for tables of several samples: whole, into a folder of its own.
DRAWN = LAYOUT.draws(RUN, "{sample}", "{weights}", "{dataset}")


use rule sample as sample_again with:
    output:
        manifest=DRAWN + layout.SAMPLES[0],
        timing=DRAWN + layout.SAMPLES[1],
    log:
        LAYOUT.log("draws", RUN, "{sample}", "{weights}", "{dataset}"),
    benchmark:
        LAYOUT.benchmark("draws", RUN, "{sample}", "{weights}", "{dataset}")
    params:
        out=DRAWN,
        progress=LAYOUT.draws_state(RUN, "{sample}", "{weights}", "{dataset}"),


if CHOSEN.sample_shards > 1:

    rule merge_samples:
        """The manifest that one job would have written; the images lie where they belong."""
        input:
            parts=ask(runs.sample_parts, suffix=layout.SAMPLES[0]),
            timings=ask(runs.sample_parts, suffix=layout.SAMPLES[1]),
        output:
            manifest=WHOLE + layout.SAMPLES[0],
            timing=WHOLE + layout.SAMPLES[1],
        log:
            LAYOUT.log("sample", RUN, "{weights}", "{dataset}"),
        benchmark:
            LAYOUT.benchmark("sample", RUN, "{weights}", "{dataset}")
        conda:
            "../envs/samdiffsr.yaml"
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=10,
        params:
            code=fingerprint("samdiffsr.sampling.sample_set"),
        shell:
            "python -m samdiffsr samples-merge --parts {input.parts:q} --manifest {output.manifest:q} > {log:q} 2>&1"
