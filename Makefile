# make demo   set up what a run needs, run the main job on the built-in demo set, print the report's path
# make test   set up what the tests need besides, run all of them (those on real data need VISUAL_SUMMARIES_DATA)
# make docs   build the documentation as a site, site/index.html; a broken link fails
# make bench  set up, compare the crisp masks' cost with the published algorithm's (needs VISUAL_SUMMARIES_DATA)

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
TESTS_READY := $(VENV)/.ready-for-tests
DOCS_READY := $(VENV)/.ready-for-docs

.PHONY: demo test docs bench lint clean

demo: $(READY)
	$(VENV)/bin/visual-summaries summarize --config demo.yaml

test: $(TESTS_READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Not --quiet: it would hide the warnings by which a broken link fails. The variable silences a notice of its authors.
docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build
	@echo site/index.html

bench: $(READY)
	$(VENV)/bin/python benchmarks/crisp_masks.py

lint: $(TESTS_READY)
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) runs/demo site

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "visual-summaries needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	@echo "Installing what a run needs, 6.5 GB on Linux. This takes some minutes and prints nothing meanwhile."
	PYTHONWARNINGS=ignore $(VENV)/bin/python -m pip install --quiet --editable .
	touch $(READY)

# On top, what the tests alone need: servers to stand in for clouds, a browser's driver, other readers of the tables.
$(TESTS_READY): $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $(TESTS_READY)

$(DOCS_READY): $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $(DOCS_READY)
