#!/usr/bin/env bash
# Serves an export with a Triton from PyPI, and compares its answers with those of TensorFlow. No GPU is
# needed, but glibc 2.35 or newer is. The environment is separate, because the Python backend needs
# NumPy 1.
#
#   tools/triton.sh models/pascal/1
set -euo pipefail
export_path="$(realpath "${1:?give the folder of an export}")"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment="${TRITON_ENVIRONMENT:-.venv-triton}"

if [[ ! -d "$environment" ]]; then
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet "nvidia-pytriton==0.7.0" "tensorflow>=2.19,<2.22" "numpy<2"
fi
exec "$environment/bin/python" tools/triton_check.py --export_path="$export_path"
