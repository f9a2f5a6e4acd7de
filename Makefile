# Everything a person or CI runs. Each target sets up what it needs in .venv and can be run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
LOG := $(VENV)/set-up.log

.PHONY: help demo test soak kafka check bench docs clean

help:  ## What there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 10

$(STAMP): pyproject.toml
	@echo "==> Setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Millrace needs Python 3.11 or later; name one with make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,check]' 2>$(LOG) \
		|| { cat $(LOG); exit 1; }  # setuptools warns of every editable package in 20 lines
	@touch $@

demo: $(STAMP)  ## Train two models on the iris data and serve their ensemble
	@$(BIN)/python examples/iris/demo.py $(ARGS)

test: $(STAMP)  ## Run every test (a few minutes)
	@echo "==> Running the tests"
	@$(BIN)/python -m pytest -m "not soak" $(ARGS)

soak: $(STAMP)  ## Slow load and fault tests; SOAK=short for the form that CI runs
	@echo "==> Running the load and fault tests"
	@SOAK=$(SOAK) $(BIN)/python -m pytest -m soak --timeout 1800 $(ARGS)

kafka: $(STAMP)  ## A Kafka broker on localhost until Ctrl-C; prints KAFKA_BOOTSTRAP_SERVERS (needs Java and Maven)
	@$(BIN)/python tests/kafka/broker.py run

check: $(STAMP)  ## Lint and type-check
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@echo "==> mypy"
	@mkdir -p .cache/types && ln -sfn "$(CURDIR)" .cache/types/millrace
	@cd .cache/types && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p millrace

bench: $(STAMP)  ## Measure Millrace beside its peers (installs them into .bench; long)
	@for script in chain request http startup queues consume; do $(BIN)/python benchmarks/$$script.py $(ARGS) || exit 1; done

docs: $(STAMP)  ## Run the code blocks of the manual
	@$(BIN)/python -m pytest tests/docs $(ARGS)

clean:  ## Remove what the targets made
	rm -rf $(VENV) .bench .cache .demo build dist *.egg-info
