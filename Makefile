# Each target makes the environment it needs from the hash lock; nothing is installed by hand.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check bench migrate lock clean cluster

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY)
	@exec $(BIN)/paiid serve --migrate

cluster: $(READY)
	@exec $(BIN)/python -m cluster $(ARGS)

migrate: $(READY)
	@$(BIN)/paiid migrate

# A thread of linear algebra for each core in each process would be in everybody's way.
test: $(READY)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 5 --dist worksteal $(ARGS)

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry src

bench: $(READY)
	@$(BIN)/python -m bench $(ARGS)

lock: $(READY)
	@$(BIN)/uv lock --quiet
	@$(BIN)/uv export --quiet --frozen --all-groups --all-extras --no-emit-project --no-header -o requirements.lock
	@$(BIN)/uv export --quiet --frozen --no-default-groups --extra otel --no-emit-project --no-header -o requirements-runtime.lock
	@! grep -n 'http' requirements.lock requirements-runtime.lock | grep '://'

clean:
	rm -rf $(VENV)
