# checkpoint + LR -> SR images. The declared output is a manifest; the PNG files lie in a folder beside it and are
# kept when the job fails, so that it goes on with the image it was at.
rule sample:
    input:
        unpack(sample_inputs),
        lr=store_input("work/stores/{dataset}/lr-x{scale}"),
    output:
        manifest=f"{RESULTS}/samples/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}.json",
        timing=f"{RESULTS}/samples/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}.timing.json",
    log:
        f"logs/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}.{{weights}}.{{dataset}}.log",
    benchmark:
        f"logs/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}.{{weights}}.{{dataset}}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: CHOSEN.threads
    resources:
        gpu=lambda wc: 0 if CONFIG.trivial(wc.variant) else min(1, CHOSEN.gpus),
        mem_mb=growing(CHOSEN.memory_mb),
        runtime=CHOSEN.hours * 60,
    params:
        lr=lambda wc, input: stem(input.lr),
        out=lambda wc, output: stem([output.manifest]),
        device=CONFIG.device,
        shard="",
        progress=f"work/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}.jsonl",
        models=lambda wc, input: model_arguments(input),
        source=source_argument,
        structure=lambda wc, input: structure_arguments(input),
        recipe=lambda wc: recipe_text(sampling_recipe(CONFIG, run_of(wc), wc.weights)),
        code=lambda wc: fingerprint(*restoring_code(wc)),
    shell:
        "python -m samdiffsr sample --lr {params.lr} --out {params.out} --manifest {output.manifest} {params.shard}"
        " --progress {params.progress} {params.models} {params.structure} {params.source}"
        " --device {params.device} --threads {threads} --recipe {params.recipe:q} > {log} 2>&1"


if CHOSEN.sample_shards > 1:

    ruleorder: merge_samples > sample

    PART = f"work/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}/{{part}}of{{parts}}"

    use rule sample as sample_shard with:
        output:
            manifest=temp(f"{PART}.json"),
            timing=temp(f"{PART}.timing.json"),
        log:
            f"logs/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}.{{weights}}.{{dataset}}.{{part}}of{{parts}}.log",
        benchmark:
            f"logs/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}.{{weights}}.{{dataset}}.{{part}}of{{parts}}.tsv"
        params:
            out=f"{RESULTS}/samples/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}",
            shard="--shard {part}/{parts}",
            progress=f"{PART}.jsonl",

    rule merge_samples:
        """The manifest that one job would have written; the images lie where they belong."""
        input:
            parts=sample_parts,
            timings=lambda wc: [
                p.replace(".json", ".timing.json") for p in sample_parts(wc)
            ],
        output:
            manifest=f"{RESULTS}/samples/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}.json",
            timing=f"{RESULTS}/samples/{{variant}}-x{{scale}}-s{{seed}}/{{weights}}/{{dataset}}.timing.json",
        log:
            f"logs/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}.{{weights}}.{{dataset}}.log",
        benchmark:
            f"logs/{STUDY}/sample/{{variant}}-x{{scale}}-s{{seed}}.{{weights}}.{{dataset}}.tsv"
        conda:
            "../envs/samdiffsr.yaml"
        threads: 1
        resources:
            mem_mb=growing(500),
            runtime=10,
        params:
            code=fingerprint("samdiffsr.sampling.sample_set"),
        shell:
            "python -m samdiffsr samples-merge --parts {input.parts} --manifest {output.manifest} > {log} 2>&1"
