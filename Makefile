# RuleWard. `make run` starts the service, `make test` is what CI runs, `make` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PORT ?= 8000
WORKERS ?= 2
KILL_ROUNDS ?= 200
FUZZ_REQUESTS ?= 20000
VENV := .venv
BIN := $(VENV)/bin
DECLARED := setup.cfg pyproject.toml requirements.lock

.PHONY: help run test check coverage rules bench docs lock sbom audit servers new-rule new-adapter kill-test-long fuzz-long clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

run: $(VENV)/run.stamp ## start the service: PORT=8000 WORKERS=2
	exec $(BIN)/ruleward serve --port $(PORT) --workers $(WORKERS)

test: $(VENV)/test.stamp servers ## everything that CI runs: check, then the tests with real servers
	@status=0; \
	$(MAKE) check || status=1; \
	$(BIN)/python -m pytest || status=1; \
	tools/servers.sh report; \
	exit $$status

check: $(VENV)/test.stamp ## style, types, import contracts, rules, generated pages, wheel: all faults at once
	@failed=""; \
	try() { echo "== $$*"; "$$@" || failed="$$failed$$(printf '\n   %s' "$$*")"; }; \
	try $(BIN)/ruff check --quiet .; \
	try $(BIN)/ruff format --check --quiet .; \
	try $(BIN)/mypy --strict; \
	try $(BIN)/lint-imports --no-logo; \
	try $(BIN)/ruleward rules check; \
	try $(BIN)/python -m tools.write_docs --check; \
	try $(BIN)/python -m tools.wheel; \
	try $(BIN)/python -m tools.sbom audit; \
	if [ -n "$$failed" ]; then echo "check failed:$$failed"; exit 1; fi; \
	echo "check: all well"

rules: $(VENV)/run.stamp ## lint every rule and run every case
	$(BIN)/ruleward rules check

bench: $(VENV)/bench.stamp ## every benchmark at its quick size
	@tools/servers.sh install bench
	@status=0; for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python "$$file" || status=1; done; tools/servers.sh report bench; exit $$status

docs: $(VENV)/test.stamp ## write docs/language.md and docs/rules/ from the operators and the rules
	$(BIN)/python -m tools.write_docs

new-rule: $(VENV)/run.stamp ## a rule's skeleton: NAME=ruleset/rule_name
	@$(BIN)/python -m tools.new_rule "$(NAME)"

new-adapter: $(VENV)/run.stamp ## an adapter's skeleton: NAME=system
	@$(BIN)/python -m tools.new_adapter "$(NAME)"

coverage: $(VENV)/test.stamp servers ## which lines the tests reach
	$(BIN)/coverage run -m pytest && $(BIN)/coverage report

kill-test-long: $(VENV)/test.stamp servers ## kill service, worker, PostgreSQL and Redis again and again: KILL_ROUNDS=200
	RULEWARD_KILL_ROUNDS=$(KILL_ROUNDS) $(BIN)/python -m pytest -m "long and not fuzz" -s

fuzz-long: $(VENV)/test.stamp ## send every operation generated requests as each role: FUZZ_REQUESTS=20000
	RULEWARD_FUZZ_REQUESTS=$(FUZZ_REQUESTS) $(BIN)/python -m pytest -m "long and fuzz" -s

lock: $(VENV)/test.stamp ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --no-emit-index-url --python-version 3.11 \
	  --all-extras --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

sbom: $(VENV)/test.stamp ## write build/sbom.json: every dependency, as CycloneDX
	$(BIN)/python -m tools.sbom write build/sbom.json

audit: $(VENV)/test.stamp ## ask the advisory service about every dependency
	$(BIN)/python -m tools.sbom audit

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

servers:
	@tools/servers.sh install

# The lock is used as constraints: each target installs only what it needs, always in the locked version.
define install
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet --constraint requirements.lock uv || true
	@{ [ -x $(BIN)/uv ] && $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '$(1)'; } \
	  || $(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '$(1)'
endef

$(BIN)/python:
	@for python in python3 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); fi; done; \
	echo "RuleWard needs Python 3.11 or 3.12 with venv (Debian: apt-get install python3 python3-venv)." >&2; exit 1

$(VENV)/run.stamp: $(DECLARED) | $(BIN)/python
	$(call install,.)
	@touch $@

$(VENV)/test.stamp: $(DECLARED) | $(BIN)/python
	$(call install,.[test])
	@touch $(VENV)/run.stamp $@

$(VENV)/bench.stamp: $(DECLARED) | $(BIN)/python
	$(call install,.[bench])
	@touch $(VENV)/run.stamp $@
