"""The bookkeeping of strides and atrous rates."""

from deeplab.core import atrous


def test_strides_become_rates_after_the_output_stride():
    strides = atrous.AtrousStrides(output_stride=4)
    assert [strides.next(s) for s in (2, 1, 2, 2, 1, 2, 1)] == [
        (2, 1),
        (1, 1),
        (2, 1),
        (1, 1),
        (1, 2),
        (1, 2),
        (1, 4),
    ]
