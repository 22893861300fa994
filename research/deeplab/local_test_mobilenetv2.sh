#!/usr/bin/env bash
# What local_test.sh does, with MobileNetV2. Evaluation expects an mIOU of 75.34 %.
#
#   cd research/deeplab && bash local_test_mobilenetv2.sh
set -eu
export MODEL=mobilenetv2_coco_voc_trainaug
export EXP_FOLDER=exp/train_on_trainval_set_mobilenetv2
exec bash "$(dirname "$0")/local_test.sh"
