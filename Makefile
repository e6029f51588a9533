# On a fresh machine, run `make demo` or `make test`. Both install what they need into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_KB := .llmkit/demo-kb
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test fast-test tools lint bench bench-peers bench-stores constraints clean

help:            ## print this list
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  +##' Makefile | sed 's/:.*##/\t/'

demo: $(VENV)/base.stamp  ## set up, index docs/, and ask five questions: by quotation, by the shipped chat model, one without an answer, one in German
	@$(BIN)/llmkit models pull
	@$(BIN)/llmkit ingest docs --into $(DEMO_KB) --encoder '{type: local, words: [de]}'
	@ask() { printf '\n\033[1m? %s\033[0m\n' "$$1"; $(BIN)/llmkit ask "$$1" --kb $(DEMO_KB) --pipeline "$$2"; }; \
	ask "Where does a knowledge base write the encoder down?" docs-qa && \
	ask "What does a knowledge base record about its encoder?" docs-qa-local && \
	ask "What is the default port of llmkit serve?" docs-qa && \
	ask "Who won the football world cup in 1998?" docs-qa-local
	@printf '\n\033[1m? %s\033[0m  (English documents, a question in German)\n' "Auf welchem Port lauscht der Server?"
	@$(BIN)/llmkit search "Auf welchem Port lauscht der Server?" --kb $(DEMO_KB) -k 1
	@printf '\nNext, your own documents:\n  %s ingest ~/Documents --into kb\n  %s ask "…" --kb kb\n' $(BIN)/llmkit $(BIN)/llmkit
	@printf '\nThe web page:\n  %s serve --kb %s\n' $(BIN)/llmkit $(DEMO_KB)

test: $(VENV)/dev.stamp tools  ## set up and run every test
	$(BIN)/llmkit models pull
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadgroup
	$(BIN)/python -m pytest -m slow

# Untrusted code runs in bubblewrap only. The power-cut tests replay the system calls that strace records. The tests of the
# web page run in Chromium. Where a tool is missing, its tests are skipped and name it.
tools:           ## install bubblewrap, strace and Chromium if they are missing (Debian, as root)
	@for pair in bwrap:bubblewrap strace:strace chromium:chromium; do \
	  command -v $${pair%%:*} > /dev/null && continue; \
	  name=$${pair##*:}; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
	    { apt-get install -y -q $$name || { apt-get update -q && apt-get install -y -q $$name; }; }; } || \
	    echo "$$name is missing: its tests are skipped until you install it"; \
	done

fast-test: $(VENV)/dev.stamp  ## run the tests that need no model weights
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup

lint: $(VENV)/dev.stamp  ## check style, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.stamp  ## measure retrieval quality and latency; needs the data sets
	$(BIN)/llmkit models pull
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/latency.py

bench-peers: $(VENV)/dev.stamp benchmarks/.venv/stamp  ## compare ingestion and queries with other toolkits
	$(BIN)/python benchmarks/ingest.py --peers benchmarks/.venv/bin/python

bench-stores: $(VENV)/dev.stamp benchmarks/.venv/stores.stamp  ## compare vector stores, and what survives a kill
	$(BIN)/llmkit models pull
	$(BIN)/python benchmarks/stores.py
	$(BIN)/python benchmarks/crashes.py

# The base install has no torch. The tests install torch, to compare results with it.
$(VENV)/base.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt -e '.[local,office,structured,agents,eval,dedup,serve]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt -e '.[all,dev]'
	@touch $@ $(VENV)/base.stamp

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "llmkit needs Python 3.11 or later; say which with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing: install python3-venv"; rm -rf $(VENV); exit 1; }

benchmarks/.venv/stamp: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/pip install -q -r $<
	@touch $@

benchmarks/.venv/stores.stamp: benchmarks/peers/requirements-stores.txt
	test -x benchmarks/.venv/bin/python || $(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/pip install -q -r $<
	@touch $@

benchmarks/.venv-serving/stamp: benchmarks/peers/requirements-serving.txt
	$(PYTHON) -m venv benchmarks/.venv-serving
	benchmarks/.venv-serving/bin/pip install -q -r $<
	@touch $@

constraints:     ## rewrite constraints.txt from the pins in constraints.in
	$(PYTHON) -m venv .llmkit/pins
	.llmkit/pins/bin/pip install -q -c constraints.in '.[all,dev]'
	( sed -n '/^#/p' constraints.in; .llmkit/pins/bin/pip freeze --exclude llmkit | sed 's/+cpu$$//' ) > constraints.txt
	rm -rf .llmkit/pins

clean:           ## remove everything that make created; models stay
	rm -rf $(VENV) .llmkit build dist benchmarks/.venv benchmarks/.venv-serving
