# `make run` and `make test` are all that a newcomer needs; both install what they need into .venv first.
.PHONY: run test check trace fmt gen bench torture docs setup setup-dev
BIN := .venv/bin

run: setup                ## Start the whole system on this machine
	@exec $(BIN)/csms up $(ARGS)

test: setup-dev           ## All tests; one of them: make test ARGS=tests/unit/ocppcore/test_rpc.py
	@$(BIN)/pytest $(or $(ARGS),-n 2 --dist loadgroup)

check: setup-dev          ## Format, lint, types, import contracts, generated files, requirements, lock
	@$(BIN)/python -m scripts.check

trace: setup-dev          ## Which duties of the standard the tests prove
	@$(BIN)/python -m scripts.trace

fmt: setup-dev            ## Format, and mend what the linter can
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

gen: setup-dev            ## Write all generated files anew
	@$(BIN)/python -m scripts.gen

bench: setup-dev          ## Measure throughput, latency, connections and replay on this machine
	@$(BIN)/python -m csms.bench $(ARGS)

torture: setup-dev        ## Kill processes at random under load, then look for anything lost or doubled
	@$(BIN)/python -m csms.torture $(ARGS)

docs: setup-dev           ## The reference pages under docs/reference
	@$(BIN)/python -m scripts.gen_reference

setup setup-dev:
	@scripts/setup $(if $(filter setup-dev,$@),dev,run)
