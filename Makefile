# Sidetone. `make run` starts the bridge, `make call` phones it, `make test` and `make lint` are what CI runs.

VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run call test sip lint fmt bench lock ears cluster
.DEFAULT_GOAL := run

# pjsua2 is on no package index: it is built here, once per machine, wherever a setting or CI asks for SIP.
SIP_IS_SET := $(filter SIP_%,$(.VARIABLES))$(shell grep -Es '^[[:space:]]*(export[[:space:]]+)?SIP_[A-Z0-9_]+=[^[:space:]]' .env)
ifneq ($(strip $(CI)$(SIP_IS_SET)),)
PJSUA2 := sip
endif

run: $(VENV)/.run $(PJSUA2)
	@exec $(BIN)/sidetone serve

call: $(VENV)/.run
	@$(BIN)/sidetone call $(ARGS)

test: $(VENV)/.dev $(PJSUA2)
	$(BIN)/python -m pytest $(ARGS)

sip: $(VENV)/.run
	@$(BIN)/python -m deploy.pjsua2

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

# Two bridges, Redis and a proxy on this machine; Ctrl-C ends all.
cluster: $(VENV)/.run
	@exec $(BIN)/python deploy/cluster/run.py $(ARGS)

# Optional ears: noise suppression, and a model that hears whether the caller is done; prints the settings for them.
ears: $(VENV)/.run
	@deploy/install.sh $(VENV) deploy/requirements/ears.txt
	@$(BIN)/python deploy/fetch_turn_model.py

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
