# Backfill. `make demo` shows the whole way once; `make help` lists the rest.
PYTHON ?= python3
comma := ,
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?=
OUT ?= data/train
NPROC ?= 1
STAMPS := $(patsubst %,$(VENV)/%.installed,core $(subst $(comma), ,$(EXTRAS)))

.PHONY: help setup demo test test-hard lint shards train push pull verify peek inspect evaluate stereo bench clean-demo
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(STAMPS) ## a virtual environment with what is needed (EXTRAS=depth adds depth models)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is missing or older than 3.11: install it, or say make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make virtual environments: sudo apt-get install python3-venv"; exit 2; }

$(VENV)/core.installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/%.installed: requirements/%.txt $(VENV)/core.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/clips.installed: tools/clips.py $(VENV)/core.installed
	$(BIN)/python tools/clips.py
	@touch $@

# Chromium is no Python package: tests of the page need it from the system
$(VENV)/browser.installed: | $(BIN)/python
	@if ! { command -v chromedriver && { command -v chromium || command -v google-chrome; }; } >/dev/null; then \
		root=; test "$$(id -u)" = 0 || root="sudo -n"; \
		{ $$root apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive $$root apt-get install -y -qq --no-install-recommends chromium chromium-driver; } || \
		{ echo "error: the tests of make inspect need a browser: install chromium and chromedriver"; exit 2; }; \
	fi >&2
	@touch $@

demo: setup $(VENV)/clips.installed ## real clips become shards, a trained network and pictures, in minutes, under demo/
	$(BIN)/python tools/demo.py

test: $(VENV)/core.installed $(VENV)/test.installed $(VENV)/clips.installed $(VENV)/browser.installed ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --max-worker-restart 2

test-hard: $(VENV)/core.installed $(VENV)/test.installed ## the long forms of kills and faults, with their figures
	$(BIN)/python tests/support/long_checks.py

lint: $(VENV)/core.installed $(VENV)/test.installed ## lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

shards: setup ## VIDEO=clip.mp4 [OUT=data/train] [PREFIX=name] [MODEL_TYPE=Any_V2_S] [WORKERS=N] [ARGS=...], or JOBS=jobs.toml
ifdef JOBS
	$(BIN)/python pack/jobs.py --jobs $(JOBS) -o $(or $(DATA),data) $(if $(WORKERS),--workers $(WORKERS)) $(ARGS)
else
	@test -n "$(VIDEO)" || { echo 'error: say which: make shards VIDEO=clip.mp4, or JOBS=jobs.toml'; exit 2; }
	$(BIN)/python pack/main.py --video $(VIDEO) -o $(OUT) $(if $(PREFIX),--prefix $(PREFIX)) \
		$(if $(MODEL_TYPE),--model-type $(MODEL_TYPE)) $(if $(WORKERS),--max-workers $(WORKERS)) $(ARGS)
endif

train: setup ## train on data/ (NPROC=2 processes, ARGS="--resume ...")
	$(BIN)/torchrun --standalone --nproc-per-node $(NPROC) train/main.py $(ARGS)

push: $(VENV)/s3.installed ## DEST=s3://bucket/prefix [SPLIT=train] [DATA=data] [ARGS="--delete"]: what is not there yet
	@test -n "$(DEST)" || { echo 'error: say where: make push DEST=s3://bucket/prefix'; exit 2; }
	$(BIN)/python tools/transfer.py -i $(or $(DATA),data) -o $(DEST) $(if $(SPLIT),--split $(SPLIT)) $(ARGS)

pull: $(VENV)/s3.installed ## SRC=s3://bucket/prefix [SPLIT=train] [DATA=data]: what is not here yet
	@test -n "$(SRC)" || { echo 'error: say from where: make pull SRC=s3://bucket/prefix'; exit 2; }
	$(BIN)/python tools/transfer.py -i $(SRC) -o $(or $(DATA),data) $(if $(SPLIT),--split $(SPLIT)) $(ARGS)

verify: setup ## every tar of DATA=data against its index
	$(BIN)/python tools/verify.py -i $(or $(DATA),data/train) $(ARGS)

peek: setup ## a contact sheet of DATA=data/train
	$(BIN)/python tools/peek.py -i $(or $(DATA),data/train) $(ARGS)

inspect: setup $(VENV)/inspect.installed ## DATA=data/train [MODEL_DIR=models/...] [PORT=8760] [EXCLUDE=list.txt]: a page that plays records and excludes bad ones
	$(BIN)/python tools/browse.py -i $(or $(DATA),data/train) $(if $(MODEL_DIR),--model-dir $(MODEL_DIR)) \
		$(if $(PORT),--port $(PORT)) $(if $(EXCLUDE),--exclude $(EXCLUDE)) $(ARGS)

evaluate: setup $(VENV)/baselines.installed ## CHECKPOINT="a.pth b.pth" [DATA=data/eval] [OUT=evaluation] [BASELINES=all]: report.html, metrics.json
	$(BIN)/python tools/evaluate.py -i $(or $(DATA),data/eval) $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) \
		-o $(if $(filter file,$(origin OUT)),evaluation,$(OUT)) $(if $(BASELINES),--baselines $(BASELINES)) $(ARGS)

stereo: setup ## VIDEO=clip.mp4 [CHECKPOINT=a.pth] [OUT=x.mp4] [DIVERGENCE=2.5] [LAYOUT=sbs|half-sbs|anaglyph|right]
	@test -n "$(VIDEO)" || { echo 'error: say which: make stereo VIDEO=clip.mp4'; exit 2; }
	$(BIN)/python tools/stereo.py --video "$(VIDEO)" $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT)) \
		$(if $(filter file,$(origin OUT)),,-o "$(OUT)") $(if $(DIVERGENCE),--divergence $(DIVERGENCE)) \
		$(if $(LAYOUT),--layout $(LAYOUT)) $(if $(MODEL_TYPE),--model-type $(MODEL_TYPE)) $(ARGS)

bench: $(VENV)/core.installed $(VENV)/test.installed $(VENV)/clips.installed ## [CASES="holes sample"] [ARGS="--rounds 3"]: how fast, beside plain references
	$(BIN)/python tools/bench.py $(if $(CASES),--cases $(CASES)) $(ARGS)

clean-demo: ## forget what make demo made
	rm -rf demo
