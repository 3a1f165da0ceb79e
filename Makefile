# Backfill. `make demo` runs everything once on real clips; `make help` lists all targets.
PYTHON ?= python3
comma := ,
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?=
OUT ?= data/train
NPROC ?= 1
# What a user passes reaches the shell through the environment as it is: spaces do not split it, and $$(...) does not run.
PASSED := VIDEO OUT CHECKPOINT JOBS DATA DEST SRC PREFIX MODEL_TYPE WORKERS MODEL_DIR PORT EXCLUDE LAYOUT METHOD DIVERGENCE DEPTH HOURS IW3 NAME \
	TEXTURES PAIRS BASELINES CHECKPOINTS CASES PARTS CLIPS SEED SIZE WARP SPLIT SCENES MINUTES NPROC SWEEP MODULES QUICK CONFIDENCE
$(foreach name,$(PASSED),$(if $(filter command environment,$(firstword $(origin $(name)))),$(eval override $(name) := $$(value $(name)))))
# what begins with a dash would be read as an option
$(foreach name,VIDEO OUT JOBS DATA DEPTH,$(if $(filter -%,$(firstword $($(name)))),$(eval override $(name) := ./$$($(name)))))
export $(PASSED)
# VIDEO is one file, a glob, or several of them with spaces between
VIDEO_WORDS = if [ -e "$$VIDEO" ]; then set -- "$$VIDEO"; else IFS=; set -- $$VIDEO; unset IFS; \
	[ -e "$$1" ] || { set -f; set -- $$VIDEO; }; fi;
# a machine without a network has its packages already: in .venv, or where its own Python finds them
GPU_PYTHON := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
STAMPS := $(patsubst %,$(VENV)/%.installed,core $(subst $(comma), ,$(EXTRAS)))

.PHONY: help setup demo test test-quick test-hard test-mutants lint shards truth train sweep push pull verify peek inspect evaluate evaluate-stereo arena stereo film install-iw3 bench gpu clean-demo
.DELETE_ON_ERROR:
.DEFAULT:
	@echo "error: there is no target $@: make help lists all, and the files in requirements/ are what EXTRAS= takes"; exit 2

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 25

setup: $(STAMPS) ## create .venv with the packages that packing and training need (EXTRAS=depth adds depth models)

