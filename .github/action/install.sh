#!/usr/bin/env bash
# Makes a virtual environment in the folder $1 and installs wan-parity: PACKAGE, or the checkout that this file is in.
# CONSTRAINTS, TORCH_INDEX and DEVICE are explained in action.yml. On GitHub later steps find it on their PATH.
set -euo pipefail
here=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${PACKAGE:-}" ]; then
    PACKAGE=$here
    CONSTRAINTS=${CONSTRAINTS:-$here/constraints.txt}
fi
if [ -n "${CONSTRAINTS:-}" ]; then export PIP_CONSTRAINT=$CONSTRAINTS; fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
gpu() {
    case "${DEVICE:-auto}" in
    cuda*) true ;;
    auto) nvidia-smi -L >/dev/null 2>&1 ;;
    *) false ;;
    esac
}
if [ -z "${TORCH_INDEX:-}" ] && ! gpu; then TORCH_INDEX=https://download.pytorch.org/whl/cpu; fi
python=$(command -v python3 || command -v python)
"$python" -m venv "$1"
export PATH="$1/bin:$PATH"
# PyPI's torch is CUDA's; of one version, pip prefers the build of the extra index (2.13.0+cpu).
pip install -q ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision
pip install -q "$PACKAGE" pytest pytest-xdist
if [ -n "${GITHUB_PATH:-}" ]; then echo "$1/bin" >>"$GITHUB_PATH"; fi
parity --version
