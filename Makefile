# Everything that one does with strayd from its source tree. What is downloaded goes to .local/, which git ignores.

SHELL := bash
CARGO ?= cargo
DOCKER ?= docker
CONFIG ?= config/strayd.yaml
ARGS ?=

# DEVICE=cuda takes ONNX Runtime's build for NVIDIA GPUs; CUDA_LIBRARIES=yes fetches NVIDIA's own libraries with it.
DEVICE ?= cpu
CUDA_LIBRARIES ?= no

# Where the program and its tests look for ONNX Runtime first; `make fetch-onnxruntime` puts it there.
export ORT_DYLIB_PATH ?= $(CURDIR)/.local/onnxruntime$(if $(filter cuda,$(DEVICE)),-cuda)/lib/libonnxruntime.so

.DEFAULT_GOAL := help
.PHONY: help demo run build test check bench bench-train parity quality soak fuzz docs deps fetch-onnxruntime onnxruntime image prove-image test-tools clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Show strayd on shipped data, with no Kafka (ARGS="--data mentions --json --keep-running")
	@$(CARGO) run --quiet --locked --release -- demo $(ARGS)

run: build ## Run the daemon (CONFIG=config/strayd.yaml, more in ARGS)
	@$(CARGO) run --quiet --locked --release -- run --config $(CONFIG) $(ARGS)

build: deps fetch-onnxruntime ## Build the release binary
	@$(CARGO) build --locked --release

test: deps fetch-onnxruntime ## Run all tests (one of them: ARGS="--test boundaries"; REQUIRE_ALL=1: skip none)
	@status=0; CARGO=$(CARGO) scripts/run-tests $(ARGS) || status=$$?; \
	scripts/report-left-out || status=1; exit $$status

check: deps ## Check format, lints, documentation, licences and scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --all-features
	scripts/check-licences
	scripts/check-scripts

bench: deps fetch-onnxruntime test-tools ## Run the benchmarks and print one table (one of them: ARGS="--bench training")
	@scripts/bench-tools
	@rm -f .local/bench-rows
	@$(CARGO) bench --locked --all-features --benches $(ARGS)
	@scripts/report-bench

bench-train: deps fetch-onnxruntime ## Compare training speed with PyTorch on 1 and 2 threads (TORCH=debian or pypi: which one)
	@scripts/bench-tools pytorch
	@rm -f .local/bench-rows
	@$(CARGO) bench --locked --all-features --bench training
	@scripts/report-bench

parity: deps fetch-onnxruntime ## Compare validation losses with PyTorch's (ARGS="FILE-OR-FOLDER...", without: the demo data)
	@scripts/bench-tools pytorch
	@scripts/measure-parity $(or $(ARGS),deploy/demo-data)

quality: build test-tools ## Measure detection quality on labelled files (ARGS="FOLDER... -- --set KEY=VALUE")
	@.local/venv/bin/python scripts/measure-quality $(ARGS)

soak: deps fetch-onnxruntime test-tools ## Run the daemon at half of its ceiling on Apache Kafka, and watch what it holds (ARGS="SECONDS [RATE]")
	@$(CARGO) bench --locked --all-features --bench soak -- $(ARGS)

fuzz: deps ## Fuzz every decoder, the config parser, the model reader and the HTTP port (ARGS="SECONDS [TARGET...]")
	@scripts/fuzz $(ARGS)

docs: deps ## Build the API documentation
	@$(CARGO) doc --locked --no-deps --all-features

deps: ## Install what the build needs beside Rust, where it is missing
	@scripts/install-deps

fetch-onnxruntime: ## Fetch ONNX Runtime's library into .local/ (for GPUs: DEVICE=cuda, and CUDA_LIBRARIES=yes)
	@scripts/fetch-onnxruntime $(DEVICE)
	@[ "$(DEVICE),$(CUDA_LIBRARIES)" != cuda,yes ] || scripts/fetch-cuda-libraries all

# The older name.
onnxruntime: fetch-onnxruntime

image: ## Build the container image strayd:cpu with Docker (DEVICE=cuda: strayd:cuda, for NVIDIA GPUs)
	@$(DOCKER) build --file deploy/Dockerfile --build-arg DEVICE=$(DEVICE) \
		--build-arg CUDA_LIBRARIES=$(if $(filter yes,$(CUDA_LIBRARIES)),all,needed) --tag strayd:$(DEVICE) .

prove-image: ## Build it as root without Docker or an image registry, on base images that are made here
	@scripts/prove-image $(DEVICE)

test-tools: ## Fetch what only the tests need: brokers, Prometheus, Kubernetes, Python packages, GPU libraries
	@scripts/test-tools

clean: ## Remove what was built and what was downloaded
	@$(CARGO) clean
	@rm -rf .local
