# make run: Fashion-MNIST from raw IDX to a trained classifier. make test: every check.
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.13,$(shell command -v python$(v) 2>/dev/null)) python3)
BIN := .venv/bin
DATA ?= data
# Bytecode is kept, as by default: without it, each start of TensorFlow and Beam takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run test bench cluster lock clean backends

install: .venv/.installed

# Made anew when the lock file or the metadata is newer than the last installation.
.venv/.installed: requirements.lock setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "recordmill needs Python 3.11 to 3.13, found %s at %s; set PYTHON=" % (sys.version.split()[0], sys.executable))'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: install
	$(BIN)/recordmill fetch fashion-mnist --to $(DATA)/raw/fashion-mnist
	$(BIN)/recordmill run --input $(DATA)/raw/fashion-mnist --output $(DATA)/tfrecord --model_dir $(DATA)/model
	$(BIN)/recordmill report $(DATA)/tfrecord --model_dir $(DATA)/model --to $(DATA)/report.html

test: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2

# JAX, PyTorch and Grain without TensorFlow, for the slow tests of train/ on them (6 GB).
backends: .venv-backends/.installed

.venv-backends/.installed: backends.lock setup.py | install
	.venv/bin/python -m venv --without-pip .venv-backends
	$(BIN)/uv pip sync --quiet --python .venv-backends/bin/python backends.lock
	$(BIN)/uv pip install --quiet --python .venv-backends/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

bench: install
	for b in tests/bench/bench_*.py; do $(BIN)/python $$b || exit 1; done

# Two workers on this machine: make cluster ENGINE=flink (or spark); ACTION=down ends it.
cluster: install
	$(BIN)/python -m launch.cluster $(or $(ENGINE),flink) $(or $(ACTION),up)

lock: install
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra gcp --no-emit-index-url --no-header --no-annotate setup.py requirements.in --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --constraint requirements.lock backends.in --output-file backends.lock

clean:
	rm -rf .venv .venv-backends build *.egg-info
