"""The pixels of polygons, lines and ellipses.

Polygons are rasterized as COCO's mask code does (`rleFrPoly`), so that masks are equal to its own:
vertices are rounded to a fifth of a pixel, edges are walked on this finer grid, and a column of
pixels changes between inside and outside where an edge crosses its middle.
"""

import numpy as np

_FINER = 5
# On the finer grid, the middle of a column is between this position and the next.
_MIDDLE = _FINER // 2


def polygon(vertices: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels inside a polygon: those that its border surrounds an odd number of times.

    Args:
        vertices: float [count, 2], x and y in pixels, from the outer corner of the first pixel. The
            polygon may reach beyond the image.
        height: Height of the image.
        width: Width of the image.

    Returns:
        bool [height, width].
    """
    columns, rows = _crossings(vertices)
    inside = (columns % _FINER == _MIDDLE) & (columns >= 0) & (columns < _FINER * width)
    columns = columns[inside] // _FINER
    # The first row whose middle is not above the edge.
    rows = np.ceil(np.clip((rows[inside] + 0.5) / _FINER - 0.5, 0, height)).astype(np.int64)
    mask = np.zeros((height, width), bool)
    if len(columns):
        left, count = columns.min(), columns.max() + 1 - columns.min()
        # In each column the border is crossed an even number of times, perhaps at its end.
        changes = np.bincount(
            (columns - left) * (height + 1) + rows, minlength=count * (height + 1)
        )
        odd = changes.reshape(count, height + 1)[:, :height].astype(np.uint8) & 1
        mask[:, left : left + count] = np.bitwise_xor.accumulate(odd, axis=1).T
    return mask


def _crossings(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the border of a polygon changes its column on the finer grid.

    Returns:
        The left of the two columns, and the upper of the two rows, integers [crossings].
    """
    # Rounded toward zero, as C does.
    start = np.trunc(_FINER * vertices + 0.5).astype(np.int64)
    end = np.roll(start, -1, axis=0)
    delta = np.abs(end - start)
    steep = delta[:, 0] < delta[:, 1]
    # Each edge is computed from its left end, or its upper end if it is steep.
    along = steep.astype(np.int64)
    edges = np.arange(len(start))
    flipped = start[edges, along] > end[edges, along]
    low = np.where(flipped[:, np.newaxis], end, start)
    high = np.where(flipped[:, np.newaxis], start, end)
    steps = delta.max(axis=1)
    across = 1 - along
    rise = (high - low)[edges, across] / np.maximum(steps, 1)

    edge = np.repeat(edges, steps + 1)
    first = np.cumsum(steps + 1) - (steps + 1)
    step = np.arange(len(edge)) - first[edge]
    step = np.where(flipped[edge], steps[edge] - step, step)
    main = step + low[edge, along[edge]]
    other = np.trunc(low[edge, across[edge]] + rise[edge] * step + 0.5).astype(np.int64)
    column = np.where(steep[edge], other, main)
    row = np.where(steep[edge], main, other)
    changed = np.flatnonzero(column[1:] != column[:-1])
    left = np.minimum(column[changed], column[changed + 1])
    upper = np.minimum(row[changed], row[changed + 1])
    return left, upper


def ellipse(
    center: tuple[float, float],
    radii: tuple[float, float],
    height: int,
    width: int,
    degrees: float = 0.0,
) -> np.ndarray:
    """Return the pixels whose middle is in an ellipse; none if a radius is 0.

    Args:
        center: X and y in pixels.
        radii: Half the width and half the height in pixels.
        height: Height of the image.
        width: Width of the image.
        degrees: How far it is turned clockwise around its center.

    Returns:
        bool [height, width].
    """
    if not all(radii):
        return np.zeros((height, width), bool)
    x = np.arange(width) + 0.5 - center[0]
    y = (np.arange(height) + 0.5 - center[1])[:, np.newaxis]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    across, down = x * cosine + y * sine, y * cosine - x * sine
    return (across * radii[1]) ** 2 + (down * radii[0]) ** 2 <= (radii[0] * radii[1]) ** 2


def strip(points: np.ndarray, line_width: float, height: int, width: int) -> np.ndarray:
    """Return the pixels of a line through points: a rectangle for each part, without caps.

    Args:
        points: float [count, 2], x and y in pixels.
        line_width: Width of the line in pixels.
        height: Height of the image.
        width: Width of the image.

    Returns:
        bool [height, width].
    """
    mask = np.zeros((height, width), bool)
    for start, end in zip(points[:-1], points[1:], strict=True):
        length = np.hypot(*(end - start))
        if length > 0:
            x, y = (end - start) / length * (line_width / 2)
            side = np.array([-y, x])
            corners = np.stack([start + side, end + side, end - side, start - side])
            mask |= polygon(corners, height, width)
    return mask
