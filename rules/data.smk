# sources -> data/<dataset>/ -> HR and LR stores


rule data:
    """All stores that the study needs."""
    input:
        targets.data(CONFIG),


rule demo_data:
    """Photographs that scikit-image and matplotlib install."""
    output:
        stores.demo_images(),
        layout.demo_sources(),
    log:
        layout.log("data", "demo"),
    benchmark:
        layout.benchmark("data", "demo")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=10,
    params:
        out=ask(layout.source_folder, source="demo"),
        code=fingerprint("samdiffsr.data.demo"),
    shell:
        "python -m samdiffsr demo-data --out {params.out:q} > {log:q} 2>&1"


rule prepare_hr:
    """One flat file of decoded images, each compared with its manifest on the way."""
    input:
        ask(stores.images),
    output:
        files(layout.hr("{dataset}"), layout.STORE),
    log:
        layout.log("data", "{dataset}", "hr"),
    benchmark:
        layout.benchmark("data", "{dataset}", "hr")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=120,
    params:
        out=ask(layout.hr),
        content=ask(arguments.images_content),
        recipe=ask(recipes.images),
        code=fingerprint("samdiffsr.data.prepare"),
    shell:
        "python -m samdiffsr prepare-hr --out {params.out:q} --recipe {params.recipe:q} > {log:q} 2>&1"


rule prepare_lr:
    """By one scale factor: MATLAB's bicubic, another degradation, or the LR images that are given."""
    input:
        dated(stores.image_store(layout.hr("{dataset}"))),
    output:
        files(layout.lr("{dataset}", "{scale}"), layout.STORE),
    log:
        layout.log("data", "{dataset}", "lr-x{scale}"),
    benchmark:
        layout.benchmark("data", "{dataset}", "lr-x{scale}")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=120,
    params:
        hr=ask(layout.hr),
        out=ask(layout.lr),
        content=ask(arguments.lr_content),
        recipe=ask(recipes.lr_images),
        code=fingerprint("samdiffsr.data.prepare"),
    shell:
        "python -m samdiffsr prepare-lr --hr {params.hr:q} --out {params.out:q} --recipe {params.recipe:q}"
        " > {log:q} 2>&1"


rule overlap:
    """No test image may be a training image, whole, cropped or rescaled, or too small to be scored; fails naming
    the one that is."""
    input:
        dated(stores.truths(CONFIG)),
    output:
        LAYOUT.overlaps(),
    log:
        LAYOUT.log("", "overlap"),
    benchmark:
        LAYOUT.benchmark("", "overlap")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    params:
        train=arguments.named_stores([TRAIN]),
        tests=arguments.named_stores(CHOSEN.test_sets),
        cache=layout.OVERLAPS,
        recipe=recipes.images(CONFIG, TRAIN),
        scores=ask(recipes.scorings),
        weights=layout.WEIGHTS,
        code=fingerprint("samdiffsr.data.overlap", "samdiffsr.evaluation.fits"),
    shell:
        "python -m samdiffsr overlap --train {params.train:q} --test {params.tests:q} --cache {params.cache:q}"
        " --out {output:q} --recipe {params.recipe:q} --scores {params.scores:q} --weights {params.weights:q}"
        " > {log:q} 2>&1"


# what all trainings wait for; with `missing_weights: fail` they wait for the metrics' networks too
use rule overlap as check_split with:
    input:
        dated(stores.undated(stores.truths(CONFIG))),
        weights=dated(results.weights_that_must_be(CONFIG)),
    output:
        update(LAYOUT.split()),  # kept when the check is killed or fails: it must not cost a training
    log:
        LAYOUT.log("", "split"),
    benchmark:
        LAYOUT.benchmark("", "split")
