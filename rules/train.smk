# stores + label maps + values -> checkpoints: the encoder first, then each variant's denoiser.
# What is allowed to take long travels in the environment, since it decides nothing about the outcome.
# Resume states lie in work/, which no rule declares: Snakemake removes declared outputs of a failed job.
rule train_encoder:
    """L1 pretraining of the RRDB encoder."""
    input:
        hr=dated(stores.image_store(layout.hr(TRAIN))),
        lr=dated(stores.image_store(layout.lr(TRAIN, "{scale}"))),
        split=dated(split.before_training(CONFIG)),
    output:
        model=LAYOUT.model("encoders", ENCODER),
        curve=LAYOUT.curve("encoders", ENCODER),
        timing=LAYOUT.training_record("encoders", ENCODER),
    log:
        LAYOUT.log("train", f"encoder-{ENCODER}"),
    benchmark:
        LAYOUT.benchmark("train", f"encoder-{ENCODER}")
    wildcard_constraints:
        encoder=arguments.any_of(CHOSEN.encoders),
    conda:
        "../envs/samdiffsr.yaml"
    threads: arguments.encoder_threads(CONFIG)
    resources:
        gpu=CHOSEN.gpus,
        mem_mb=growing(arguments.encoder_mb(CONFIG)),
        runtime=CHOSEN.hours * 60,
    params:
        name=ENCODER,
        hr=ask(layout.hr, dataset=TRAIN),
        lr=ask(layout.lr, dataset=TRAIN),
        device=arguments.device(CONFIG),
        state=LAYOUT.training_state("encoders", ENCODER),
        recipe=ask(recipes.encoder),
        code=training_fingerprint(),
    shell:
        "python -m samdiffsr train-encoder --name {params.name:q} --hr {params.hr:q} --lr {params.lr:q}"
        " --state {params.state:q} --out {output.model:q} {params.device:q} --processes {resources.gpu}"
        " --threads {threads} --recipe {params.recipe:q} > {log:q} 2>&1"


rule train_denoiser:
    """One variant, one seed."""
    input:
        unpack(ask(runs.denoiser_training)),
        hr=dated(stores.image_store(layout.hr(TRAIN))),
        lr=dated(stores.image_store(layout.lr(TRAIN, "{scale}"))),
        split=dated(split.before_training(CONFIG)),
    output:
        model=LAYOUT.model("runs", RUN),
        curve=LAYOUT.curve("runs", RUN),
        timing=LAYOUT.training_record("runs", RUN),
    log:
        LAYOUT.log("train", RUN),
    benchmark:
        LAYOUT.benchmark("train", RUN)
    wildcard_constraints:
        variant=arguments.none_of(runs.untrained(CONFIG)),
    conda:
        "../envs/samdiffsr.yaml"
    threads: CHOSEN.threads
    resources:
        gpu=CHOSEN.gpus,
        mem_mb=growing(CHOSEN.memory_mb),
        runtime=CHOSEN.hours * 60,
    params:
        name=RUN,
        hr=ask(layout.hr, dataset=TRAIN),
        lr=ask(layout.lr, dataset=TRAIN),
        device=arguments.device(CONFIG),
        state=LAYOUT.training_state("runs", RUN),
        structure=ask(arguments.training_structure),
        recipe=ask(recipes.denoiser),
        code=ask(arguments.training_code),
    shell:
        "python -m samdiffsr train-denoiser --name {params.name:q} --hr {params.hr:q} --lr {params.lr:q}"
        " --encoder {input.encoder_file:q} {params.structure:q} --state {params.state:q} --out {output.model:q}"
        " {params.device:q} --processes {resources.gpu} --threads {threads} --recipe {params.recipe:q}"
        " > {log:q} 2>&1"


rule import_encoder:
    """The encoder out of a file that others trained."""
    input:
        ask(runs.foreign_file, kind="encoders"),
    output:
        LAYOUT.model("encoders", RUN),
    log:
        LAYOUT.log("import", f"encoder-{RUN}"),
    benchmark:
        LAYOUT.benchmark("import", f"encoder-{RUN}")
    wildcard_constraints:
        variant=arguments.any_of(runs.imported(CONFIG)),
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        code=fingerprint("samdiffsr.checkpoints.imports"),
    shell:
        "python -m samdiffsr import-encoder --file {input:q} --out {output:q} > {log:q} 2>&1"


rule import_denoiser:
    """The denoiser out of a file that others trained; sampled and scored like any other run."""
    input:
        file=ask(runs.foreign_file, kind="runs"),
        encoder=LAYOUT.model("encoders", RUN),
    output:
        LAYOUT.model("runs", RUN),
    log:
        LAYOUT.log("import", RUN),
    benchmark:
        LAYOUT.benchmark("import", RUN)
    wildcard_constraints:
        variant=arguments.any_of(runs.imported(CONFIG)),
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=10,
    params:
        recipe=ask(recipes.imported),
        code=fingerprint("samdiffsr.checkpoints.imports"),
    shell:
        "python -m samdiffsr import-denoiser --file {input.file:q} --encoder {input.encoder:q} --out {output:q}"
        " --recipe {params.recipe:q} > {log:q} 2>&1"
