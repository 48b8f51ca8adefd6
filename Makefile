# Everything is reached from here: `make up` runs Certplane, `make test` runs all tests, `make check` runs all static checks.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.setup-stamp

.PHONY: setup up test check protos lock bench bench-million bench-rotation bench-issuance bench-killed-workers bench-first simulate clean
.DEFAULT_GOAL := help

help:
	@echo "make up      set up and run Certplane with Envoy and a demonstration domain"
	@echo "make test    set up and run all checks and tests"
	@echo "make check   static checks only (ruff, mypy, import-linter, buf, drift of generated code)"
	@echo "make protos  generate controlplane/api from protos/"
	@echo "make lock    resolve pyproject.toml into requirements.lock anew"
	@echo "make bench   our path, its limits and its peers, against the promises"
	@echo "make bench-million  a store with a million domains: start, memory, handshakes"
	@echo "make bench-rotation  a rotation of keys with 2,000 domains under traffic"
	@echo "make bench-issuance  2,000 domains at a test CA with hopeless ones among them, and what the CA itself can do"
	@echo "make bench-killed-workers  500 issuances while workers are killed"
	@echo "make simulate  a year of a million domains on a virtual clock"
	@echo "make bench-first  onboarding, handshakes and memory, against their limits"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup.sh
	@touch $(STAMP)

STARTED := $(shell date +%s)

up: setup
	@$(BIN)/certplane demo --since $(STARTED)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python scripts/gen_protos.py --check

test: setup check
	$(BIN)/pytest

protos: setup
	$(BIN)/python scripts/gen_protos.py

lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra embedded --extra pkcs11 --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --constraint requirements.lock --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.runtime.lock

bench: setup
	$(BIN)/python -m bench.run

bench-million: setup
	$(BIN)/python -m bench.million

bench-rotation: setup
	$(BIN)/python -m bench.rotation --domains 2000

bench-issuance: setup
	$(BIN)/python -m bench.issuance --domains 2000 --hopeless 200

bench-killed-workers: setup
	$(BIN)/python -m bench.killed_workers --domains 500

bench-first: setup
	$(BIN)/python bench/first.py

simulate: setup
	$(BIN)/python -m bench.simulate

clean:
	rm -rf $(VENV)
