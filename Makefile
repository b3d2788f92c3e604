# Everything a developer types. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
LOCALSTACK_URL := http://127.0.0.1:4566

# tests/conftest.py puts slow tests first, which xdist must not reorder. The numbers of processes
# are for two cores: ARGS="-n 8" for others.
PYTEST := $(BIN)/python -m pytest --dist loadgroup --no-loadscope-reorder

# --- the two commands ----------------------------------------------------------------------

.PHONY: run
run: $(INSTALLED) ## Run it all here: embedded AWS, worker, sample commands, live events (ARGS=--once to end when all are answered)
	@# always on an AWS of its own: `user-worker dev` uses that of AWS_ENDPOINT_URL
	@env -u AWS_ENDPOINT_URL $(BIN)/user-worker dev --samples $(ARGS)

# a test run starts a hundred Python processes: let them find what was compiled once
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test
test: $(INSTALLED) ## Run the unit, contract, integration, crash and documentation tests (ARGS=... goes to pytest)
	@env -u AWS_ENDPOINT_URL $(PYTEST) -n 3 -m 'not e2e' $(ARGS)

# --- more checks ---------------------------------------------------------------------------

.PHONY: test-e2e
test-e2e: $(INSTALLED) ## Run the tests of real workers, services, browsers and builds on the embedded AWS
	@# three times the cores: they mostly wait; each test process has its own AWS, and would collect
	@# the unit tests in vain
	@env -u AWS_ENDPOINT_URL $(PYTEST) -n 6 --ignore tests/unit -m 'e2e and not isolation' $(ARGS)

.PHONY: test-localstack
test-localstack: $(INSTALLED) ## Run the tests that depend on AWS against AWS_ENDPOINT_URL (default: LocalStack on port 4566)
	@AWS_ENDPOINT_URL="$${AWS_ENDPOINT_URL:-$(LOCALSTACK_URL)}" $(PYTEST) -n 6 --ignore tests/unit -m 'aws and not embedded and not isolation' $(ARGS)

.PHONY: test-isolation
test-isolation: $(INSTALLED) ## Try that one bad user, event or queue delays nobody else; at full size with USER_WORKER_TEST_FULL=1
	@$(PYTEST) -n 6 tests/isolation $(ARGS)

.PHONY: check
check: lint test test-e2e ## Run all that must be green before a push: lint, test and test-e2e

.PHONY: lint lint-pyright lint-mypy lint-rest
lint: $(INSTALLED) ## Check style, types, layers, shell scripts and templates
	@# basedpyright takes longer than all the others together
	@$(MAKE) --no-print-directory --jobs=2 lint-pyright lint-mypy lint-rest

lint-pyright:
	$(BIN)/basedpyright --warnings

lint-mypy:
	$(BIN)/mypy

