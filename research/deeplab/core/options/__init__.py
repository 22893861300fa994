"""Options as values: frozen dataclasses of plain fields, free of flags and of TensorFlow.

A field states its type, range, meaning and default once. The flag of the same name takes them from
there (`common.define_option`), and `fields.validate` checks them.
"""

from deeplab.core.options.augmentation_options import AugmentationOptions
from deeplab.core.options.crf_options import CrfOptions
from deeplab.core.options.device_options import DeviceOptions
from deeplab.core.options.evaluation_options import EvaluationOptions, PictureOptions, ReportOptions
from deeplab.core.options.export_files import ExportFiles
from deeplab.core.options.export_options import ExportOptions
from deeplab.core.options.inference_options import InferenceOptions
from deeplab.core.options.lite_options import LiteOptions
from deeplab.core.options.loss_options import LossOptions
from deeplab.core.options.model_options import ModelOptions
from deeplab.core.options.predict_options import PredictOptions
from deeplab.core.options.random_scale import RandomScale
from deeplab.core.options.recipe_options import RecipeOptions
from deeplab.core.options.run_options import RunOptions
from deeplab.core.options.runner_options import RunnerOptions
from deeplab.core.options.server_options import ServerOptions
from deeplab.core.options.train_options import TrainOptions
from deeplab.core.options.training_run import TrainingRun
from deeplab.core.options.window_options import WindowOptions

__all__ = [
    "AugmentationOptions",
    "CrfOptions",
    "DeviceOptions",
    "EvaluationOptions",
    "ExportFiles",
    "ExportOptions",
    "InferenceOptions",
    "LiteOptions",
    "LossOptions",
    "ModelOptions",
    "PictureOptions",
    "PredictOptions",
    "RandomScale",
    "RecipeOptions",
    "ReportOptions",
    "RunOptions",
    "RunnerOptions",
    "ServerOptions",
    "TrainOptions",
    "TrainingRun",
    "WindowOptions",
]
