#!/usr/bin/env bash
# Downloads ADE20K (the scene parsing challenge of 2016) and converts it to TFRecords, in ./ADE20K:
#
#   cd research/deeplab/datasets && bash download_and_convert_ade20k.sh
#
# BASE_URL=... takes the archive from another server.
set -eu
PACKAGE=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$PACKAGE${PYTHONPATH:+:$PYTHONPATH}"

BASE_URL=${BASE_URL:-http://data.csail.mit.edu/places/ADEchallenge}
WORK_DIR=./ADE20K
ADE20K_ROOT=$WORK_DIR/ADEChallengeData2016

if [ ! -d "$ADE20K_ROOT" ]; then
  python -m deeplab.datasets.download_data \
    --url="$BASE_URL/ADEChallengeData2016.zip" --output_dir="$WORK_DIR"
fi

python -m deeplab.datasets.build_ade20k_data \
  --train_image_folder="$ADE20K_ROOT/images/training" \
  --train_image_label_folder="$ADE20K_ROOT/annotations/training" \
  --val_image_folder="$ADE20K_ROOT/images/validation" \
  --val_image_label_folder="$ADE20K_ROOT/annotations/validation" \
  --output_dir="$WORK_DIR/tfrecord"
