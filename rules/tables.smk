# scores -> results/<study>/tableN.* -> results/tableN.*, the chosen study's copy
TABLE_KINDS = {
    "wide": ".csv",
    "tidy": "_tidy.csv",
    "differences": "_differences.csv",
    "markdown": ".md",
    "latex": ".tex",
}
KIND_WORDS = {
    "wide": "measured values",
    "tidy": "with published values, spread and protocol",
    "differences": "differences with confidence intervals",
    "markdown": "for people",
    "latex": "for papers",
}


rule tables:
    input:
        [
            f"results/{table}{kind}"
            for table in CONFIG.tables
            for kind in TABLE_KINDS.values()
        ],
        "results/differences.csv",


rule gather:
    input:
        scores=table_files,
        sets=table_sets,
        published="paper/published_tables.csv",
        errata="paper/errata.yaml",
    output:
        **{name: f"{RESULTS}/{{table}}{kind}" for name, kind in TABLE_KINDS.items()},
    log:
        f"logs/{STUDY}/tables/{{table}}.log",
    benchmark:
        f"logs/{STUDY}/tables/{{table}}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=10,
    params:
        sets=lambda wc, input: f"--sets {' '.join(input.sets)}" if input.sets else "",
        recipe=table_recipe_text,
        code=fingerprint(
            "samdiffsr.reporting.tables.gather",
            "samdiffsr.reporting.tables.differences",
            "samdiffsr.reporting.tables.render",
        ),
    shell:
        "python -m samdiffsr gather --scores {input.scores} {params.sets} --published {input.published}"
        " --out {output.wide} --tidy {output.tidy} --differences {output.differences}"
        " --markdown {output.markdown} --latex {output.latex} --recipe {params.recipe:q} > {log} 2>&1"


rule differences:
    """What the tables claim, in one file."""
    input:
        [f"{RESULTS}/{table}_differences.csv" for table in CONFIG.tables],
    output:
        f"{RESULTS}/differences.csv",
    log:
        f"logs/{STUDY}/tables/differences.log",
    benchmark:
        f"logs/{STUDY}/tables/differences.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=5,
    params:
        code=fingerprint("samdiffsr.reporting.tables.differences"),
    shell:
        "python -m samdiffsr join-differences --parts {input} --out {output} > {log} 2>&1"


rule show_table:
    """The chosen study's table where people look for it."""
    input:
        **{name: f"{RESULTS}/{{table}}{kind}" for name, kind in TABLE_KINDS.items()},
    output:
        **{
            name: report(
                f"results/{{table}}{kind}",
                caption="../report/table.rst",
                category="Tables",
                labels=table_labels(KIND_WORDS[name]),
            )
            for name, kind in TABLE_KINDS.items()
        },
    log:
        f"logs/{STUDY}/tables/{{table}}.copy.log",
    benchmark:
        f"logs/{STUDY}/tables/{{table}}.copy.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(100),
        runtime=5,
    shell:
        "cp {input} results/ 2> {log}"


use rule show_table as show_differences with:
    input:
        f"{RESULTS}/differences.csv",
    output:
        report(
            "results/differences.csv",
            caption="../report/differences.rst",
            category="Tables",
            labels={"table": "all", "content": KIND_WORDS["differences"]},
        ),
    log:
        f"logs/{STUDY}/tables/differences.copy.log",
    benchmark:
        f"logs/{STUDY}/tables/differences.copy.tsv"
