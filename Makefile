# make workbook | test | lab | lint | reference: each builds .venv when it is missing or stale.
# More options by ARGS, as in: make workbook ARGS='-p fps 2'; make lab ARGS=--no-browser
SHELL := bash
MINIMUM := 3.11
OLD_ENOUGH := import sys; sys.exit(sys.version_info < tuple(map(int, "$(MINIMUM)".split("."))))
# the first Python that runs and is new enough; the tested one comes first
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c '$(OLD_ENOUGH)' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-in
# a copied or moved project must not use the environment of the old place
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help workbook test lint lab reference

help:  ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/'

$(STAMP): pyproject.toml constraints.txt
	@$(or $(PYTHON),python3) -c '$(OLD_ENOUGH)' 2>/dev/null || { \
	echo "numpro needs Python $(MINIMUM) or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)." \
	"Name one: make PYTHON=/path/to/python$(MINIMUM)" >&2; exit 1; }
	@echo "building $(VENV) with $$($(PYTHON) --version) (about a minute; longer on a slow line)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
	--target $(VENV)/torchvision torchvision timm || \
	echo "no torchvision here: make test leaves out the processors that need it" >&2
	@echo "$(CURDIR)" > $@

workbook: $(STAMP)  ## run every notebook, then print the scores and the report's path
	$(BIN)/python -m numpro run $(ARGS)

reference: $(STAMP)  ## for maintainers: make the two runs again that are committed; rewrites their files
	$(BIN)/python -m numpro run papermill_runs/recipes/flipbook_full.yaml --reference $(ARGS)
	$(BIN)/python -m numpro run --reference $(ARGS)
	$(BIN)/python -m numpro readme

# One thread a process: what tests wait for leaves room for a third worker on two cores. Unit tests
# and notebooks share the workers, so that none is idle. Nothing may ask the hub.
TEST_ENV := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
# Torchvision lies beside the environment: built for GPUs, it cannot be imported with a torch for
# CPUs unless it is helped (tests/helpers/torchvision_shim.py). What needs it is tested last.
test: lint  ## lint, unit tests, doctests, and every notebook against its stored outputs
	$(TEST_ENV) $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder --doctest-modules \
	--nbval --nbval-current-env --nbval-cell-timeout 900 --nbval-sanitize-with tests/nbval.cfg \
	numpro tests notebooks
	@[ ! -d $(VENV)/torchvision/torchvision ] || PYTHONPATH=$(VENV)/torchvision $(TEST_ENV) \
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/models/test_zoo.py \
	tests/models/test_transformers_vlm.py tests/models/test_native_times.py

lint: $(STAMP)  ## check style, format, spelling and the way through the rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md data/README.md docs notebooks numpro tests benchmarks

# the browser works on the same cores: threads that spin while they wait would share them with it.
# The whole project is in the file browser. The second option and the settings keep news away.
LAB := --ServerApp.root_dir="$(CURDIR)" "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb?file-browser-path=/"
LAB += --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None
LAB_SETTINGS := $(VENV)/etc/jupyter/labconfig/default_setting_overrides.json
lab: $(STAMP)  ## open the first notebook in JupyterLab
	@mkdir -p $(dir $(LAB_SETTINGS))
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > $(LAB_SETTINGS)
	OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE} $(BIN)/python -m jupyterlab $(LAB) $(ARGS)
