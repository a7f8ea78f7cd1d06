# Sidetone. `make run` starts the bridge, `make call` phones it, `make test` and `make lint` are what CI runs.

VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run call test lint fmt bench lock
.DEFAULT_GOAL := run

run: $(VENV)/.run
	@exec $(BIN)/sidetone serve

call: $(VENV)/.run
	@$(BIN)/sidetone call $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

# Pinned with hashes for every supported interpreter and platform, and without index addresses.
lock: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet uv
	deploy/lock.sh $(BIN)/uv

$(VENV)/.run: deploy/requirements/run.txt pyproject.toml deploy/install.sh
	@deploy/install.sh $(VENV) deploy/requirements/run.txt
	@touch $@

$(VENV)/.dev: deploy/requirements/dev.txt pyproject.toml deploy/install.sh
	@deploy/install.sh $(VENV) deploy/requirements/dev.txt
	@touch $@ $(VENV)/.run
