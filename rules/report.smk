# tables, differences, figures, images -> one page that needs nothing beside itself
rule report_page:
    input:
        report_images,
        page=multiext("src/samdiffsr/reporting/page/report", ".html", ".css", ".js"),
        tidy=[f"{RESULTS}/{table}_tidy.csv" for table in CONFIG.tables],
        differences=f"{RESULTS}/differences.csv",
        figures=[f"{RESULTS}/figures/{name}.png" for name in CONFIG.figures],
        hr=[
            store_input(f"work/stores/{d}/hr")
            for d in (CHOSEN.train_set, *CHOSEN.test_sets)
        ],
    output:
        f"{RESULTS}/report.html",
    log:
        f"logs/{STUDY}/report.log",
    benchmark:
        f"logs/{STUDY}/report.tsv"
    conda:
        "../envs/samdiffsr.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=60,
    params:
        results=lambda wc, output: os.path.dirname(output[0]),
        recipe=lambda wc: recipe_text(report_recipe(CONFIG, all_absences(CONFIG))),
        code=fingerprint("samdiffsr.reporting.page.page"),
    shell:
        "python -m samdiffsr report --tidy {input.tidy} --differences {input.differences}"
        " --figures {input.figures} --results {params.results}"
        " --stores work/stores --out {output} --recipe {params.recipe:q} > {log} 2>&1"


use rule show_table as show_report with:
    input:
        f"{RESULTS}/report.html",
    output:
        "results/report.html",
    log:
        f"logs/{STUDY}/report.copy.log",
    benchmark:
        f"logs/{STUDY}/report.copy.tsv"
