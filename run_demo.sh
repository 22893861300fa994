#!/usr/bin/env bash
# Installs the package into .venv and runs the main job on a small dataset: draw it, convert it,
# train, evaluate, visualize, export, predict. All results are in demo/ beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tools/environment.sh .venv

rm -rf demo
tools/demo.sh research/deeplab/recipes/sample

echo
echo "pictures of predictions: $PWD/demo/vis/segmentation_results (*_panel.png)"
echo "predictions of the export: $PWD/demo/predictions"
python - <<'PYTHON'
import json
import sys

miou = json.load(open("demo/eval/eval.json"))["miou"]
print(f"mIoU on held-out images: {miou:.4f}")
if miou < 0.6:
    sys.exit("error: it should be above 0.6")
PYTHON
