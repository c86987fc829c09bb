# What people run. The program itself needs Go alone; each target says what else it needs.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
export CGO_ENABLED := 0

.PHONY: build build-cuda kernels test-cuda demo setup test chaos soak upgrade race interop openai bench arm64 fmt vet lint clean

# The linker drops debug information (-s -w); not making it shortens a first build by a tenth.
build: ## the program, static, as bin/scu
	go build -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w -X main.release=$(VERSION)" -o bin/scu ./cmd/scu

build-cuda: ## the program with NVIDIA's GPUs in it, as bin/scu; needs a C compiler, Python and Linux
	scripts/go-cuda build -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w -X main.release=$(VERSION)" -o bin/scu ./cmd/scu
	scripts/check-cuda bin/scu

kernels: ## kernels/cuda/built from kernels/cuda/*.cu; needs Python
	scripts/kernels

demo: build ## the main job on an example text
	./bin/scu demo

setup: ## installs what the tests need and Go doesn't bring: PostgreSQL, a C compiler and Chromium, from the system's packages
	scripts/setup-test.sh

test: setup ## all tests
	go test -timeout 30m ./...

chaos: setup ## whatever can go wrong with a cluster for ten minutes (CHAOS=1h), in another order with SEED=n; then the history is checked. Disks get full only for root
	go test -count=1 -timeout 0 -v ./scripts/cluster -run 'TestChaos|TestSteppedClock|TestFakedClock' -chaos.cluster -chaos.clock -chaos.time $(or $(CHAOS),10m) -chaos.seed $(or $(SEED),1) $(if $(ONLY),-chaos.only '$(ONLY)')

soak: ## random use and faults for an hour (SOAK=10m); goroutines, heap, open files and streams are to stay as they are
	go test -count=1 -timeout 0 -v ./scripts/cluster -run TestSoak -soak.time $(or $(SOAK),1h) -chaos.seed $(or $(SEED),1) $(if $(ONLY),-chaos.only '$(ONLY)')

UPGRADED := 54f01b8,6144496
upgrade: setup ## older versions (OLD=commit): a data folder in mid-job goes on under this one, and a service apart is upgraded role by role
	scripts/upgrade $(OLD)
	go test -count=1 -timeout 0 -v ./scripts/cluster -run TestUpgrade -upgrade.old $(or $(OLD),$(UPGRADED))

race: setup ## the packages where goroutines meet, under the race detector
	CGO_ENABLED=1 go test -race -timeout 30m ./broker/... ./store ./store/sqlite ./api ./api/client ./files/...

test-cuda: ## the GPU's device on a driver that runs the kernels on the CPU; needs g++ and Python
	scripts/kernels --check
	scripts/go-cuda vet ./...
	scripts/go-cuda test -timeout 30m -run 'Device|Faults|OutOfMemory|Available' ./kernels/cuda
	scripts/go-cuda test ./kernels/cuda/cublaslt ./kernels/cuda/nvml
	SCU_FAKE_CAPABILITY=90 scripts/go-cuda test -run 'TestDevice/BF16/MatMul' ./kernels/cuda # Hopper's products
	scripts/go-cuda build -o bin/scu-cuda ./cmd/scu && scripts/check-cuda bin/scu-cuda

interop: build ## against the real PEFT, Transformers and llama.cpp; needs Python 3.11, some 5 GB for its packages, and a C++ compiler
	scripts/interop.sh

openai: build ## /v1 against OpenAI's own Python package; needs Python with venv, and PyPI
	scripts/openai.sh

bench: ## tokens/s here and in PyTorch; needs Python 3.11 likewise
	scripts/bench

arm64: ## the reference runs as an arm64 program, under emulation; needs qemu-user-static
	GOARCH=arm64 go test -c -o bin/trainer-arm64.test ./trainer
	cd trainer && qemu-aarch64-static ../bin/trainer-arm64.test -test.run 'TestGoldens/.*/cpu'

fmt:
	gofmt -l -w $$(git ls-files '*.go')

vet:
	go vet ./...

lint: vet ## vet, staticcheck, and spelling
	go tool staticcheck ./...
	go tool misspell -error $$(git ls-files '*.go' '*.md' '*.sh' '*.yaml' | grep -v _test.go)

clean:
	rm -rf bin demo
