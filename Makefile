# Only Python ≥ 3.11 and make are needed; everything else is installed into .venv.
PYTHON ?= python3
RUN = .venv/bin/python
COMPILE = $(RUN) -m piptools compile --quiet --strip-extras --allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.PHONY: demo report notebooks notebooks-in-place test test-slurm test-page test-llm test-kill lint requirements

demo: .venv/installed  ## the effect in a few minutes: results/demo/
	$(RUN) main.py

report: .venv/installed  ## the paper's figures and tables, from the results that come with the program: report/index.html
	$(RUN) -m analysis.report results/paper

notebooks: .venv/installed  ## run all notebooks on the results that come with the program, and leave those that are committed as they are
	@folder=$$(mktemp -d); $(RUN) -m jupyter nbconvert --log-level ERROR --to notebook --execute --output-dir $$folder notebooks/*.ipynb; \
	status=$$?; rm -r $$folder; exit $$status

notebooks-in-place: .venv/installed  ## run them and keep what they show
	$(RUN) -m jupyter nbconvert --log-level ERROR --to notebook --execute --inplace notebooks/*.ipynb

test: .venv/installed-test  ## the whole test suite
	$(RUN) -m pytest

test-slurm: .venv/installed-test  ## the scripts on a real SLURM of one node; as root, on Debian
	@if tests/slurm/install.sh; then $(RUN) -m pytest --override-ini addopts= -q --durations=5 tests/slurm; \
	elif [ -n "$$REQUIRE_SLURM" ]; then echo "NO SLURM, and REQUIRE_SLURM is set" >&2; exit 1; \
	else echo "NO SLURM: THE SCRIPTS WERE NOT TESTED" >&2; fi

test-page: .venv/installed-test  ## the report's page in Chromium, by axe-core; as root, on Debian
	@if tests/install.sh "chromium fonts-dejavu-core" chromium && $(RUN) tests/page/axe.py; then $(RUN) -m pytest --override-ini addopts= -q tests/page; \
	elif [ -n "$$REQUIRE_PAGE" ]; then echo "NO CHROMIUM OR NO AXE-CORE, and REQUIRE_PAGE is set" >&2; exit 1; \
	else echo "NO CHROMIUM OR NO AXE-CORE: THE PAGE WAS NOT LOOKED AT" >&2; fi

test-llm: .venv/installed-test  ## a real pretrained model from a file, a folder and llama.cpp's server; servers that fail (downloads 200 MB once)
	@if tests/pretrained/install.sh; then tests/pretrained/.venv/bin/python -m pytest --override-ini addopts= -q --durations=5 tests/pretrained; \
	elif [ -n "$$REQUIRE_LLM" ]; then echo "NO PRETRAINED MODEL, and REQUIRE_LLM is set" >&2; exit 1; \
	else echo "NO PRETRAINED MODEL COULD BE HAD: NONE WAS ASKED" >&2; fi

test-kill: .venv/installed-test  ## kills a job dozens of times in each phase
	$(RUN) -m pytest --override-ini addopts= -q -s tests/kill

lint: .venv/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-test: .venv/installed requirements-test.txt
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-test.txt
	@touch $@

requirements: .venv/installed  ## compile requirements.txt, requirements-test.txt and requirements-llm.txt anew, each from its .in
	$(RUN) -m pip install --quiet pip-tools
	$(COMPILE) --upgrade --output-file requirements.txt requirements.in
	sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements.txt  # the same pin serves machines with a GPU
	$(COMPILE) --upgrade --output-file requirements-test.txt requirements-test.in
	$(COMPILE) --output-file requirements-llm.txt requirements-llm.in
