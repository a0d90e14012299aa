# make demo       set up .venv and make results/table2.csv and a picture in the demo study
# make test       set up .venv and run the tests (minutes)
# make test-all   every test, the slow ones too
# make lint       what continuous integration checks beside the tests
# make docs       build the documentation site into site/ (no network)
# make licences   the licence of every distribution, into docs/develop/third-party.md
# make sbom       a CycloneDX list of what is installed, into work/sbom.json
# make lock       resolve the dependencies anew (needs a network); then make licences
PYTHON ?= python3
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake
# tests side by side; WORKERS= runs them one after the other
WORKERS ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Python caches the bytecode of what it imports; where it is told not to, the installer does
BYTECODE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

.PHONY: demo test test-all lint docs licences sbom lock clean

demo: .venv/.ready
	$(SNAKEMAKE) --cores all results/table2.csv results/figures/figure_control.png --config study=demo
	@echo; sed '/^## Differences/,$$d' results/demo/table2.md
	@echo 'The table, with differences and conditions:  results/demo/table2.md'
	@echo 'The restored images, side by side:           results/figures/figure_control.png'
	@echo; echo 'What to try next:'
	@echo '  source .venv/bin/activate'
	@echo '  samdiffsr upscale PHOTO.jpg -o big.png --steps 20 --checkpoint results/demo/runs/srdiff-x4-s0'
	@echo '  samdiffsr plan results/table4.csv    # what another table costs here'
	@echo '  README.md, "Five things to do next"'

test: .venv/.ready
	$(BIN)/python -m pytest $(WORKERS) -m "not slow"

test-all: .venv/.ready lint
	$(BIN)/python -m pytest $(WORKERS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint
	$(BIN)/lint-imports
	$(BIN)/mypy

.venv/.ready: envs/requirements.lock envs/bootstrap.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/bootstrap.lock
	$(BIN)/uv pip install --quiet $(BYTECODE) --python $(BIN)/python --require-hashes -r envs/requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

docs: .venv/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir site

licences: .venv/.ready
	$(BIN)/python docs/_site/licences.py

sbom: .venv/.ready
	mkdir -p work
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o work/sbom.json $(BIN)/python

lock:
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --extra cluster --extra test --extra docs --extra records --extra tensorboard \
	    --constraint envs/pins.txt --custom-compile-command "make lock" pyproject.toml -o envs/requirements.lock

clean:
	rm -rf work logs .snakemake results/demo results/figures results/report.html results/table* results/differences.csv
