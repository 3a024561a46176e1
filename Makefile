# make demo   set up what a run needs, run the main job on the built-in demo set, print the report's path
# make test   set up what the tests need besides, run all of them (those on real data need VISUAL_SUMMARIES_DATA)
# make bench  set up, compare the crisp masks' cost with the published algorithm's (needs VISUAL_SUMMARIES_DATA)

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
TESTS_READY := $(VENV)/.ready-for-tests

.PHONY: demo test bench lint clean

demo: $(READY)
	$(VENV)/bin/visual-summaries summarize --config demo.yaml

test: $(TESTS_READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

bench: $(READY)
	$(VENV)/bin/python benchmarks/crisp_masks.py

lint: $(TESTS_READY)
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) runs/demo

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "visual-summaries needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $(READY)

# On top, what the tests alone need: servers to stand in for clouds, a browser's driver, other readers of the tables.
$(TESTS_READY): $(READY)
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $(TESTS_READY)
