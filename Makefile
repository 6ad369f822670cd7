# The commands of this house. `make help` lists them.
SHELL := /bin/bash
CACHE := $(or $(LIFEBOAT_CACHE),$(HOME)/.cache/lifeboat)
PYTHON := $(CACHE)/venv/bin/python

.PHONY: help setup lint deny test suite rck engines soak fuzz bench release clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: ## install the real components that the tests use (cached outside the checkout)
	python3 tests/components/install.py

lint: ## formatting and lints
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

deny: ## licences, sources and bans of dependencies (needs `cargo install cargo-deny --locked`)
	cargo deny check licenses bans sources

test: setup ## every test: Rust, Iceberg's compatibility kit, real engines
	$(PYTHON) tests/run.py

suite: setup ## only the Rust tests, with a real PostgreSQL
	$(PYTHON) tests/run.py suite

rck: setup ## only Iceberg's REST Compatibility Kit
	$(PYTHON) tests/run.py rck

engines: setup ## only the engines: PyIceberg, Spark, Trino, DuckDB
	$(PYTHON) tests/run.py engines

soak: setup ## a standby under a chaotic replicator (SECONDS=1200 SEED=… TABLES=50 RECHECK=…)
	$(PYTHON) tests/soak/run.py --seconds $(or $(SECONDS),1200) --tables $(or $(TABLES),50) \
	  $(if $(SEED),--seed $(SEED)) $(if $(RECHECK),--recheck $(RECHECK)) $(if $(PLANT),--plant $(PLANT))

fuzz: ## fuzz targets, ten minutes each (SECONDS_EACH=600)
	bash fuzz/run.sh

bench: ## benchmarks side by side on this machine; prints the table of docs/benchmarks.md
	python3 tests/components/install.py --bench
	missed=0; for part in run relocation replica append; do $(PYTHON) tests/bench/$$part.py || missed=1; done; exit $$missed

release: ## the release binary, in target/release/lifeboat
	cargo build --release --locked

clean: ## build results of this checkout (the cache of components stays)
	cargo clean
