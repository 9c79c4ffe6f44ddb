# Each target makes the environment it needs from the hash lock; nothing is installed by hand.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test check bench migrate lock clean

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY)
	@exec $(BIN)/paiid serve --migrate

migrate: $(READY)
	@$(BIN)/paiid migrate

test: $(READY)
	@$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

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
	@$(BIN)/uv export --quiet --frozen --all-groups --no-emit-project --no-header -o requirements.lock
	@! grep -n 'http' requirements.lock | grep '://'

clean:
	rm -rf $(VENV)
