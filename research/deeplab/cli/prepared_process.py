"""Prepares the process that others are copies of. It imports this before it imports TensorFlow."""

import os

from deeplab.cli import remarks

remarks.hide()
# The copies could not use a GPU that this process has opened.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
