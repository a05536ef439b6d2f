# `make demo` draws a picture, `make test` tests; the first call sets up .venv, later ones only when requirements change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CASCADE := $(BIN)/python .   # $(BIN)/cascade names the folder in which it was installed, and this clone may be moved
REQUIREMENTS := pyproject.toml requirements.txt constraints.txt
WORKERS ?= 2

.PHONY: demo app test test-all test-app test-host lint format
.DELETE_ON_ERROR:

# Progress goes to stderr; the picture's path is printed after all of it, alone on the last line.
demo: $(VENV)/.installed
	@picture=$$($(CASCADE) run text_to_image) && echo "$$picture"

# The address is printed when the page is ready; Ctrl-C ends it.
app: $(VENV)/.installed-app
	@$(CASCADE) app

# Each worker begins with a half in the files' order, so that nearly every shared fixture is made once. The tests start
# some hundred commands: where the environment forbids Python to keep what it compiles, each would compile all of ours.
test: $(VENV)/.installed-dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not slow and not host and not browser"

test-all: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -q -m "not host"

# The app in a real browser; chromium and chromedriver must be on the PATH.
test-app: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -q tests/app

# In real ComfyUIs, each named by a pair of paths (CONTRIBUTING.md), and their editors: these need chromium and
# chromedriver on the PATH. A file's tests of a lane stay together, for they share its server.
test-host: $(VENV)/.installed-dev
	@test -n "$$COMFYUI_PATH" -a -n "$$COMFYUI_PYTHON" || \
	 { echo "Set COMFYUI_PATH to a ComfyUI folder and COMFYUI_PYTHON to its Python, or to several of each" >&2; exit 2; }
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope --no-loadscope-reorder -m host

lint: $(VENV)/.installed-dev
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m pyright

format: $(VENV)/.installed-dev
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; name one: make PYTHON=python3.12")'
	@echo "Setting up $(VENV), once; to delete it is to uninstall. On Linux PyTorch comes with CUDA: about 3 GB to" >&2
	@echo "download, 5.8 GB on disk. Without an NVIDIA GPU stop here (Ctrl-C) and take the CPU's, 0.2 and 0.8 GB:" >&2
	@echo "  PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make $(MAKECMDGOALS)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/pip
	@$(PIP) install -c constraints.txt -e ".[canny]" >&2
	@touch $@

$(VENV)/.installed-app: $(REQUIREMENTS) | $(BIN)/pip
	@$(PIP) install -c constraints.txt -e ".[app,canny]" >&2
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(REQUIREMENTS) | $(BIN)/pip
	@$(PIP) install -c constraints.txt -e ".[dev]" >&2
	@touch $@ $(VENV)/.installed $(VENV)/.installed-app
