"""The cells that architecture searches found, as data."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class OperationDesign:
    """One operation of a cell.

    Attributes:
        kind: `separable`: two separable convolutions in turn; `atrous`: a convolution with rate 2;
            `max_pool`: the maximum over windows; `none`: the state as it is, projected where the
            cell halves it.
        kernel_size: Size of its kernels or windows.
        state: The state it takes: 0 is the cell's input, 1 the input of the cell before, 2 the
            sum of the cell's first two operations, and so on.
    """

    kind: Literal["separable", "atrous", "max_pool", "none"]
    kernel_size: int
    state: int

    @property
    def rectifies(self) -> bool:
        """Return whether it begins with a ReLU at any stride."""
        return self.kind in ("separable", "atrous")


# Pairs of operations whose outputs are added. The cell's output is all these sums.
Genotype = tuple[tuple[OperationDesign, OperationDesign], ...]

# PNASNet-5 (arXiv 1712.00559, figure 1).
PNASNET: Genotype = (
    (OperationDesign("separable", 5, state=1), OperationDesign("max_pool", 3, state=1)),
    (OperationDesign("separable", 7, state=0), OperationDesign("max_pool", 3, state=0)),
    (OperationDesign("separable", 5, state=0), OperationDesign("separable", 3, state=0)),
    (OperationDesign("separable", 3, state=4), OperationDesign("max_pool", 3, state=0)),
    (OperationDesign("separable", 3, state=1), OperationDesign("none", 1, state=0)),
)

# Auto-DeepLab (arXiv 1901.02985, figure 3).
HNASNET: Genotype = (
    (OperationDesign("atrous", 5, state=1), OperationDesign("separable", 3, state=0)),
    (OperationDesign("separable", 3, state=1), OperationDesign("atrous", 3, state=0)),
    (OperationDesign("separable", 3, state=3), OperationDesign("separable", 3, state=1)),
    (OperationDesign("separable", 5, state=4), OperationDesign("separable", 5, state=2)),
    (OperationDesign("separable", 5, state=3), OperationDesign("atrous", 5, state=5)),
)
