#!/usr/bin/env bash
# Measures this package on a machine with a GPU in at most ten minutes: golden numbers, replicas,
# mixed precision, XLA, and the throughput of training and inference of four networks.
#
#   benchmarks/on_a_gpu.sh [--smoke] [--output_dir=on_a_gpu]
#
# Writes results.md and results.json to the output folder, after each result. --smoke runs all of it
# once with small images, also without a GPU. Needs the requirements of the package and pytest, with
# which the golden numbers are read.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD/research TF_CPP_MIN_LOG_LEVEL=2 TF_FORCE_GPU_ALLOW_GROWTH=true
exec "${PYTHON:-python}" benchmarks/on_a_gpu.py "$@"
