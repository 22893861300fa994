#!/usr/bin/env bash
# Downloads PASCAL VOC 2012 and converts it to TFRecords, in ./pascal_voc_seg:
#
#   cd research/deeplab/datasets && bash download_and_convert_voc2012.sh
#
# BASE_URL=... takes the archive from another server.
set -eu
PACKAGE=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$PACKAGE${PYTHONPATH:+:$PYTHONPATH}"

BASE_URL=${BASE_URL:-http://host.robots.ox.ac.uk/pascal/VOC/voc2012}
WORK_DIR=./pascal_voc_seg
PASCAL_ROOT=$WORK_DIR/VOCdevkit/VOC2012

if [ ! -d "$PASCAL_ROOT" ]; then
  python -m deeplab.datasets.download_data \
    --url="$BASE_URL/VOCtrainval_11-May-2012.tar" --output_dir="$WORK_DIR"
fi

# The converter reads labels with a palette as well; other tools need them without.
python -m deeplab.datasets.remove_gt_colormap \
  --original_gt_folder="$PASCAL_ROOT/SegmentationClass" \
  --output_dir="$PASCAL_ROOT/SegmentationClassRaw"

python -m deeplab.datasets.build_voc2012_data \
  --image_folder="$PASCAL_ROOT/JPEGImages" --image_format=jpg \
  --semantic_segmentation_folder="$PASCAL_ROOT/SegmentationClassRaw" \
  --list_folder="$PASCAL_ROOT/ImageSets/Segmentation" \
  --output_dir="$WORK_DIR/tfrecord"