$(BIN)/python:
	@test -w . || { echo "error: no file can be written to $(CURDIR): clone the repository into a folder of yours"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is missing or older than 3.11: install Python, or run make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot create virtual environments: run sudo apt-get install python3-venv"; exit 2; }

$(VENV)/core.installed: requirements.txt | $(BIN)/python
	@echo "installing the packages of $< into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/%.installed: requirements/%.txt $(VENV)/core.installed
	@echo "installing the packages of $< into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/clips.installed: tools/clips.py $(VENV)/core.installed
	$(BIN)/python tools/clips.py
	@touch $@

# Chromium is not a Python package: the tests of `make inspect` need it from the system
$(VENV)/browser.installed: | $(BIN)/python
	@if ! { command -v chromedriver && { command -v chromium || command -v google-chrome; }; } >/dev/null; then \
		echo "installing Chromium for the browser tests (output in $(VENV)/chromium.log)"; \
		root=; test "$$(id -u)" = 0 || root="sudo -n"; \
		{ $$root apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive $$root apt-get install -y -qq --no-install-recommends chromium chromium-driver; \
		} >$(VENV)/chromium.log 2>&1 || { cat $(VENV)/chromium.log >&2; \
		echo "error: the browser tests need Chromium: run sudo apt-get install chromium chromium-driver" >&2; exit 2; }; \
	fi
	@touch $@

demo: setup $(VENV)/clips.installed ## pack real clips, train, evaluate and save pictures under demo/, in minutes
	$(BIN)/python tools/demo.py

test: $(VENV)/core.installed $(VENV)/test.installed $(VENV)/clips.installed $(VENV)/browser.installed ## run all tests (installs Chromium for the browser tests if there is none)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --max-worker-restart 2

test-quick: $(VENV)/core.installed $(VENV)/test.installed $(VENV)/clips.installed ## run the tests without the slow ones, in about two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile --max-worker-restart 2

test-hard: $(VENV)/core.installed $(VENV)/test.installed ## run long kill and fault tests, and print their figures
	$(BIN)/python tests/support/long_checks.py

test-mutants: $(VENV)/core.installed $(VENV)/test.installed ## change the code in small ways and list what no test notices: [MODULES=train/data/crop.py]
	@set -x; exec $(BIN)/python -m tests.support.mutation $$MODULES

lint: $(VENV)/core.installed $(VENV)/test.installed ## check code style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

shards: setup ## pack a video: VIDEO=clip.mp4 [OUT=data/train] [DEPTH=dir] [PREFIX=name] [MODEL_TYPE=Any_V2_S] [WORKERS=N] [ARGS=...]; or JOBS=jobs.toml
ifdef JOBS
	@set -x; exec $(BIN)/python pack/jobs.py --jobs "$$JOBS" -o "$${DATA:-data}" $(if $(WORKERS),--workers "$$WORKERS") $(ARGS)
else
	@test -n "$$VIDEO$$DEPTH" || { echo 'error: VIDEO is missing: run make shards VIDEO=clip.mp4, or make shards JOBS=jobs.toml'; exit 2; }
	@$(VIDEO_WORDS) set -x; exec $(BIN)/python pack/main.py $(if $(VIDEO),--video "$$@") -o "$$OUT" $(if $(DEPTH),--depth "$$DEPTH") $(if $(PREFIX),--prefix "$$PREFIX") \
		$(if $(MODEL_TYPE),--model-type "$$MODEL_TYPE") $(if $(WORKERS),--max-workers "$$WORKERS") $(ARGS)
endif

truth: setup $(VENV)/clips.installed ## render scenes with both eyes known and write records: [OUT=data/truth] [CLIPS=500] [TEXTURES="a.mp4 b.mp4"] [SEED=0] [SIZE=512] [WARP=forward|monobw|mix]
	@set -x; exec $(BIN)/python tools/truth -o $(if $(filter file,$(origin OUT)),data/truth,"$$OUT") $(if $(CLIPS),--clips "$$CLIPS") \
		$(if $(TEXTURES),--textures $$TEXTURES) $(if $(SEED),--seed "$$SEED") $(if $(SIZE),--size "$$SIZE") \
		$(if $(WARP),--warp "$$WARP") $(if $(WORKERS),--workers "$$WORKERS") $(ARGS)

train: setup ## train on data/ (NPROC=2 processes, ARGS="--resume ...")
	@set -x; exec $(BIN)/torchrun --standalone --nproc-per-node "$$NPROC" train/main.py $(ARGS)

sweep: setup $(VENV)/baselines.installed ## train networks with different settings and compare them: SWEEP=sweep.toml [ARGS=--dry-run]
	@set -x; exec $(BIN)/python tools/sweep --sweep "$${SWEEP:-sweep.toml}" $(ARGS)

push: $(VENV)/s3.installed ## copy shards to an object store, only those it lacks: DEST=s3://bucket/prefix [SPLIT=train] [DATA=data] [ARGS="--delete"]
	@test -n "$$DEST" || { echo 'error: DEST is missing: run make push DEST=s3://bucket/prefix'; exit 2; }
	@set -x; exec $(BIN)/python tools/transfer.py -i "$${DATA:-data}" -o "$$DEST" $(if $(SPLIT),--split "$$SPLIT") $(ARGS)

pull: $(VENV)/s3.installed ## copy shards from an object store, only those missing here: SRC=s3://bucket/prefix [SPLIT=train] [DATA=data]
	@test -n "$$SRC" || { echo 'error: SRC is missing: run make pull SRC=s3://bucket/prefix'; exit 2; }
	@set -x; exec $(BIN)/python tools/transfer.py -i "$$SRC" -o "$${DATA:-data}" $(if $(SPLIT),--split "$$SPLIT") $(ARGS)

verify: setup ## check every tar of a split against its index: [DATA=data/train]
	@set -x; exec $(BIN)/python tools/verify.py -i "$${DATA:-data/train}" $(ARGS)

peek: setup ## save a contact sheet of records as peek.png: [DATA=data/train]
	@set -x; exec $(BIN)/python tools/peek.py -i "$${DATA:-data/train}" $(ARGS)

inspect: setup $(VENV)/inspect.installed ## play records in the browser, exclude bad ones: [DATA=data/train] [MODEL_DIR=models/...] [PORT=8760] [EXCLUDE=list.txt]
	@set -x; exec $(BIN)/python tools/browse.py -i "$${DATA:-data/train}" $(if $(MODEL_DIR),--model-dir "$$MODEL_DIR") \
		$(if $(PORT),--port "$$PORT") $(if $(EXCLUDE),--exclude "$$EXCLUDE") $(ARGS)

evaluate: setup $(VENV)/baselines.installed ## compare networks with simple fills: CHECKPOINT="a.pth b.pth" [DATA=data/eval] [OUT=evaluation] [BASELINES=all]
	@set -x; exec $(BIN)/python tools/evaluate.py -i "$${DATA:-data/eval}" $(if $(CHECKPOINT),--checkpoint $$CHECKPOINT) \
		-o $(if $(filter file,$(origin OUT)),evaluation,"$$OUT") $(if $(BASELINES),--baselines $$BASELINES) $(ARGS)

evaluate-stereo: setup $(VENV)/baselines.installed $(VENV)/clips.installed ## compare generated right eyes with the true ones of rendered scenes or of files: CHECKPOINT="a.pth base" [SCENES=40] [TEXTURES="a.mp4 films"] [PAIRS=dir] [DEPTH="exact degraded Motion"] [OUT=evaluation-stereo]
	@set -x; exec $(BIN)/python tools/stereo_truth $(if $(CHECKPOINT),--checkpoint $$CHECKPOINT) $(if $(SCENES),--scenes "$$SCENES") \
		$(if $(TEXTURES),--textures $$TEXTURES) $(if $(PAIRS),--pairs $$PAIRS) $(if $(DEPTH),--depth $$DEPTH) $(if $(WARP),--warp $$WARP) \
		-o $(if $(filter file,$(origin OUT)),evaluation-stereo,"$$OUT") $(if $(BASELINES),--baselines $$BASELINES) $(ARGS)

arena: setup $(VENV)/baselines.installed $(VENV)/clips.installed ## rank networks on ordinary splits and on rendered truth: CHECKPOINTS="a.pth base" [DATA="data/eval"] [SCENES=20] [TEXTURES="a.mp4 films"] [QUICK=1] [OUT=arena]
	@test -n "$$CHECKPOINTS" || { echo 'error: CHECKPOINTS is missing: run make arena CHECKPOINTS="a.pth base"'; exit 2; }
	@set -x; exec $(BIN)/python tools/arena --checkpoints $$CHECKPOINTS $(if $(DATA),--data $$DATA) $(if $(SCENES),--scenes "$$SCENES") \
		$(if $(TEXTURES),--textures $$TEXTURES) $(if $(BASELINES),--baselines $$BASELINES) $(if $(QUICK),--quick) \
		-o $(if $(filter file,$(origin OUT)),arena,"$$OUT") $(ARGS)

stereo: setup ## convert a film to stereo: VIDEO=clip.mp4 [DEPTH=dir] [CHECKPOINT=a.pth] [OUT=x.mp4] [DIVERGENCE=2.5] [LAYOUT=sbs|half-sbs|tab|half-tab|anaglyph|right] [METHOD=forward|mlbw|monobw]
	@test -n "$$VIDEO$$DEPTH" || { echo 'error: VIDEO is missing: run make stereo VIDEO=clip.mp4'; exit 2; }
	@set -x; exec $(BIN)/python tools/stereo.py $(if $(VIDEO),--video "$$VIDEO") $(if $(DEPTH),--depth "$$DEPTH") $(if $(CHECKPOINT),--checkpoint "$$CHECKPOINT") \
		$(if $(filter file,$(origin OUT)),,-o "$$OUT") $(if $(DIVERGENCE),--divergence "$$DIVERGENCE") \
		$(if $(LAYOUT),--layout "$$LAYOUT") $(if $(METHOD),--method "$$METHOD") $(if $(MODEL_TYPE),--model-type "$$MODEL_TYPE") $(ARGS)

film: setup $(VENV)/baselines.installed ## convert one film with a network tuned to it, and certify the gain: VIDEO=film.mkv [DEPTH=dir] [MODEL_TYPE=Any_V2_S] [METHOD=forward] [DIVERGENCE=2.5] [HOURS=1] [CHECKPOINT=base] [CONFIDENCE=1] [OUT=film_LR.mkv] [ARGS=--dry-run]
	@test -n "$$VIDEO$$DEPTH" || { echo 'error: VIDEO is missing: run make film VIDEO=film.mkv'; exit 2; }
	@set -x; exec $(BIN)/python tools/film $(if $(VIDEO),--video "$$VIDEO") $(if $(DEPTH),--depth "$$DEPTH") $(if $(MODEL_TYPE),--model-type "$$MODEL_TYPE") \
		$(if $(METHOD),--method "$$METHOD") $(if $(DIVERGENCE),--divergence "$$DIVERGENCE") $(if $(HOURS),--hours "$$HOURS") \
		$(if $(CHECKPOINT),--checkpoint "$$CHECKPOINT") $(if $(CONFIDENCE),--confidence) $(if $(LAYOUT),--layout "$$LAYOUT") \
		$(if $(filter file,$(origin OUT)),,-o "$$OUT") $(ARGS)

install-iw3: setup ## install a network in iw3: IW3=path/to/nunif [NAME=backfill] [CHECKPOINT=base]; ARGS=--remove undoes it
	@test -n "$$IW3" || { echo 'error: IW3 is missing: run make install-iw3 IW3=path/to/nunif'; exit 2; }
	@set -x; exec $(BIN)/python tools/installing --iw3 "$$IW3" $(if $(NAME),--name "$$NAME") $(if $(CHECKPOINT),--checkpoint "$$CHECKPOINT") $(ARGS)

bench: $(VENV)/core.installed $(VENV)/test.installed $(VENV)/clips.installed ## measure speed against plain references: [CASES="holes sample"] [ARGS="--rounds 3"]
	@set -x; exec $(BIN)/python tools/bench.py $(if $(CASES),--cases $$CASES) $(ARGS)

gpu: ## check, measure and train on one GPU in minutes, without a network: [MINUTES=8] [OUT=gpu] [PARTS="a b c d"] [DATA=data] [VIDEO="a.mp4 b.mp4"]
	@set -x; exec $(GPU_PYTHON) tools/gpu --minutes "$${MINUTES:-8}" -o $(if $(filter file,$(origin OUT)),gpu,"$$OUT") \
		$(if $(PARTS),--parts $$PARTS) $(if $(DATA),-i "$$DATA") $(if $(VIDEO),--videos $$VIDEO) $(ARGS)

clean-demo: ## delete demo/
	rm -rf demo
