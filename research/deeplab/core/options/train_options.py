"""The options of training a network."""

import dataclasses
from typing import Annotated, Literal

from deeplab.core.options.fields import (
    BatchSize,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    Share,
    check_belongs,
)
from deeplab.core.options.loss_options import LossOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(LossOptions):
    """Options of a training; names and defaults are those of the official train flags.

    The options of the loss are those of the base class.

    Raises:
        ValueError: A value is out of range; the message names the flag.
    """

    training_number_of_steps: Annotated[PositiveInt, "Number of steps to train."] = 30000
    train_batch_size: Annotated[BatchSize, "Images per step, over all devices and hosts."] = 8

    # --- The optimizer ---
    optimizer: Annotated[Literal["momentum", "adam", "adamw"], "Optimizer of the weights."] = (
        "momentum"
    )
    momentum: Annotated[Share, "Momentum of the momentum optimizer."] = 0.9
    # As in the official trainer, Adam has a rate of its own and follows no policy.
    adam_learning_rate: Annotated[
        NonNegativeFloat, "Learning rate of Adam, which ignores --learning_policy."
    ] = 0.001
    adam_epsilon: Annotated[PositiveFloat, "Epsilon of Adam and AdamW."] = 1e-8
    adamw_weight_decay: Annotated[
        NonNegativeFloat,
        "Decoupled weight decay of AdamW, which has no --weight_decay in its loss.",
    ] = 0.01
    clip_gradient_norm: Annotated[
        PositiveFloat | None,
        "Largest norm of the gradient of a step, over all variables. Default: any.",
    ] = None

    # --- The learning rate; see `learning_rate.learning_rate_schedule` ---
    learning_policy: Annotated[
        Literal["poly", "step", "cosine", "multi_steps"], "How the learning rate changes."
    ] = "poly"
    base_learning_rate: Annotated[NonNegativeFloat, "Learning rate at the start."] = 1e-4
    learning_rate_decay_factor: Annotated[
        NonNegativeFloat, "Factor on the learning rate at each decay (policy step)."
    ] = 0.1
    learning_rate_decay_step: Annotated[
        PositiveInt, "Steps between two decays of the learning rate (policy step)."
    ] = 2000
    learning_power: Annotated[
        float, Range(at_least=0, at_most=1000), "Power of the decay (policy poly)."
    ] = 0.9
    decay_steps: Annotated[
        NonNegativeFloat, "Steps of the decay (policy poly). 0: until training ends."
    ] = 0.0
    boundaries: Annotated[
        tuple[NonNegativeInt, ...] | None,
        "Step up to which a learning rate is kept, counted after the slow start (policy"
        " multi_steps).",
    ] = None
    boundary_learning_rates: Annotated[
        tuple[NonNegativeFloat, ...] | None,
        "Learning rate up to each boundary, and one more after the last (policy multi_steps).",
    ] = None
    end_learning_rate: Annotated[
        NonNegativeFloat, "Learning rate at the end of the decay (policy poly)."
    ] = 0.0
    slow_start_step: Annotated[NonNegativeInt, "Steps of slow start."] = 0
    slow_start_learning_rate: Annotated[NonNegativeFloat, "Learning rate of the slow start."] = 1e-4
    slow_start_burnin_type: Annotated[
        Literal["none", "linear"],
        "Keep the learning rate of the slow start, or raise it linearly to the base rate.",
    ] = "none"

    # --- The weight decay; see `losses.l2_loss` ---
    weight_decay: Annotated[NonNegativeFloat, "Weight decay (L2) of convolution weights."] = 4e-5
    quantize_delay_step: Annotated[
        int,
        Range(at_least=-(10**12), at_most=10**12),
        "Step from which training simulates 8-bit inference. Below 0: never.",
    ] = -1

    # --- Which variables learn, and how fast ---
    fine_tune_batch_norm: Annotated[
        bool,
        "Train batch norm and update its statistics. Use at least 12 images per step, or set it to"
        " false.",
    ] = True
    ema_decay: Annotated[
        float | None,
        Range(above=0, below=1),
        "Decay of the moving averages of the weights. Default: no averages.",
    ] = None
    sync_batch_norm: Annotated[
        bool | None,
        "Share batch statistics between replicas. Default: if each has fewer than 16 images.",
    ] = None
    last_layer_gradient_multiplier: Annotated[
        NonNegativeFloat, "Factor on the gradients of the last layers."
    ] = 1.0
    last_layers_contain_logits_only: Annotated[
        bool, "The last layers are only the logits, not everything after the backbone."
    ] = False
    # See `nas_cell.DropPath`.
    drop_path_keep_prob: Annotated[
        PositiveFloat, Range(at_most=1), "Probability to keep a path of a NAS cell."
    ] = 1.0

    # --- How a step is computed ---
    gradient_accumulation_steps: Annotated[
        BatchSize,
        "Parts in which a device processes its images of a step, one after another, to save"
        " memory.",
    ] = 1
    jit_compile: Annotated[bool, "Compile the step with XLA."] = False

    # --- The run ---
    seed: Annotated[
        int,
        Range(at_least=0, at_most=2**32 - 1),
        "Seed of the initial weights, the order of images, their augmentation, and dropout.",
    ] = 0
    log_steps: Annotated[PositiveInt, "Log progress every this many steps."] = 10
    save_interval_secs: Annotated[NonNegativeInt, "Seconds between two checkpoints."] = 1200
    save_summaries_secs: Annotated[
        NonNegativeInt, "Seconds between two summaries of variables and images."
    ] = 600
    save_summaries_images: Annotated[
        bool, "Add images, labels and predictions to the summaries."
    ] = False
    profile_logdir: Annotated[
        str | None, "Folder for a profile of five steps, for TensorBoard. Default: no profile."
    ] = None

    def __post_init__(self):
        super().__post_init__()
        remedy = "remove one of them, or use --weight_decay"
        check_belongs(self, "adamw_weight_decay", "optimizer", ("adamw",), remedy)
