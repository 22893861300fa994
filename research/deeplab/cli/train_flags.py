"""The flags of training that are not those of the network."""

from collections.abc import Callable


def define_flags(define: Callable[..., None]) -> None:
    """Defines them.

    Args:
        define: the train script's, of `common.definer`.
    """
    define("string", "master", "", "No effect: hosts find each other by TF_CONFIG.")
    define("integer", "task", 0, "Number of this host; TF_CONFIG says it.")
    define("integer", "num_clones", 1, "Number of GPUs of this host to train on.")
    define("bool", "clone_on_cpu", False, "Train on the CPU; clones are parts of it.")
    define("integer", "num_replicas", 1, "Number of hosts; TF_CONFIG names them.")
    define("integer", "startup_delay_steps", 15, "No effect: hosts start together.")
    define("integer", "num_ps_tasks", 0, "No effect: every host keeps the variables.")

    define("string", "train_logdir", None, "Folder for checkpoints and logs.")
    define("integer", "log_steps", 10, "Say how it goes every so many steps.")
    define("integer", "save_interval_secs", 1200, "Seconds between two checkpoints.")
    define(
        "integer",
        "save_summaries_secs",
        600,
        "Seconds between two summaries of variables and images.",
    )
    define("bool", "save_summaries_images", False, "Add images, labels and predictions to them.")
    define(
        "string",
        "profile_logdir",
        None,
        "Folder for a profile of five steps, for TensorBoard. Default: none is made.",
    )
    define(
        "integer",
        "eval_every",
        0,
        "Evaluate every so many steps and at the last, and keep the best checkpoint; 0: never.",
    )
    define("string", "eval_split", "val", "Split for --eval_every.")
    define("list", "eval_crop_size", ["513", "513"], "Height,width its images are padded to.")
    define(
        "bool",
        "deterministic_ops",
        False,
        "Only operations that give the same bits twice, on a GPU too; slower there.",
    )

    define("enum", "optimizer", "momentum", "The optimizer.", enum_values=["momentum", "adam"])
    define(
        "enum",
        "learning_policy",
        "poly",
        "How the learning rate falls.",
        enum_values=["poly", "step", "cosine", "multi_steps"],
    )
    define("float", "base_learning_rate", 0.0001, "The learning rate to begin with.")
    define("float", "decay_steps", 0.0, "Steps that poly takes; 0: all.")
    define("float", "end_learning_rate", 0.0, "Last learning rate of poly.")
    define("float", "learning_rate_decay_factor", 0.1, "What step multiplies the rate by ...")
    define("integer", "learning_rate_decay_step", 2000, "... every so many steps.")
    define("float", "learning_power", 0.9, "Power of poly.")
    define(
        "multi_integer",
        "boundaries",
        None,
        "Step, after the slow start, up to which multi_steps keeps a rate; repeat it.",
    )
    define(
        "multi_float",
        "boundary_learning_rates",
        None,
        "Rate up to the boundary, and one more after the last; repeat it.",
    )
    define("integer", "training_number_of_steps", 30000, "Number of steps to train.")
    define("float", "momentum", 0.9, "Momentum of the momentum optimizer.")
    define("float", "adam_learning_rate", 0.001, "Learning rate of Adam, which has no policy.")
    define("float", "adam_epsilon", 1e-08, "Epsilon of Adam.")
    define("integer", "train_batch_size", 8, "Images a step, over all devices and hosts.")
    define(
        "integer",
        "gradient_accumulation_steps",
        1,
        "Parts that a device processes its images of a step in, to save memory.",
    )
    define(
        "enum",
        "precision",
        "float32",
        "What the network computes in.",
        enum_values=["float32", "mixed_bfloat16", "mixed_float16"],
    )
    define("bool", "jit_compile", False, "Compile the step with XLA.")
    define("float", "weight_decay", 0.00004, "Weight decay (L2) of convolution weights.")
    define("list", "train_crop_size", ["513", "513"], "Height,width of the crops.")
    define(
        "float",
        "last_layer_gradient_multiplier",
        1.0,
        "How much faster the last layers learn.",
    )
    define("bool", "upsample_logits", True, "Upsample logits (else downsample labels).")
    define("float", "drop_path_keep_prob", 1.0, "Probability to keep a path of a NAS cell.")
    define(
        "string",
        "tf_initial_checkpoint",
        None,
        "Checkpoint to start from; or, for VGG-16, a weights file of Keras' VGG16.",
    )
    define("bool", "initialize_last_layer", True, "Take the last layers from it too.")
    define(
        "bool",
        "last_layers_contain_logits_only",
        False,
        "The last layers are the logits alone (else all that follows the backbone).",
    )
    define("integer", "slow_start_step", 0, "Steps of slow start ...")
    define("float", "slow_start_learning_rate", 1e-4, "... and their learning rate.")
    define(
        "enum",
        "slow_start_burnin_type",
        "none",
        "Keep that rate, or rise to the base rate.",
        enum_values=["none", "linear"],
    )
    define(
        "bool",
        "fine_tune_batch_norm",
        True,
        "Learn batch statistics; wants at least 12 images a step, else set it to false.",
    )
    define("float", "ema_decay", None, "Decay of moving averages of the weights; default: none.")
    define(
        "bool",
        "sync_batch_norm",
        None,
        "Replicas share their batch statistics. Default: if each has fewer than 16 images.",
    )
    define("float", "min_scale_factor", 0.5, "Smallest random scale of an image.")
    define("float", "max_scale_factor", 2.0, "Largest random scale of an image.")
    define("float", "scale_factor_step_size", 0.25, "Step between them; 0: any scale.")
    define("multi_integer", "atrous_rates", None, "Atrous rate of the ASPP; repeat it.")
    define("integer", "output_stride", 16, "Ratio of image size to feature size.")
    define(
        "integer",
        "hard_example_mining_step",
        0,
        "Step at which --top_k_percent_pixels is reached, from all pixels at step 0.",
    )
    define("float", "top_k_percent_pixels", 1.0, "Share of the pixels, the hardest, that train.")
    define(
        "integer",
        "quantize_delay_step",
        -1,
        "Step from which on the network is trained with values rounded to 8 bits; below 0: never.",
    )

    define(
        "string",
        "dataset",
        "pascal_voc_seg",
        "Name of a data set (pascal_voc_seg, cityscapes, ade20k) or its JSON description.",
    )
    define("string", "train_split", "train", "Which split to train on.")
    define("string", "dataset_dir", None, "Folder of the TFRecords.")
    define("integer", "seed", 0, "Of the weights, the order of images, augmentation and dropout.")
