# The commands of this project; the same run in CI. `make help` lists them.
TORCH ?= torch==2.13.0
PYTHON ?= python3
BIN := .venv/bin
# Python compiles what is imported, which is a small part of what is installed.
PIP := -q --disable-pip-version-check --no-compile
# Tests start many processes: what one of them has compiled the others load, wherever the machine says otherwise.
unexport PYTHONDONTWRITEBYTECODE
# Two cores do two things at once: packages come while Chromium does, and tests are compiled while the page is built.
MAKEFLAGS += -j2
RULES := tests/test_house.py tests/house tests/web/test_node.py

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: pyproject.toml hatch_build.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(PIP) "$(TORCH)"
	DIORAMA_SKIP_PAGE=1 $(BIN)/python -m pip install $(PIP) -e ".[test]"
	@touch $@

page: .venv/installed ## build the page, where its sources changed
	$(BIN)/python hatch_build.py

# Workers load what one process has compiled, with the assertions in it that pytest writes anew.
.venv/compiled: .venv/installed
	@$(BIN)/python -m pytest --collect-only -qq >$@ || { cat $@; rm $@; exit 1; }

demo: page ## train a CNN on handwritten digits live and open the page on it
	$(BIN)/python -m diorama demo

browser:
	@sh tests/install_browser.sh

check: page ## lint, types of both languages, and the rules of the house
	$(BIN)/ruff check src tests bench examples hatch_build.py
	$(BIN)/python -m pytest $(RULES)

test: browser page .venv/compiled ## everything that must hold, `make check` too
	$(BIN)/ruff check src tests bench examples hatch_build.py
	$(BIN)/python -m pytest -n 3 --dist worksteal

sweep: browser page ## many more generated runs and networks than `make test` draws
	DIORAMA_SWEEP=1000 $(BIN)/python -m pytest -n 2 tests/faults/test_hostile_runs.py tests/laws/test_drawn_models.py tests/laws/test_drawn_surgery.py tests/laws/test_healthy_trainings.py \
		tests/laws/test_views.py tests/trained tests/unit/record

bench: page ## ratios against the limits and the peers
	$(BIN)/python -m pip install $(PIP) -e ".[bench]"
	$(BIN)/python -m bench

docs: page ## make the reference pages and the pictures of the README from the code
	$(BIN)/python docs/make.py

clean: ## remove what was built
	rm -rf .venv src/diorama/static web/node_modules

.PHONY: help page demo browser check test sweep bench docs clean
