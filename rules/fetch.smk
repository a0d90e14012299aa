# the outside world -> data/<source>/, weights/<file>; one job an item. Nothing is fetched twice: a job that finds the
# right files (pulled, placed by hand, left by a killed job) keeps them. The stamp SOURCE.json is small and the same
# whenever the files are, so neither a new mirror nor a fresh copy of the files re-runs anything.
# The mirror travels in the environment, since it decides nothing about what comes out.


wildcard_constraints:
    source="|".join(SOURCES),
    weight="|".join(sorted(re.escape(file) for file in WEIGHTS)),


# A cluster's nodes seldom have a network: fetching runs where Snakemake does.
localrules:
    fetch,
    fetch_source,
    fetch_weights,


rule fetch:
    """Everything the study needs from outside, data and weights."""
    input:
        fetch_targets,


rule fetch_source:
    """One image set: mirror, then its addresses, verified against its manifest."""
    output:
        "data/{source}/SOURCE.json",
    log:
        "logs/fetch/{source}.log",
    benchmark:
        "logs/fetch/{source}.tsv"
    retries: 0
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=1440,
        disk_mb=lambda wc: SOURCES[wc.source].disk // 1000000,
    params:
        version=lambda wc: source_version(SOURCES[wc.source]),
    shell:
        "python -m samdiffsr fetch {wildcards.source} > {log} 2>&1"


rule fetch_weights:
    """One network's weights."""
    output:
        "weights/{weight}",
    log:
        "logs/fetch/{weight}.log",
    benchmark:
        "logs/fetch/{weight}.tsv"
    retries: 0
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=600,
    params:
        key=lambda wc: WEIGHTS[wc.weight].key,
        sha256=lambda wc: WEIGHTS[wc.weight].sha256,
    shell:
        "python -m samdiffsr fetch {params.key} > {log} 2>&1"
