# Two commands matter: `make lab` opens the course, `make test` runs every test that this machine can run.
# Everything is set up in .venv with pip; nothing else is needed but Python 3.11 or newer.

PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check
RUN = .venv/bin/python -m

.PHONY: lab test demo bench lint clean

# Root may want the notebooks too: only root can build the kernel's NATs.
lab: .venv/ready-lab
	$(RUN) jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00-the-story.ipynb

test: .venv/ready-dev
	$(RUN) pytest $(PYTEST)

demo: .venv/ready
	$(RUN) natsim.cli demo linux linux

# Figures of this machine, and nothing that could fail: no test depends on them.
bench: .venv/ready-dev
	.venv/bin/python tests/bench

lint: .venv/ready-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "punchkit needs Python 3.11 or newer; say which one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/ready: .venv/bin/python pyproject.toml
	$(PIP) install -q -e .
	@touch $@

.venv/ready-lab: .venv/bin/python pyproject.toml
	$(PIP) install -q -e '.[lab]'
	@touch $@ .venv/ready

.venv/ready-dev: .venv/bin/python pyproject.toml
	$(PIP) install -q -e '.[dev]'
	@touch $@ .venv/ready .venv/ready-lab
