# make demo   sets everything up and shows what audit does
# make test   sets everything up and runs the quick tests
# make help   lists the rest

PYTHON ?= python3
MUSIC ?=
TORCH_INDEX ?=
FMA ?=
SEED ?=
ROUNDS ?=
FAULTS ?=
KILLS ?=
SOAK ?=
EXAMPLES ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
TORCH_SIZE = on Linux some 3 GB with torch for CUDA, or 400 MB with TORCH_INDEX=https://download.pytorch.org/whl/cpu
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_CLUSTER := $(VENV)/.installed-cluster
INSTALLED_SERVE := $(VENV)/.installed-serve
INSTALLED_TRAIN := $(VENV)/.installed-train
INSTALLED_DOCS := $(VENV)/.installed-docs

NEEDS_CORPUS = @test -d corpus/train -a -d corpus/val -a -d corpus/test || { \
	echo 'corpus/ does not hold the benchmark music. Run: make corpus' >&2; exit 1; }

export MUSIC
# Compiled modules are kept, whatever the environment says: each test process and each `audit` would compile all of them anew.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
		while IFS="$$(printf '\t')" read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done
	@echo
	@echo '  PYTHON=python3.12   the Python that .venv is made with, 3.11 or later'
	@echo '  MUSIC=DIR           a folder of your own music, for make demo'
	@echo '  TORCH_INDEX=URL     a further package index, for CPU builds of torch'
	@echo '  FMA=DIR             a folder with fma_metadata/ and fma_large/ or the like, for make train'
	@echo '  SEED=7              another seed, for make train and make test-faults'
	@echo '  ROUNDS=4            four times as many cases, for make test-faults'
	@echo '  KILLS=1000 SOAK=5000 EXAMPLES=200   more of each, hours, for make test-service'
	@echo '  FAULTS=all          every case, hours, for make test-faults'

$(CREATED):
	@command -v "$(PYTHON)" >/dev/null || { \
		echo 'missing: $(PYTHON). Install Python 3.11 or later (Debian, Ubuntu: apt-get install python3' \
			'python3-venv), or name another one: make PYTHON=python3.12' >&2; exit 1; }
	@"$(PYTHON)" .ci/preflight.py
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): pyproject.toml constraints.txt $(CREATED)
	@echo 'Installing into $(VENV)/. Packages to download: 140 MB'
	$(INSTALL) --editable '.[serve]'
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt $(CREATED)
	@"$(PYTHON)" .ci/preflight.py --compiler
	@echo 'Installing into $(VENV)/, with what tests need. Packages to download: $(TORCH_SIZE)'
	$(INSTALL) --editable '.[annoy,augment,benchmark,dev,faiss,pandas,polars,serve,train,usearch]'
	@touch $(INSTALLED) $@

$(INSTALLED_CLUSTER): $(INSTALLED_DEV)
	$(INSTALL) --editable '.[cluster,cluster-test,s3]'
	@touch $@

$(INSTALLED_SERVE): $(INSTALLED_DEV)
	$(INSTALL) --editable '.[serve-test]'
	@touch $@

$(INSTALLED_TRAIN): $(INSTALLED)
	@echo 'Packages to download: $(TORCH_SIZE)'
	$(INSTALL) --editable '.[serve,train]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(INSTALL) --editable '.[docs]'
	@touch $@

.PHONY: install
install: $(INSTALLED) ## Make .venv and install audit into it

.PHONY: demo
demo: $(INSTALLED) ## Fetch some music, plant altered copies, scan, check, recommend
	@$(BIN)/python benchmarks/demo.py $${MUSIC:+--music "$$MUSIC"}

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: test
test: $(INSTALLED_DEV) ## Run the quick tests on all cores
	$(PYTEST)

.PHONY: coverage
coverage: $(INSTALLED_DEV) ## Run the quick tests, with coverage
	COVERAGE_CORE=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
		$(PYTEST) --cov

.PHONY: test-slow
test-slow: $(INSTALLED_DEV) ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

.PHONY: test-browser
test-browser: $(INSTALLED_DEV) ## Run the tests that need Chromium
	$(BIN)/python -m pytest -m browser

.PHONY: test-cluster
test-cluster: $(INSTALLED_CLUSTER) ## Run the tests on a Ray cluster of three nodes on this machine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster

