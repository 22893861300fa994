#!/usr/bin/env bash
# Tries everything on PASCAL VOC 2012 with Xception-65: downloads the dataset and a published
# checkpoint, trains ten steps from it, evaluates, draws predictions and exports. Begin your own
# scripts from this one.
#
#   cd research/deeplab && bash local_test.sh
#
# All of it lies in datasets/pascal_voc_seg beside this file. Evaluation expects an mIOU of 82.20 %.
set -eu
WORK_DIR=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$(dirname "$WORK_DIR")${PYTHONPATH:+:$PYTHONPATH}"

MODEL=${MODEL:-xception65_coco_voc_trainaug}
EXP_FOLDER=${EXP_FOLDER:-exp/train_on_trainval_set}
NUM_ITERATIONS=${NUM_ITERATIONS:-10}

(cd "$WORK_DIR/datasets" && bash download_and_convert_voc2012.sh)
PASCAL=$WORK_DIR/datasets/pascal_voc_seg
EXP=$PASCAL/$EXP_FOLDER
RECIPE=$WORK_DIR/recipes/$MODEL

# It prints the commands of the published evaluation, too.
python -m deeplab.model_zoo --download="$MODEL" --output_dir="$PASCAL/init_models"
INIT=$(find "$PASCAL/init_models/$MODEL" -name 'model.ckpt*.index' | sed 's/\.index$//')

python -m deeplab.train --flagfile="$RECIPE/train.txt" \
  --train_split=trainval --train_batch_size=4 --base_learning_rate=0.0001 \
  --training_number_of_steps="$NUM_ITERATIONS" --tf_initial_checkpoint="$INIT" \
  --train_logdir="$EXP/train" --dataset_dir="$PASCAL/tfrecord"

# The network is described beside the checkpoint.
python -m deeplab.eval --eval_split=val --max_number_of_evaluations=1 \
  --checkpoint_dir="$EXP/train" --eval_logdir="$EXP/eval" --dataset_dir="$PASCAL/tfrecord"

python -m deeplab.vis --vis_split=val --max_number_of_iterations=1 \
  --checkpoint_dir="$EXP/train" --vis_logdir="$EXP/vis" --dataset_dir="$PASCAL/tfrecord"

python -m deeplab.export_model --checkpoint_path="$EXP/train/model.ckpt-$NUM_ITERATIONS" \
  --export_path="$EXP/export/frozen_inference_graph.pb"

echo "deeplab_demo.ipynb shows how the export predicts: $EXP/export"
