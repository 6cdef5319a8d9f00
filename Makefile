# Two commands: `make lab` (students) and `make test` (everyone else). Each creates .venv when it is missing or out of date.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# The first Python on the path that the course supports.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; exit; }; done)
export PYTHONNOUSERSITE := 1
# Torch's threads sleep while they wait: spinning, they slow each other down beside any other work.
export OMP_WAIT_POLICY ?= PASSIVE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help lab test test-types course run check grade-demo bench lock coverage clean
help:
	@echo "make lab         open the course in JupyterLab"
	@echo "make test        run every check"
	@echo "make course      build course/ from solutions/"
	@echo "make run         execute every solution notebook (PROFILE=smoke|laptop|gpu)"
	@echo "make grade-demo  grade a class of eight and show what each student would read"
	@echo "make bench       measure speed against other libraries, as ratios"

# One stamp a set of extras: up to date means no work at all.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "The course needs Python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1). Install one, or run make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
$(VENV)/.stamp-%: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[$(subst -,$(comma),$*)]"
	@touch $@
comma := ,

# The course's page in front, rendered, and no question about news: settings of this .venv alone.
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings
lab: $(VENV)/.stamp-course
	@mkdir -p $(LAB_SETTINGS) && cp lib/coursekit/lab/overrides.json $(LAB_SETTINGS)/overrides.json
	$(BIN)/jupyter lab --notebook-dir=course --LabApp.default_url=/lab/tree/README.md $(LAB_ARGS)
course: $(VENV)/.stamp-course-grade
	$(BIN)/autograde build
run: $(VENV)/.stamp-course-grade
	$(BIN)/autograde run --profile $(or $(PROFILE),smoke)
check: $(VENV)/.stamp-course-grade
	$(BIN)/autograde check
grade-demo: $(VENV)/.stamp-course-grade
	$(BIN)/python -m autograde.demo
bench: $(VENV)/.stamp-course-grade-bench
	$(BIN)/python -m genmodels.bench
	$(BIN)/python -m autograde.bench 01

# Debian packages that some tests want. Where they cannot be installed those tests say so and are skipped.
DEBIAN := bubblewrap chromium postgresql
.PHONY: system
system:
	@missing=""; command -v bwrap >/dev/null || missing="$$missing bubblewrap"; command -v chromium >/dev/null || missing="$$missing chromium"; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$$missing postgresql"; \
	test -z "$$missing" && exit 0; command -v apt-get >/dev/null || { echo "not installed, their tests are skipped:$$missing"; exit 0; }; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else echo "not installed, their tests are skipped:$$missing"; exit 0; fi; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
	|| echo "could not be installed, their tests are skipped:$$missing"
test: $(VENV)/.stamp-course-grade-test system
	$(BIN)/ruff check . && $(BIN)/ruff format --check -q .
	$(BIN)/lint-imports --no-cache
	$(BIN)/autograde build --check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)
# Every annotation of the library is checked at every call of its tests (not those of the labs). Slow.
test-types: $(VENV)/.stamp-course-grade-test
	GENMODELS_TYPES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore-glob='*test_lab*' lib/tests $(PYTEST_ARGS)
coverage: $(VENV)/.stamp-course-grade-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 lib/tests --cov --cov-report=term-missing:skip-covered

lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --all-extras pyproject.toml -o requirements.lock.new --constraint <(echo torch==2.13.0)
	{ head -2 requirements.lock; cat requirements.lock.new; } > requirements.lock.tmp && mv requirements.lock.tmp requirements.lock && rm requirements.lock.new
clean:
	rm -rf $(VENV) out grade-demo