.PHONY: test-faults
test-faults: $(INSTALLED_DEV) ## Kill, fill disks, mutate files; some 15 minutes on 2 cores
	SEED="$(SEED)" ROUNDS="$(ROUNDS)" FAULTS="$(FAULTS)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
		-m faults --numprocesses 2 --dist worksteal tests/faults

.PHONY: test-service
test-service: $(INSTALLED_SERVE) ## Kill the service and its workers, soak it, send made-up requests; some 15 minutes
	SEED="$(SEED)" KILLS="$(KILLS)" SOAK="$(SOAK)" EXAMPLES="$(EXAMPLES)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
		-m service tests/service

.PHONY: lint
lint: $(INSTALLED_DEV) ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(INSTALLED_DEV) ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(INSTALLED_DOCS) ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: dist
dist: $(INSTALLED_DEV) ## Build wheel and sdist into dist/, and try the wheel in an empty environment
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(BIN)/python .ci/try_wheel.py

.PHONY: corpus
corpus: $(INSTALLED) ## Fetch the benchmark music from Debian packages, some 5 GB
	$(BIN)/python benchmarks/fetch_corpus.py corpus

TRAIN = OMP_NUM_THREADS=1 $(BIN)/audit train \
	$(if $(FMA),$(filter-out %fma_metadata,$(wildcard $(FMA)/fma_*)) --fma $(FMA)/fma_metadata,\
	corpus/train --validation corpus/val --same benchmarks/natural_duplicates.tsv) \
	$(if $(SEED),--seed $(SEED))

.PHONY: train train-music train-excerpt train-genre train-track train-sound
train: train-excerpt train-genre train-track ## Fetch music and train the three extractors, four hours; -j 2: two and a half

train-music: $(INSTALLED_TRAIN) ## Fetch the music that they are trained on
	$(if $(FMA),,$(BIN)/python benchmarks/fetch_corpus.py corpus --role train --role val)

train-excerpt: train-music ## Train the excerpt extractor alone, in two runs
	$(TRAIN) --classes excerpt --name excerpt-first
	$(TRAIN) --classes excerpt --start-from \
		"$$(ls -t runs/excerpt-first/excerpt-first-*.safetensors | head -n 1)"

train-genre: train-music ## Train the genre extractor alone
	$(TRAIN) --classes genre $(if $(FMA),,--genres benchmarks/genres.tsv)

train-track: train-music ## Train the track extractor alone
	$(TRAIN) --classes track

