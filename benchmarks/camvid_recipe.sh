#!/usr/bin/env bash
# Measures a recipe from data on CamVid, with the four commands of the README: prints how long the
# training took, and the mIoU.
#
#   benchmarks/camvid_recipe.sh CAMVID CHECKPOINT OUTPUT_DIR [MINUTES]
#
# CAMVID has JPEGImages, SegmentationClassRaw and ImageSets/Segmentation. Run it from the root of the
# checkout, on an otherwise idle machine.
set -euo pipefail
camvid=$1 checkpoint=$2 output=$3 minutes=${4:-10}
python=${PYTHON:-python}
export PYTHONPATH=$PWD/research
mkdir -p "$output"

"$python" -m deeplab.datasets.build_custom_data \
    --image_folder="$camvid/JPEGImages" --label_folder="$camvid/SegmentationClassRaw" \
    --list_folder="$camvid/ImageSets/Segmentation" \
    --class_names=sky,building,column_pole,road,sidewalk,tree,sign,fence,car,pedestrian,bicyclist \
    --ignore_label=11 --output_dir="$output/tfrecord"
"$python" -m deeplab.make_recipe \
    --dataset="$output/tfrecord/dataset.json" --dataset_dir="$output/tfrecord" \
    --tf_initial_checkpoint="$checkpoint" --minutes="$minutes" --output_dir="$output/recipe"
begin=$SECONDS
"$python" -m deeplab.train --flagfile="$output/recipe/train.txt" --train_logdir="$output/train"
trained=$((SECONDS - begin))
"$python" -m deeplab.eval --flagfile="$output/recipe/eval.txt" \
    --checkpoint_dir="$output/train" --eval_logdir="$output/eval"
"$python" -c 'import json, sys; print("mIoU", json.load(open(sys.argv[1]))["miou"])' "$output/eval/eval.json"
echo "trained for $trained of $((60 * minutes)) seconds"
