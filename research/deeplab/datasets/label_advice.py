"""Explains label values that are not classes, and names the remedy."""

import cv2
import numpy as np

from deeplab.datasets.descriptors import MAX_LABEL, DatasetDescriptor
from deeplab.utils import get_dataset_colormap

# Labels that were resized with interpolation or saved as JPEG have more values than classes.
_MANY_VALUES = 16
# PASCAL VOC's color of ignored pixels.
_VOID = (224, 224, 192)
_AGAIN = "convert the data again with build_custom_data"


def advise(values: np.ndarray, descriptor: DatasetDescriptor) -> str:
    """Return the likely cause of wrong label values, and the remedy by its name.

    Args:
        values: The different values of a label in order, of which at least one is wrong.
        descriptor: The dataset, which says which values are right.

    Returns:
        The end of a sentence about the values.
    """
    found = [int(value) for value in values]
    wrong = [value for value in found if not descriptor.is_label(value)]
    classes = descriptor.num_classes
    step = int(np.gcd.reduce(found))
    if classes == 2 and len(set(found) - {0, descriptor.ignore_label}) == 1:
        return f"label {wrong[0]}: looks like a mask; {_AGAIN} --label_map={wrong[0]}:1"
    if wrong == [MAX_LABEL]:
        return (
            f"label {MAX_LABEL}: looks like ignored pixels; set the ignore_label of --dataset to"
            f" {MAX_LABEL} (build_custom_data --ignore_label)"
        )
    if wrong == [classes] and 0 not in found:
        return (
            f"label {classes}: looks like labels that count from 1; {_AGAIN}"
            f" --label_map={_changes(range(1, classes + 1), lambda value: value - 1)}, or count the"
            " background as a class"
        )
    if wrong == [classes]:
        return (
            f"label {classes}: looks like one class more; the background is a class, too: set the"
            f" num_classes of --dataset to {classes + 1} (build_custom_data --class_names)"
        )
    if set(found) <= _grays_of_colors(descriptor):
        return (
            f"label {wrong[0]}: looks like a color-mapped PNG read as gray; run remove_gt_colormap"
            " on the original labels, or give build_custom_data their --colormap, and convert the"
            " data again"
        )
    if step > 1 and max(found) // step < classes:
        return (
            f"label {wrong[0]}: looks like class numbers times {step}; {_AGAIN}"
            f" --label_map={_changes(filter(None, found), lambda value: value // step)}"
        )
    if classes == 2 and len(found) > _MANY_VALUES:
        return f"{len(found)} values: looks like a mask with soft edges; {_AGAIN} --threshold=127"
    if len(found) > max(_MANY_VALUES, classes + 1):
        return (
            f"{len(found)} values: looks like a label that was saved as JPEG or resized with"
            " interpolation; export the labels again, as PNG and with the nearest pixel"
        )
    return f"set the right --dataset, or {_AGAIN} (--label_map replaces values)"


def _changes(values, replacement) -> str:
    return ",".join(f"{value}:{replacement(value)}" for value in values)


def _grays_of_colors(descriptor: DatasetDescriptor) -> set[int]:
    """Return what readers of gray make of the colors that palettes give the classes.

    Most tools write the palette of PASCAL VOC; the dataset may have its own.
    """
    pascal = get_dataset_colormap.create_pascal_label_colormap()[: descriptor.num_classes]
    colors = np.concatenate([pascal, descriptor.label_colors(), [_VOID]]).astype(np.uint8)
    weighted = colors @ np.array([0.299, 0.587, 0.114])  # Rounded down, as some readers do.
    rounded = cv2.cvtColor(colors[np.newaxis], cv2.COLOR_RGB2GRAY)
    return {int(value) for value in (*weighted, *rounded.ravel(), *colors.ravel())}
