# the outside world -> data/<source>/, weights/<file>; one job an item. Nothing is fetched twice: a job that finds the
# right files (pulled, placed by hand, left by a killed job) keeps them. The stamp SOURCE.json is small and the same
# whenever the files are, so neither a new mirror nor a fresh copy of the files re-runs anything.
# The mirror travels in the environment, since it decides nothing about what comes out.


wildcard_constraints:
    source=arguments.any_of(arguments.source_keys()),
    weight=arguments.any_of(arguments.weight_names()),


# A cluster's nodes seldom have a network: fetching runs where Snakemake does.
localrules:
    fetch,
    fetch_source,
    fetch_weights,


rule fetch:
    """Everything the study needs from outside, data and weights."""
    input:
        ask(stores.fetched),


rule fetch_source:
    """One image set: mirror, then its addresses, verified against its manifest."""
    output:
        layout.source_stamp("{source}"),
    log:
        layout.log("fetch", "{source}"),
    benchmark:
        layout.benchmark("fetch", "{source}")
    retries: 0
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=1440,
        disk_mb=ask(arguments.source_mb),
    params:
        version=ask(arguments.source_version),
    shell:
        "python -m samdiffsr fetch {wildcards.source:q} > {log:q} 2>&1"


rule fetch_weights:
    """One network's weights."""
    output:
        layout.weight("{weight}"),
    log:
        layout.log("fetch", "{weight}"),
    benchmark:
        layout.benchmark("fetch", "{weight}")
    retries: 0
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=600,
    params:
        key=ask(arguments.weight_key),
        row=ask(arguments.weight_row),
        sha256=ask(arguments.weight_sha256),
    shell:
        "python -m samdiffsr fetch {params.key:q} {params.row:q} > {log:q} 2>&1"
