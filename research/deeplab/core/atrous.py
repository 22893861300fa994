"""Atrous convolution in place of strides (arXiv 1706.05587, section 3.1)."""


class AtrousStrides:
    """Turns strides into atrous rates once the features are at the output stride.

    The unit that would exceed the output stride keeps its resolution and the rate so far; the
    units after it dilate instead (official `mobilenet_base` and `stack_blocks_dense`).
    """

    def __init__(self, output_stride: int):
        self.output_stride = output_stride
        self.stride = 1
        self.rate = 1

    def next(self, stride: int) -> tuple[int, int]:
        """Return the stride and atrous rate of the next unit, which was designed with `stride`."""
        if self.stride < self.output_stride:
            self.stride *= stride
            return stride, self.rate
        rate, self.rate = self.rate, self.rate * stride
        return 1, rate
