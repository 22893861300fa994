#!/usr/bin/env bash
# Runs the tests with the oldest TensorFlow, Keras, NumPy and TensorBoard that setup.py takes, in
# .venv-oldest, with Python 3.11 or 3.12 (PYTHON=...): TensorFlow 2.19 has no wheel for 3.13.
# Arguments are those of pytest, as for run_tests.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t oldest < <(
  sed -nE 's/^ +"(tensorflow|keras|numpy|tensorboard)>=([0-9.]+),.*/\1==\2.*/p' setup.py
)
# A newer tensorflow-metadata, which tensorflow-datasets needs, cannot be imported beside the
# protobuf of TensorFlow 2.19.
. tools/environment.sh .venv-oldest "${oldest[@]}" "tensorflow-metadata<1.18"

python -m pip list 2>/dev/null | grep -E '^(tensorflow|keras|numpy|tensorboard) '
exec python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder \
  --max-worker-restart=0 "$@"
