#!/usr/bin/env bash
# Converts Cityscapes to TFRecords, from ./cityscapes to ./cityscapes/tfrecord:
#
#   cd research/deeplab/datasets && bash convert_cityscapes.sh
#
# ./cityscapes holds leftImg8bit and gtFine, which https://www.cityscapes-dataset.com gives to those
# who register. Training labels (labelTrainIds) are read where they are there; the scripts of the
# dataset are not needed, since the converter can make them from labelIds.
set -eu
PACKAGE=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$PACKAGE${PYTHONPATH:+:$PYTHONPATH}"

CITYSCAPES_ROOT=./cityscapes

python -m deeplab.datasets.build_cityscapes_data \
  --cityscapes_root="$CITYSCAPES_ROOT" --output_dir="$CITYSCAPES_ROOT/tfrecord"
