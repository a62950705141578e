# The first run of any target makes .venv; nothing is installed outside it.
PYTHON ?= python3
BIN := .venv/bin
STUDY ?= focal_tversky
# Few epochs want a rate that falls on time, and whichever precision is fastest here.
DEMO := scale=demo scheduler=onecycle trainer.precision=auto
PAGES := README.md $(wildcard experiments/*/README.md)

.PHONY: demo test test-slow lint report studies benchmark clean

demo: .venv/installed  ## train, test and draw the focal_tversky study on a little synthetic data
	$(BIN)/python -m birdlab.train +experiment=$(STUDY) $(DEMO)

test: .venv/dev  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" -n 2

test-slow: .venv/dev  ## whole trainings, and the real recordings where they are
	$(BIN)/python -m pytest -m slow -n 2

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m birdlab.reporting.refresh --check $(PAGES)

report: .venv/installed  ## the tables in the README files, anew from the committed CSV files
	$(BIN)/python -m birdlab.reporting.refresh $(PAGES)

studies: .venv/installed  ## the committed full-scale studies; hours
	$(BIN)/python -m birdlab.train -m +experiment=focal_tversky seed=0,1,2

benchmark: .venv/dev
	$(BIN)/python experiments/training_speed/training_step.py
	$(BIN)/python experiments/training_speed/data_loading.py main
	$(BIN)/python experiments/training_speed/species_loading.py
	$(BIN)/python experiments/training_speed/networks.py

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

.venv/installed: pyproject.toml
	@echo "Installing birdlab and what it needs into .venv: some minutes, about 6 GB with PyTorch's CUDA build"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/dev: .venv/installed
	@echo "Installing what the tests need"
	@$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@
