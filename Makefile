# Everything works on a machine with python3 (3.11 or newer) and make: the first target makes its own environment in .venv.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8000
DATA ?= data
NAME ?= all
RUNS ?= 2000
STEPS ?= 60
SEED ?= 1
SEEDS ?= 3
FAULTS ?= 300
REQUESTS ?= 20000
SECONDS ?= 60
# A file's tests stay together, the long files of tests/acceptance come first.
PYTEST_OPTIONS ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo up test test-production table machine faults hosts containers hostile alerts lint client docs sbom audit bench accuracy format lock clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(READY) ## Make the environment in .venv from the locked requirements

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "HarmonicDet needs Python 3.11 or newer; say which one: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing the locked requirements into $(VENV) (once; torch is large)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Train a detector on a small dataset, print its mAP, predict (DATASET=some.zip for your own)
	@$(BIN)/harmonicdet demo $(if $(DATASET),--dataset "$(DATASET)") $(DEMO_OPTIONS)

up: $(READY) ## Start the whole service on this machine (PORT=8000 DATA=data)
	@$(BIN)/harmonicdet up --port $(PORT) --data "$(DATA)"

test: $(READY) ## Run the tests (on your PostgreSQL, Redis and bucket where HARMONICDET_DATABASE_URL and the others name them)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-production: $(READY) ## Run the tests on PostgreSQL, Redis and S3, started for them
	$(BIN)/python -m tests.production $(PYTEST_OPTIONS)

machine: $(READY) ## Run the long battery of the job's state machine on SQLite and PostgreSQL (RUNS=2000 STEPS=60 SEED=1)
	HARMONICDET_MACHINE_RUNS=$(RUNS) HARMONICDET_MACHINE_STEPS=$(STEPS) HARMONICDET_MACHINE_REPORT=machine-report \
		$(BIN)/python -m pytest -q tests/store/test_job_machine.py --hypothesis-seed=$(SEED)

table: $(READY) ## Prove every family with either loss on eight photographs, and print the table (some minutes)
	RUN_LONG_TESTS=1 $(BIN)/python -m pytest tests/detector/models/test_table.py $(TABLE_OPTIONS)

FAULT_BATTERIES = "embedded --faults $(FAULTS)" "production --faults $(FAULTS)" "submissions --servers" "queue --servers"
faults: $(READY) ## Break the real service in every way, most of two hours; reports in docs/faults (FAULTS=300 SEED=1)
	@failed=0; for battery in $(FAULT_BATTERIES); do \
		$(BIN)/python -m tests.faults $$battery --seed $(SEED) --report docs/faults/$${battery%% *}.md || failed=1; \
	done; for battery in cancels kills partitions full_disk; do \
		$(BIN)/python -m tests.faults.$$battery --seed $(SEED) --report docs/faults/$$battery.md || failed=1; \
	done; exit $$failed

hosts: $(READY) ## Train on several hosts (network namespaces; needs root) and cut one of them off twice (SEED=1)
	@$(BIN)/python -m tests.faults.hosts --seed $(SEED) --report docs/faults/hosts.md

containers: $(READY) ## Build the images and run the compose stack for real, with docker or podman (DATA=some.zip for your own)
	@$(BIN)/python -m tests.docker.stack $(if $(filter %.zip,$(DATA)),--data "$(DATA)") --report docs/containers.md

hostile: $(READY) ## Send everything hostile to the real service: corpus, schemathesis, 2 GB in pieces, atheris (an hour; SECONDS=60 SEED=1)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group fuzz || echo "atheris cannot be installed here"
	@failed=0; \
	$(BIN)/python -m tests.hostile || failed=1; \
	$(BIN)/python -m tests.hostile.schema --requests $(REQUESTS) --seed $(SEED) || failed=1; \
	$(BIN)/python -m tests.hostile.large_upload || failed=1; \
	$(BIN)/python -m tests.hostile.fuzz --seconds $(SECONDS) || failed=1; \
	exit $$failed

alerts: $(READY) ## Fire every alert by its own fault in a real service before a real Prometheus (minutes; root, PostgreSQL, Redis)
	$(BIN)/python -m tests.monitoring --report docs/alerts.md

lint: $(READY) ## Check style, types, the imports between rooms, and the Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/*.Dockerfile

client: $(READY) ## Write what the Python client knows of the API, and the client without `await`
	$(BIN)/python -m tests.client.generate

docs: $(READY) ## Build the documentation as a site, to site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict && echo "site/index.html"

sbom: $(READY) ## Write what the images' environments are made of, as CycloneDX, to sbom/
	@mkdir -p sbom
	@for image in api worker; do $(BIN)/cyclonedx-py requirements requirements/$$image.txt --pyproject pyproject.toml \
		--mc-type application --output-reproducible --of JSON -o sbom/$$image.cdx.json && echo "sbom/$$image.cdx.json"; done

audit: $(READY) ## Ask whether a locked package has a known vulnerability
	@$(BIN)/python -m tests.audit

bench: $(READY) ## Run the benchmarks (NAME=loss_cost for one)
	@$(BIN)/python -m benchmarks $(NAME)

accuracy: $(READY) ## Train the fast path and torchvision's from the same seeds, and compare AP (DATA=some.zip SEEDS=3)
	@$(BIN)/python -m benchmarks.accuracy "$(DATA)" --seeds $(SEEDS) $(ACCURACY_OPTIONS)

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml
lock: $(READY) ## Lock the requirements anew
	$(LOCK) --extra all --group dev -o requirements/dev.txt
	$(LOCK) --extra api --constraint requirements/dev.txt -o requirements/api.txt
	$(LOCK) --extra worker --constraint requirements/dev.txt -o requirements/worker.txt
	echo uv | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
		--constraint requirements/dev.txt -o requirements/build.txt -

clean: ## Remove the environment and what tools leave behind
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
