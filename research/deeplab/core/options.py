"""How a network is trained, as a value."""

import dataclasses
import math

from absl import flags

# The least that an option may be, to its names.
_LEAST = {
    1: (
        "training_number_of_steps",
        "train_batch_size",
        "gradient_accumulation_steps",
        "log_steps",
        "learning_rate_decay_step",
    ),
    0: (
        "momentum",
        "adam_learning_rate",
        "base_learning_rate",
        "end_learning_rate",
        "decay_steps",
        "slow_start_step",
        "slow_start_learning_rate",
        "weight_decay",
        "last_layer_gradient_multiplier",
        "top_k_percent_pixels",
        "hard_example_mining_step",
        "save_interval_secs",
        "save_summaries_secs",
        "seed",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a network is trained; names and defaults are those of the official train flags."""

    training_number_of_steps: int = 30000
    train_batch_size: int = 8
    # --- The optimizer ---
    optimizer: str = "momentum"
    momentum: float = 0.9
    # Adam keeps its own rate and knows no policy, as in the official trainer.
    adam_learning_rate: float = 0.001
    adam_epsilon: float = 1e-8
    # --- The learning rate; see `learning_rate.learning_rate_schedule` ---
    learning_policy: str = "poly"
    base_learning_rate: float = 1e-4
    learning_rate_decay_factor: float = 0.1
    learning_rate_decay_step: int = 2000
    learning_power: float = 0.9
    decay_steps: float = 0.0
    boundaries: tuple[int, ...] | None = None
    boundary_learning_rates: tuple[float, ...] | None = None
    end_learning_rate: float = 0.0
    slow_start_step: int = 0
    slow_start_learning_rate: float = 1e-4
    slow_start_burnin_type: str = "none"
    # --- The loss; see `losses.softmax_cross_entropy` ---
    weight_decay: float = 4e-5
    label_weights: tuple[float, ...] | None = None
    upsample_logits: bool = True
    top_k_percent_pixels: float = 1.0
    hard_example_mining_step: int = 0
    # The step from which on a quantised network rounds its values; below 0 for any other network.
    quantize_delay_step: int = -1
    # --- What learns how fast ---
    fine_tune_batch_norm: bool = True
    # Decay of the moving averages of the weights. None: there are none.
    ema_decay: float | None = None
    # Whether replicas share their batch statistics. None: if each has fewer than 16 images.
    sync_batch_norm: bool | None = None
    last_layer_gradient_multiplier: float = 1.0
    last_layers_contain_logits_only: bool = False
    # Of the operations of NAS cells; see `nas_cell.DropPath`.
    drop_path_keep_prob: float = 1.0
    # --- How a step is computed ---
    # Parts that a step's images are processed in, one after the other.
    gradient_accumulation_steps: int = 1
    # Compile the step with XLA.
    jit_compile: bool = False
    # --- The run ---
    # Of the initial weights, the order of the images, their augmentation, and dropout.
    seed: int = 0
    log_steps: int = 10
    save_interval_secs: int = 1200
    save_summaries_secs: int = 600
    save_summaries_images: bool = False
    # Folder for a profile of a few steps.
    profile_logdir: str | None = None

    def __post_init__(self):
        for least, names in _LEAST.items():
            for name in names:
                value = getattr(self, name)
                if not least <= value < math.inf:  # Nor is a NaN.
                    raise ValueError(
                        f"--{name} is {value}; it must be at least {least}, and finite"
                    )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"--ema_decay is {self.ema_decay}; it must be between 0 and 1")
        if self.top_k_percent_pixels > 1:
            raise ValueError(
                f"--top_k_percent_pixels is {self.top_k_percent_pixels}; it is a share, 0 to 1"
            )

    @classmethod
    def from_flags(cls, flag_values: flags.FlagValues) -> "TrainOptions":
        """The options that the train script's flags ask for."""
        values = {field.name: flag_values[field.name].value for field in dataclasses.fields(cls)}
        for name in ("label_weights", "boundaries", "boundary_learning_rates"):
            if values[name]:
                values[name] = tuple(values[name])
        return cls(**values)