lint-rest:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/shellcheck .ci/run $$(git ls-files '*.sh')
	$(BIN)/cfn-lint deploy/*.yaml

.PHONY: fmt
fmt: $(INSTALLED) ## Format, and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(INSTALLED) ## Compare it with others, in twenty minutes (ARGS=--quick: three minutes); see docs/explanation/benchmark.md
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-short
bench-short: $(INSTALLED) ## Fail if the worker costs much more than it should, in a minute; needs no Java and no LocalStack
	@$(BIN)/python -m benchmarks --short $(ARGS)

.PHONY: bench-pages
bench-pages: $(INSTALLED) ## Renew the tables and figures that pages quote, from the committed results
	@$(BIN)/python -m benchmarks.pages

.PHONY: screenshots
screenshots: $(INSTALLED) ## Take the screenshots of the web console for the documentation; needs Chromium
	@$(BIN)/python -m scripts.console_screenshots

.PHONY: chaos
chaos: $(INSTALLED) ## Attack real workers on LocalStack for five minutes, and check what came of it (ARGS='--seconds 60 --seed 1')
	@AWS_ENDPOINT_URL="$${AWS_ENDPOINT_URL:-$(LOCALSTACK_URL)}" $(BIN)/python -m tests.chaos $(ARGS)

# --- what comes from outside: input and packages ---------------------------------------------

.PHONY: fuzz
fuzz: $(INSTALLED) ## Fuzz all that reads from outside, a minute each (ARGS="messages --seconds 600 --seed 2"); Linux only
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.txt
	@$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: audit
audit: $(INSTALLED) ## Check locks, environment, licences and, where there is a network, known vulnerabilities
	@$(BIN)/python scripts/supply_chain.py audit $(ARGS)

.PHONY: sbom
sbom: $(INSTALLED) ## Write the image's bill of materials, build/sbom.json (CycloneDX)
	@$(BIN)/python scripts/supply_chain.py sbom $(ARGS)

# --- the pages as a site ---------------------------------------------------------------------

SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.PHONY: docs
docs: $(INSTALLED) ## Build the pages as a site, build/site/index.html; a broken link fails
	@$(BIN)/python scripts/docs_site.py build/docs
	@$(SITE) build --quiet --strict --config-file build/docs/mkdocs.yml
	@echo build/site/index.html

.PHONY: reference
reference: $(INSTALLED) ## Write contracts/, the reference tables and the client's types from the definitions in domain/
	@$(BIN)/user-worker contracts
	@$(BIN)/python -m scripts.reference_tables
	@$(BIN)/python -m scripts.client_types

.PHONY: messages
messages: $(INSTALLED) ## List every text that a user can read, to review it (ARGS="cli worker": these folders only)
	@$(BIN)/python -m scripts.user_messages $(ARGS)

.PHONY: contracts-html
contracts-html: $(INSTALLED) ## Check the AsyncAPI document, and write it as a page, build/contracts/index.html; needs Node
	@cd contracts/node && npm ci --silent --no-audit --no-fund && npm run --silent html

.PHONY: docs-serve
docs-serve: docs ## Show the site at http://127.0.0.1:8000; `make docs` elsewhere renews it
	@$(SITE) serve --dev-addr 127.0.0.1:8000 --config-file build/docs/mkdocs.yml $(ARGS)

# --- LocalStack in Docker ------------------------------------------------------------------

.PHONY: up
up: .env ## Start LocalStack, resources and a worker in Docker
	docker compose up --build --detach --wait

.env:
	@scripts/pin-images.sh >$@

.PHONY: down
down: ## Stop them and forget their data
	docker compose down --volumes

# --- the environment -----------------------------------------------------------------------

.PHONY: install
install: $(INSTALLED) ## Make .venv from the hashed lock (the other targets do it by themselves)

$(INSTALLED): requirements-dev.txt pyproject.toml
	@test -x $(BIN)/python || { \
	  for python in $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	    python=; \
	  done; \
	  [[ -n $$python ]] || { echo 'make: needs Python 3.11 or later (or name one: make PYTHON=/path/to/python)' >&2; exit 1; }; \
	  "$$python" -m venv $(VENV) >/dev/null 2>&1 || { \
	    rm -rf $(VENV); \
	    echo "make: $$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; }; \
	}
	@echo 'Installing into $(VENV) (once; about a minute) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable clients/python
	@touch $@

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command 'make lock'

.PHONY: lock
lock: $(INSTALLED) ## Renew the locks from pyproject.toml (ARGS=--upgrade for newer versions)
	$(LOCK) $(ARGS) pyproject.toml --extra console --extra telemetry --output-file requirements.txt
	$(LOCK) $(ARGS) pyproject.toml --extra console --extra embedded --extra telemetry --group dev --constraint requirements.txt --output-file requirements-dev.txt
	$(LOCK) $(ARGS) --group build --constraint requirements-dev.txt --output-file requirements-build.txt
	$(LOCK) $(ARGS) --group fuzz --output-file requirements-fuzz.txt

.PHONY: clean
clean: ## Remove .venv and everything generated
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
