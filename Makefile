# Everything a developer does. The first use of any target makes .venv and installs what is locked in requirements-dev.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Public files only, for every Python that we support.
LOCK := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --upgrade --no-strip-extras --generate-hashes --no-header
# What the image's wheels are made with: ours, and that of the one package that is there as source only.
BUILD_REQUIRES := $(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], "setuptools>=80", sep="\n")'
.DEFAULT_GOAL := help
# By tests/spread.py: in the order of pytest's testpaths, in which what takes longest comes first.
SPREAD := --numprocesses 3 --dist loadfile --no-loadscope-reorder
# Minutes each, on services of their own that are killed, restarted or starved, and measured: one after the other.
LONG := tests/chaos/test_short.py tests/component/test_many_writers.py tests/simulation/test_planted.py \
	$(addprefix tests/end_to_end/test_,broker_away.py metrics_move.py mongodb_away.py network_faults.py overload.py \
	rebuild_under_load.py rolling_restarts.py take_over.py tracing.py)
STORE ?= sqlite
CYCLES ?= 20
SEEDS ?= 1000
FROM ?= 0
.PHONY: help run test test-short simulate chaos rebuild-long cover check check-deploy format fuzz dashboards bench lock clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## The service with its servers on this machine, and a demo; Ctrl-C ends it
	$(BIN)/app-manager up --demo $(ARGS)

test: $(READY) ## All tests, on real servers; ARGS="tests/unit -k retry" for some
ifdef ARGS
	$(BIN)/pytest $(SPREAD) $(ARGS)
else
	$(BIN)/pytest $(SPREAD) $(addprefix --ignore=,$(LONG))
	$(BIN)/pytest $(LONG)
endif

test-short: $(READY) ## All tests but the longest ones
	TAMPERINGS=20 $(BIN)/pytest $(SPREAD) $(addprefix --ignore=,$(LONG)) $(ARGS)

simulate: $(READY) ## The core, run over fakes that fail, from SEEDS seeds (SEED=n: one of them, told); 1,000 take a minute or two
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(if $(SEED),--seed $(SEED)) $(ARGS)

cover: $(READY) ## All tests, and which lines they reach (htmlcov/index.html)
	$(BIN)/pytest --cov --cov-report=term --cov-report=html $(ARGS)

check: $(READY) ## Style, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

check-deploy: $(READY) ## What deploys the service: image, compose, Kubernetes, alerts, dashboards
	BUILD_IMAGE=1 $(BIN)/pytest --numprocesses 2 --dist loadfile tests/deploy $(ARGS)

format: $(READY) ## Puts the code into its form
	$(BIN)/ruff format

chaos: $(READY) ## Kills, stops and cuts off what there is, under load; CYCLES=200 STORE=postgresql SEED=1 (about 8 s each)
	$(BIN)/python -m tests.chaos --cycles $(CYCLES) --store $(STORE) $(if $(SEED),--seed $(SEED)) $(ARGS)

fuzz: $(READY) ## The API against its own OpenAPI document: 20,000 requests, half of them bad; about ten minutes
	$(BIN)/python -m tests.fuzz $(ARGS)

rebuild-long: $(READY) ## A rebuild of 1,000,000 events under 200 submissions a second, and 20 kills; an hour
	REBUILD_EVENTS=1000000 REBUILD_RATE=200 $(BIN)/pytest -s tests/end_to_end/test_rebuild_under_load.py -k seen_by_nobody
	REBUILD_EVENTS=100000 REBUILD_RATE=50 REBUILD_KILLS=20 $(BIN)/pytest -s tests/end_to_end/test_rebuild_under_load.py -k killed

dashboards: $(READY) ## Makes what Grafana imports, from slo-config.yaml and loki-queries.yaml
	$(BIN)/python -m infra.deploy.monitoring.dashboards

bench: $(READY) ## Measures the service on this machine
	$(BIN)/python -m tests.bench $(ARGS)

lock: $(READY) ## Makes the lock files anew, with the newest versions that pyproject.toml allows
	$(LOCK) --extra tracing --output-file requirements.txt pyproject.toml
	$(LOCK) --constraint requirements.txt --extra tracing --extra servers --extra dev --output-file requirements-dev.txt pyproject.toml
	$(BUILD_REQUIRES) | $(LOCK) --constraint requirements-dev.txt --output-file infra/deploy/requirements-build.txt -

clean: ## Removes what make and the tools made; .data/ (the service's data) stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov build dist

$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo 'This Python lacks venv (Debian: apt install python3-venv), or name another: make PYTHON=/path/to/python3' >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --require-hashes -r requirements-dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@
