# tables, differences, figures, images -> one page that needs nothing beside itself
rule report_page:
    input:
        ask(results.page_images),
        page=files("src/samdiffsr/reporting/page/report", (".html", ".css", ".js")),
        tidy=targets.tables_as(CONFIG, "tidy"),
        differences=LAYOUT.differences(),
        figures=targets.figures_as(CONFIG, ".png"),
        hr=dated(stores.truths(CONFIG)),
        overlaps=split.before_page(CONFIG),
    output:
        LAYOUT.report(),
    log:
        LAYOUT.log("", "report"),
    benchmark:
        LAYOUT.benchmark("", "report")
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        results=lambda wc: LAYOUT.results,
        stores=lambda wc: layout.STORES,
        overlaps=ask(arguments.overlaps),
        recipe=ask(recipes.page),
        code=fingerprint("samdiffsr.reporting.page.page"),
    shell:
        "python -m samdiffsr report --tidy {input.tidy:q} --differences {input.differences:q}"
        " --figures {input.figures:q} --results {params.results:q} --stores {params.stores:q}"
        " {params.overlaps:q} --out {output:q} --recipe {params.recipe:q} > {log:q} 2>&1"


use rule show_table as show_report with:
    input:
        LAYOUT.report(),
    output:
        layout.shown_report(),
    log:
        LAYOUT.log("", "report", "copy"),
    benchmark:
        LAYOUT.benchmark("", "report", "copy")
