# stores + label maps + values -> checkpoints: the encoder first, then each variant's denoiser.
# What is allowed to take long travels in the environment, since it decides nothing about the outcome.
# Resume states lie in work/, which no rule declares: Snakemake removes declared outputs of a failed job.
rule train_encoder:
    """L1 pretraining of the RRDB encoder."""
    input:
        hr=store_input(f"work/stores/{CHOSEN.train_set}/hr"),
        lr=store_input(f"work/stores/{CHOSEN.train_set}/lr-x{{scale}}"),
    output:
        model=trained("encoders", "{encoder}-x{scale}-s{seed}"),
        curve=trained("encoders", "{encoder}-x{scale}-s{seed}").replace(
            ".safetensors", ".curve.csv"
        ),
        timing=trained("encoders", "{encoder}-x{scale}-s{seed}").replace(
            ".safetensors", ".timing.json"
        ),
    log:
        LAYOUT.log("train", "encoder-" + ENCODER),
    benchmark:
        LAYOUT.benchmark("train", "encoder-" + ENCODER)
    wildcard_constraints:
        encoder="|".join(CHOSEN.encoders),
    conda:
        "../envs/samdiffsr.yaml"
    threads: CHOSEN.threads
    resources:
        gpu=CHOSEN.gpus,
        mem_mb=growing(CHOSEN.memory_mb),
        runtime=CHOSEN.hours * 60,
    params:
        hr=lambda wc, input: stem(input.hr),
        lr=lambda wc, input: stem(input.lr),
        device=TRAINING_DEVICE,
        state=LAYOUT.training_state("encoders", ENCODER),
        recipe=lambda wc: recipe_text(
            encoder_recipe(CONFIG, wc.encoder, int(wc.scale), int(wc.seed))
        ),
        code=fingerprint("samdiffsr.training.encoder"),
    shell:
        "python -m samdiffsr train-encoder --name {wildcards.encoder}-x{wildcards.scale}-s{wildcards.seed}"
        " --hr {params.hr} --lr {params.lr} --state {params.state} --out {output.model}"
        " {params.device} --processes {resources.gpu} --threads {threads} --recipe {params.recipe:q} > {log} 2>&1"


rule train_denoiser:
    """One variant, one seed."""
    input:
        unpack(denoiser_inputs),
        hr=store_input(f"work/stores/{CHOSEN.train_set}/hr"),
        lr=store_input(f"work/stores/{CHOSEN.train_set}/lr-x{{scale}}"),
    output:
        model=trained("runs", "{variant}-x{scale}-s{seed}"),
        curve=trained("runs", "{variant}-x{scale}-s{seed}").replace(
            ".safetensors", ".curve.csv"
        ),
        timing=trained("runs", "{variant}-x{scale}-s{seed}").replace(
            ".safetensors", ".timing.json"
        ),
    log:
        f"logs/{STUDY}/train/{{variant}}-x{{scale}}-s{{seed}}.log",
    benchmark:
        f"logs/{STUDY}/train/{{variant}}-x{{scale}}-s{{seed}}.tsv"
    wildcard_constraints:
        variant=rf"(?!(?:{IMPORTED})-x)[a-z][a-z0-9_]*",
    conda:
        "../envs/samdiffsr.yaml"
    threads: CHOSEN.threads
    resources:
        gpu=CHOSEN.gpus,
        mem_mb=growing(CHOSEN.memory_mb),
        runtime=CHOSEN.hours * 60,
    params:
        hr=lambda wc, input: stem(input.hr),
        lr=lambda wc, input: stem(input.lr),
        device=TRAINING_DEVICE,
        state=LAYOUT.training_state("runs", RUN),
        structure=lambda wc, input: structure_arguments(input),
        recipe=lambda wc: recipe_text(denoiser_recipe(CONFIG, run_of(wc))),
        code=fingerprint("samdiffsr.training.denoiser"),
    shell:
        "python -m samdiffsr train-denoiser --name {wildcards.variant}-x{wildcards.scale}-s{wildcards.seed}"
        " --hr {params.hr} --lr {params.lr} --encoder {input.encoder_file} {params.structure}"
        " --state {params.state} --out {output.model}"
        " {params.device} --processes {resources.gpu} --threads {threads} --recipe {params.recipe:q} > {log} 2>&1"


rule import_encoder:
    """The encoder out of a file that others trained."""
    input:
        foreign_file("encoder"),
    output:
        trained("encoders", "{variant}-x{scale}-s{seed}"),
    log:
        f"logs/{STUDY}/import/encoder-{{variant}}-x{{scale}}-s{{seed}}.log",
    benchmark:
        f"logs/{STUDY}/import/encoder-{{variant}}-x{{scale}}-s{{seed}}.tsv"
    wildcard_constraints:
        variant=IMPORTED,
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        code=fingerprint("samdiffsr.checkpoints.imports"),
    shell:
        "python -m samdiffsr import-encoder --file {input} --out {output} > {log} 2>&1"


rule import_denoiser:
    """The denoiser out of a file that others trained; sampled and scored like any other run."""
    input:
        file=foreign_file("denoiser"),
        encoder=trained("encoders", "{variant}-x{scale}-s{seed}"),
    output:
        trained("runs", "{variant}-x{scale}-s{seed}"),
    log:
        f"logs/{STUDY}/import/{{variant}}-x{{scale}}-s{{seed}}.log",
    benchmark:
        f"logs/{STUDY}/import/{{variant}}-x{{scale}}-s{{seed}}.tsv"
    wildcard_constraints:
        variant=IMPORTED,
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        recipe=lambda wc: recipe_text(import_recipe(CONFIG, run_of(wc))),
        code=fingerprint("samdiffsr.checkpoints.imports"),
    shell:
        "python -m samdiffsr import-denoiser --file {input.file} --encoder {input.encoder} --out {output}"
        " --recipe {params.recipe:q} > {log} 2>&1"
