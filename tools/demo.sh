#!/usr/bin/env bash
# Runs the commands of the demo, as they are installed, and writes to ./demo:
#
#   tools/demo.sh RECIPE [FLAG...]
#
# RECIPE is the folder of the recipe `sample`; further flags go to deeplab-train.
set -euo pipefail

recipe=$1
shift
data=demo/sample
run() {
  echo
  echo "== $1"
  shift
  "$@"
}

run "drawing a dataset" deeplab-make-sample-data --output_dir="$data"
run "converting it to TFRecords" deeplab-build-voc2012-data --dataset="$data/sample.json" \
  --image_format=jpg --image_folder="$data/JPEGImages" \
  --semantic_segmentation_folder="$data/SegmentationClass" \
  --list_folder="$data/ImageSets/Segmentation" --output_dir="$data/tfrecord"
run "training" deeplab-train --flagfile="$recipe/train.txt" \
  --dataset="$data/sample.json" --dataset_dir="$data/tfrecord" --train_logdir=demo/train "$@"
run "evaluating" deeplab-eval --flagfile="$recipe/eval.txt" \
  --dataset="$data/sample.json" --dataset_dir="$data/tfrecord" \
  --checkpoint_dir=demo/train --eval_logdir=demo/eval --report_dir=demo/report
run "visualizing" deeplab-vis --flagfile="$recipe/vis.txt" \
  --dataset="$data/sample.json" --dataset_dir="$data/tfrecord" \
  --checkpoint_dir=demo/train --vis_logdir=demo/vis
run "exporting" deeplab-export-model --flagfile="$recipe/export.txt" \
  --checkpoint_path=demo/train --export_path=demo/export
run "predicting with the export" deeplab-predict --export_path=demo/export \
  --dataset="$data/sample.json" --images="$data/JPEGImages/sample_00000*.jpg" \
  --output_dir=demo/predictions