train-sound: $(INSTALLED_DEV) ## Train the model of recommendations, after make corpus; some minutes
	$(NEEDS_CORPUS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sound_training.py corpus

.PHONY: bench
bench: $(INSTALLED_DEV) ## Measure speed, all pairs, the excerpt index, a check, growth; after make corpus
	$(NEEDS_CORPUS)
	$(BIN)/python benchmarks/formats.py corpus/test runs/formats
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed.py runs/formats
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed.py runs/formats --jobs 2 --blocks 1
	$(BIN)/python benchmarks/all_pairs.py 25000 106574 --annoy-up-to 25000 --estimate 1000000
	$(BIN)/python benchmarks/excerpt_index.py corpus/train --hours 300
	$(BIN)/python benchmarks/excerpt_pass.py corpus/train --tracks 8000
	$(BIN)/python benchmarks/check_latency.py runs/excerpt-pass/8000 corpus/val
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/growth.py corpus/train runs/formats

.PHONY: bench-service
bench-service: $(INSTALLED_SERVE) ## Measure the service: seconds to a verdict, files an hour, memory; after make corpus
	$(NEEDS_CORPUS)
	$(BIN)/python benchmarks/excerpt_pass.py corpus/train --tracks 10000 --stretches 8 --asking 20 --output runs/excerpt-pass-240s
	$(BIN)/python benchmarks/service.py latency runs/excerpt-pass-240s/10000 corpus/val
	$(BIN)/python benchmarks/service.py batch runs/excerpt-pass-240s/10000 corpus/val
	$(BIN)/python benchmarks/service.py soak runs/excerpt-pass-240s/10000 corpus/val

.PHONY: bench-cluster
bench-cluster: $(INSTALLED_CLUSTER) ## Measure a scan on Ray beside one on this machine, and simulate 10^8 tracks
	$(NEEDS_CORPUS)
	$(BIN)/python benchmarks/cluster.py speed corpus/test --every 4
	$(BIN)/python benchmarks/cluster.py tiles corpus/test --every 2
	$(BIN)/python benchmarks/cluster.py schedule --workers 1000 4000

FONTS := /usr/share/sounds
TRAIN_FONTS := $(FONTS)/sf2/FluidR3_GM.sf2 $(FONTS)/sf2/TimGM6mb.sf2 $(FONTS)/sf2/OPL-3_FM_128M.sf2
TEST_FONT := $(FONTS)/sf3/MuseScore_General_Lite.sf3

$(VENV)/.installed-scores: $(INSTALLED_DEV)
	$(INSTALL) --editable '.[scores]'
	$(INSTALL) --no-deps tinysoundfont==0.3.7
	@touch $@

.PHONY: scores
scores: $(VENV)/.installed-scores ## Fetch scores and render works with sound fonts, for the composition match
	@ls $(TRAIN_FONTS) $(TEST_FONT) > /dev/null || { \
	echo 'Install the sound fonts: fluid-soundfont-gm timgm6mb-soundfont opl3-soundfont musescore-general-soundfont-small' >&2; exit 1; }
	$(BIN)/python benchmarks/works.py scores
	$(BIN)/python benchmarks/versions.py scores scores/train --train 900 --seed 1 \
	    $(foreach font,$(TRAIN_FONTS),--font $(font))
	$(BIN)/python benchmarks/versions.py scores scores/test --font $(TEST_FONT)

.PHONY: train-pitches
train-pitches: $(VENV)/.installed-scores ## Train the pitch model of the composition match (an hour), after make scores
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/pitch_training.py scores/train runs/pitches

.PHONY: composition-rates
composition-rates: $(VENV)/.installed-scores ## Count the error rates of the composition match, after make scores corpus
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/composition_rates.py scores scores/train --corpus corpus --out thresholds

.PHONY: bench-compositions
bench-compositions: $(VENV)/.installed-scores ## Measure the composition match on works that no training saw, after make scores
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/compositions.py scores scores/test --chroma --out runs/compositions.json

.PHONY: bench-quality
bench-quality: $(INSTALLED_DEV) ## Measure what is found of altered copies, beside other tools
	$(NEEDS_CORPUS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/copies.py corpus --role test --every 2
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quality.py corpus --role test --every 2 --systems ours
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/verdicts.py corpus --role test --every 2 --cross train
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quality.py corpus --role test --every 2
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/unseen.py corpus --role test --every 4
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quality.py corpus --role test --every 8 \
		--systems ours,chromaprint,audfprint,recipe,mfcc --out runs/quality/peers

.PHONY: bench-recommend
bench-recommend: $(INSTALLED_DEV) ## Measure recommendations beside MFCCs, with other albums, and hubness; after make corpus
	$(NEEDS_CORPUS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/recommend.py corpus --role test

.PHONY: bench-wide
bench-wide: $(INSTALLED_DEV) ## Measure audit check --wide, short copies and hard libraries; needs fluidsynth
	$(NEEDS_CORPUS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/wide.py corpus --role test --hosts val
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/wide.py corpus --role val --strangers test --every 6
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/hard.py drums drones
	cp thresholds/excerpt-ece99d6c-match.json runs/wide/
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/lengths.py runs/wide/val/ws runs/wide/excerpt-ece99d6c-match.json

.PHONY: bench-hard
bench-hard: $(VENV)/.installed-scores ## Count false pairs of piano pieces and quartets, after make scores; needs fluidsynth
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/hard.py piano quartets --pieces 300

.PHONY: bench-generated
bench-generated: $(VENV)/.installed-scores ## Measure what is found of outputs whose repeats are known, after make corpus scores
	$(NEEDS_CORPUS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/generated.py splices corpus --role test
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/generated.py model scores
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/generated.py honest scores

.PHONY: sample
sample: $(INSTALLED_DEV) ## Make reports/sample.html and its pictures again; needs Chromium
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/sample_report.py
	$(BIN)/python benchmarks/sample_report.py --pictures docs/pictures

.PHONY: clean
clean: ## Remove caches and what the demo made; .venv and downloaded music stay
	rm -rf build dist site htmlcov .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis
	rm -rf demo/.audit demo/planted demo/new demo/synthetic demo/planted.json
	find auditor benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
