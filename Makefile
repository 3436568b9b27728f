# The two commands of the README are `up` and `test`; the others are their steps.
STACK ?= local
PYTHON ?= python3
BIN := .venv/bin
LANES := --numprocesses 2
# Those that take long come first: two run beside each other.
LINTERS := ansible-lint mypy ruff rustfmt yamllint shellcheck

.PHONY: $(LINTERS) help up down test nightly lint unit tools images software lock
help: ## show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: software ## bring up STACK (local) and say where it is
	@$(BIN)/cygnet up $(STACK)

down: .venv/.ready ## remove STACK (local) with all its data
	@$(BIN)/cygnet down $(STACK)

test: lint software ## the tests, on a stack of their own
	@$(BIN)/python -m engine host-packages --tests
	@$(BIN)/pytest $(LANES)

nightly: lint software ## those and what takes longer, such as a whole service in a cloud
	@$(BIN)/python -m engine host-packages --tests
	@$(BIN)/pytest $(LANES) --nightly

unit: .venv/.ready ## the tests that need no machine
	@$(BIN)/pytest tests/unit

lint: .venv/.ready ## ruff, mypy, rustfmt, ansible-lint, yamllint, shellcheck
	@$(BIN)/python -m engine host-packages --tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync $(LINTERS)

ruff:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

mypy:
	@$(BIN)/mypy

ansible-lint:
	@PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_CONFIG=playbooks/ansible.cfg $(BIN)/ansible-lint --offline -q

rustfmt:
	@rustfmt --check --edition 2024 engine/rust/*/src/main.rs

yamllint:
	@$(BIN)/yamllint --strict .

shellcheck:
	@git grep --untracked -lE '^#!/(usr/)?bin/(env )?(ba)?sh' | xargs shellcheck

tools: .venv/.ready ## every tool of engine/versions.yaml
	@$(BIN)/python -m engine host-packages
	@$(BIN)/python -m engine get
	@$(BIN)/python -m engine link .venv

images: tools ## every container image
	@$(BIN)/python -m images build

software: images ## every software release
	@$(BIN)/python -m software build

lock: .venv/.ready ## write requirements.lock anew from pyproject.toml
	@$(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --all-extras --generate-hashes --strip-extras --allow-unsafe --upgrade \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o requirements.lock pyproject.toml

.venv/.ready: requirements.lock pyproject.toml
	@echo "Python packages: installing into .venv (about a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
