# make demo   set up, run the main job on the built-in demo set, print the report's path
# make test   set up, run all tests (those on real data need VISUAL_SUMMARIES_DATA)
# make bench  set up, compare the crisp masks' cost with the published algorithm's (needs VISUAL_SUMMARIES_DATA)

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready

.PHONY: demo test bench lint clean

demo: $(READY)
	$(VENV)/bin/visual-summaries summarize --config demo.yaml

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

bench: $(READY)
	$(VENV)/bin/python benchmarks/crisp_masks.py

lint: $(READY)
	$(VENV)/bin/ruff check .

clean:
	rm -rf $(VENV) runs/demo

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "visual-summaries needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet --editable '.[test]'
	touch $(READY)
