# Two commands do all the set-up: `make serve` and `make test`. What they do is in scripts/bootstrap.py.
PYTHON ?= python3
PORT ?= 8000
ARGS ?=

.PHONY: help serve test demo doctor soak clean

help:
	@echo "make serve    install and serve a small model on http://127.0.0.1:$(PORT)   (PORT=..., ARGS='--model my.gguf')"
	@echo "make test     install the development tools and run the tests               (ARGS='-k softmax')"
	@echo "make demo     install, ask the model one thing, print the answer and stop"
	@echo "make doctor   say what this machine has"
	@echo "make soak     20,000 requests by 200 clients to a tiny model: every answer right, no memory kept (a minute)"
	@echo "make clean    remove .venv"

serve demo doctor test soak:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "rtriton: there is no $(PYTHON) here; install Python 3.11 or newer (Debian and Ubuntu: sudo apt install python3 python3-venv) and run make again" >&2; exit 1; }
	@PORT=$(PORT) $(PYTHON) scripts/bootstrap.py $@ $(ARGS)

clean:
	rm -rf .venv
