# scores -> results/<study>/tableN.csv -> results/tableN.csv, the chosen study's copy
rule tables:
    input:
        [
            f"results/{table}{kind}.csv"
            for table in CONFIG.tables
            for kind in ("", "_tidy")
        ],


rule gather:
    input:
        scores=table_scores,
        published="paper/published_tables.csv",
    output:
        wide=f"{RESULTS}/{{table}}.csv",
        tidy=f"{RESULTS}/{{table}}_tidy.csv",
    log:
        f"logs/{STUDY}/tables/{{table}}.log",
    benchmark:
        f"logs/{STUDY}/tables/{{table}}.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        recipe=lambda wc: recipe_text(CONFIG.table_recipe(wc.table)),
        code=fingerprint("samdiffsr.reporting.tables"),
    shell:
        "python -m samdiffsr gather --scores {input.scores} --published {input.published}"
        " --out {output.wide} --tidy {output.tidy} --recipe {params.recipe:q} > {log} 2>&1"


rule show_table:
    """The chosen study's table where people look for it."""
    input:
        wide=f"{RESULTS}/{{table}}.csv",
        tidy=f"{RESULTS}/{{table}}_tidy.csv",
    output:
        wide="results/{table}.csv",
        tidy="results/{table}_tidy.csv",
    log:
        f"logs/{STUDY}/tables/{{table}}.copy.log",
    benchmark:
        f"logs/{STUDY}/tables/{{table}}.copy.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=100,
        runtime=5,
    shell:
        "cp {input.wide} {output.wide} && cp {input.tidy} {output.tidy} 2> {log}"
