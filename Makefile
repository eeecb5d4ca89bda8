# Every target sets up .venv by itself when it is missing or older than the files that describe it. What only tests and
# lint need (torchao among it, which warns whoever imports transformers) is added by their targets.
#
# PYTHON  the interpreter that .venv is made from
# TORCH   what pip is asked for first: torch's pin, with any option of pip that chooses another build of it
PYTHON ?= python3
TORCH ?= $(shell grep '^torch==' requirements.txt)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := .venv/.setup-complete
TEST_STAMP := .venv/.test-setup-complete
REQUIREMENTS := requirements.txt launch/requirements-teacher.txt
TEST_REQUIREMENTS := tests/requirements.txt tests/requirements-no-deps.txt

.PHONY: setup quickstart lint unit test test-slow test-multinode test-elastic soak fuzz clean
.DELETE_ON_ERROR:

setup: $(STAMP)

# The stamp comes last, so that an interrupted set-up is taken up again. torch comes first and alone, so that no other
# requirement chooses its build.
$(STAMP): $(REQUIREMENTS) pyproject.toml
	@$(PIP) --version >/dev/null 2>&1 || { \
	    $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	        echo "error: Python 3.11 to 3.13 is needed, and $(PYTHON) is not that; name one that is:" \
	            "make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }; \
	    $(PYTHON) -m venv --clear .venv; }
	$(PIP) install $(TORCH)
	$(PIP) install -r requirements.txt 'setuptools>=77'
	$(PIP) install --no-deps -r launch/requirements-teacher.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# With requirements.txt, so that nothing of it gets another version.
$(TEST_STAMP): $(STAMP) $(TEST_REQUIREMENTS)
	$(PIP) install -r requirements.txt -r tests/requirements.txt
	$(PIP) install --no-deps -r tests/requirements-no-deps.txt
	@touch $@

quickstart: $(STAMP)
	sh launch/quickstart.sh

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy megatinybert

# Two processes, for most tests use one core. In the order of tests/conftest.py, which xdist would change.
unit: $(TEST_STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: lint unit

test-slow: $(TEST_STAMP)
	$(BIN)/python -m pytest -m slow

# On a little cluster of network namespaces, which needs root and some packages: tests/cluster/cluster.sh missing.
# Two processes, each with its own, as some tests mostly wait.
test-multinode: $(TEST_STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -rP -m multinode

test-elastic: $(TEST_STAMP)
	$(BIN)/python -m pytest -s -m slow tests/programs/test_elastic.py

# Half an hour of faults, and some minutes more; see tests/scripts/soak.py.
soak: $(TEST_STAMP)
	$(BIN)/python -m tests.scripts.soak

# Hostile files for FUZZ_SECONDS; not in any other target.
FUZZ_SECONDS ?= 300
fuzz: $(TEST_STAMP)
	$(BIN)/python -m tests.scripts.fuzz $(FUZZ_SECONDS)

# Keeps .venv, data and runs.
clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
