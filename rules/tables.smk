# scores -> results/<study>/tableN.* -> results/tableN.*, the chosen study's copy


rule tables:
    input:
        targets.tables(CONFIG),


rule gather:
    input:
        scores=ask(results.table_scores),
        sets=ask(results.table_sets),
        split=ask(split.before_table),
        published=layout.PUBLISHED,
        errata=layout.ERRATA,
    output:
        **{kind: LAYOUT.table("{table}", kind) for kind in layout.TABLE},
    log:
        LAYOUT.log("tables", "{table}"),
    benchmark:
        LAYOUT.benchmark("tables", "{table}")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=10,
    params:
        sets=ask(arguments.table_sets),
        recipe=ask(recipes.table),
        code=fingerprint(
            "samdiffsr.reporting.tables.gather",
            "samdiffsr.reporting.tables.differences",
            "samdiffsr.reporting.tables.render",
        ),
    shell:
        "python -m samdiffsr gather --scores {input.scores:q} {params.sets:q} --published {input.published:q}"
        " --out {output.wide:q} --tidy {output.tidy:q} --differences {output.differences:q}"
        " --markdown {output.markdown:q} --latex {output.latex:q} --recipe {params.recipe:q} > {log:q} 2>&1"


rule differences:
    """What the tables claim, in one file."""
    input:
        targets.tables_as(CONFIG, "differences"),
    output:
        LAYOUT.differences(),
    log:
        LAYOUT.log("tables", "differences"),
    benchmark:
        LAYOUT.benchmark("tables", "differences")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(500),
        runtime=5,
    params:
        code=fingerprint("samdiffsr.reporting.tables.differences"),
    shell:
        "python -m samdiffsr join-differences --parts {input:q} --out {output:q} > {log:q} 2>&1"


rule show_table:
    """The chosen study's table where people look for it."""
    input:
        **{kind: LAYOUT.table("{table}", kind) for kind in layout.TABLE},
    output:
        **{
            kind: report(
                layout.shown_table("{table}", kind),
                caption="../report/table.rst",
                category="Tables",
                labels=ask(arguments.table_labels, kind=kind),
            )
            for kind in layout.TABLE
        },
    log:
        LAYOUT.log("tables", "{table}", "copy"),
    benchmark:
        LAYOUT.benchmark("tables", "{table}", "copy")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(100),
        runtime=5,
    params:
        folder=lambda wc: layout.SHOWN,
    shell:
        "cp {input:q} {params.folder:q} 2> {log:q}"


use rule show_table as show_differences with:
    input:
        LAYOUT.differences(),
    output:
        report(
            layout.shown_differences(),
            caption="../report/differences.rst",
            category="Tables",
            labels={"table": "all", "content": arguments.TABLE_WORDS["differences"]},
        ),
    log:
        LAYOUT.log("tables", "differences", "copy"),
    benchmark:
        LAYOUT.benchmark("tables", "differences", "copy")
