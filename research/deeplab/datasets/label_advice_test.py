import re

import numpy as np
import pytest

from deeplab.datasets import label_advice
from deeplab.datasets.descriptors import DatasetDescriptor

_PASCAL = DatasetDescriptor("things", 21, 255)
_FEW = DatasetDescriptor("roofs", 4, 255)
_TWO = DatasetDescriptor("mask", 2, 254)


@pytest.mark.parametrize(
    ("values", "descriptor", "advice"),
    [
        # Gray of the colors of bottle, bus and the border in PASCAL VOC.
        ([0, 128, 220], _PASCAL, "label 128: looks like a color-mapped PNG read as gray; run rem"),
        ([0, 38, 75, 113], _FEW, "label 38: .* run remove_gt_colormap .* --colormap"),
        ([0, 255], _TWO, "looks like a mask; .*build_custom_data --label_map=255:1$"),
        ([0, 254, 255], _TWO, "--label_map=255:1$"),
        ([0, 1, 2, 255], DatasetDescriptor("roofs", 4, 254), "ignored pixels.*--ignore_label"),
        ([1, 2, 4], _FEW, "count from 1; .*--label_map=1:0,2:1,3:2,4:3, or count the background"),
        ([0, 1, 4, 255], _FEW, "label 4: looks like one class more; .*num_classes .* to 5 .build"),
        ([0, 60, 120], _FEW, "class numbers times 60; .*--label_map=60:1,120:2$"),
        (range(0, 250, 7), _FEW, "36 values: looks like .* JPEG or resized with interpolation"),
        (
            range(0, 256, 5),
            _TWO,
            "52 values: looks like a mask with soft edges; .*--threshold=127$",
        ),
        ([0, 1, 5], _FEW, "set the right --dataset, or convert .*--label_map"),
        ([0, 1, 70000 // 2], _FEW, "set the right --dataset"),
    ],
)
def test_wrong_values_tell_their_cause_and_remedy(values, descriptor, advice):
    found = np.array(values)
    assert not all(map(descriptor.is_label, found))
    text = label_advice.advise(found, descriptor)
    assert "\n" not in text
    assert re.search(advice, text), text
