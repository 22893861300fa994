#!/usr/bin/env bash
# Sets up and runs the main job on a small data set that it draws itself: convert, train,
# evaluate, visualise, export, predict. Everything lands in demo/ beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tools/environment.sh

data=demo/sample
recipe=research/deeplab/recipes/sample
run() {
  echo
  echo "== $1"
  shift
  "$@"
}

rm -rf demo
run "drawing a data set" deeplab-make-sample-data --output_dir="$data"
run "converting it to TFRecords" deeplab-build-voc2012-data --dataset="$data/sample.json" \
  --image_format=jpg --image_folder="$data/JPEGImages" \
  --semantic_segmentation_folder="$data/SegmentationClass" \
  --list_folder="$data/ImageSets/Segmentation" --output_dir="$data/tfrecord"
run "training" deeplab-train --flagfile="$recipe/train.txt" \
  --dataset="$data/sample.json" --dataset_dir="$data/tfrecord" --train_logdir=demo/train
run "evaluating" deeplab-eval --flagfile="$recipe/eval.txt" \
  --dataset="$data/sample.json" --dataset_dir="$data/tfrecord" \
  --checkpoint_dir=demo/train --eval_logdir=demo/eval
run "visualising" deeplab-vis --flagfile="$recipe/vis.txt" \
  --dataset="$data/sample.json" --dataset_dir="$data/tfrecord" \
  --checkpoint_dir=demo/train --vis_logdir=demo/vis
run "exporting" deeplab-export-model --flagfile="$recipe/export.txt" \
  --checkpoint_path=demo/train --export_path=demo/export
run "predicting with the export" deeplab-predict --export_path=demo/export \
  --dataset="$data/sample.json" --images="$data/JPEGImages/sample_00000*.jpg" \
  --output_dir=demo/predictions

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
