"""A web page of one file: tags with escaped text, tables that can be sorted, pictures to compare.

It loads nothing: style, script and pictures are in it. Its policy allows no other script.
"""

import base64
import hashlib
import html
import importlib.resources
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from deeplab.visualization import thumbnails

# Elements without content.
_VOID = frozenset({"img", "input", "meta", "link", "br"})


class Markup(str):
    """Text that is HTML already, so that it is not escaped again."""

    __slots__ = ()


# A child of an element: text, which is escaped; HTML; or nothing.
Child = str | Markup | None


def tag(name: str, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element.

    Args:
        name: Name of the element.
        *children: Its content.
        **attributes: Its attributes: `_` stands for `-`, and one at the end is left out
            (`class_`). False and None leave an attribute out, True gives it no value.

    Example:
        tag("p", "a < b", tag("b", "c"), class_="note")  # <p class="note">a &lt; b<b>c</b></p>
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.removesuffix("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(str(value))}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Return children one after the other; text is escaped."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(child)
            for child in children
            if child is not None
        )
    )


def document(title: str, *body: Child) -> str:
    """Return a page.

    Args:
        title: Its title.
        *body: The content.
    """
    files = importlib.resources.files(__package__)
    style, script = (files.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    page = tag("html", head, tag("body", *body, tag("script", Markup(script))), lang="en")
    return f"<!doctype html>\n{page}\n"


def section(identity: str, title: str, *children: Child) -> Markup:
    """Return a part of the page under a heading; `identity` is the end of its address."""
    heading = f"{identity}-title"
    return tag(
        "section", tag("h2", title, id=heading), *children, id=identity, aria_labelledby=heading
    )


def percent(share: float, digits: int = 1) -> str:
    """Return a share in percent without the sign, or a dash for NaN."""
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    if math.isnan(difference):
        return "–"
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


class TableCell(NamedTuple):
    """A cell of a table.

    Args:
        content: Its content.
        value: Its sort key; NaN comes last. None: the text, in a column of texts.
        bar: Length of a bar in it, 0 to 1; None or NaN: it has none.
        kind: A CSS class.
    """

    content: Child
    value: float | None = None
    bar: float | None = None
    kind: str | None = None


def share(value: float, kind: str | None = None) -> TableCell:
    """Return a cell with a share in percent and its bar."""
    return TableCell(percent(value), value, value, kind)


def change(difference: float) -> TableCell:
    """Return a cell with a difference of shares, in the color of better or worse."""
    kind = None
    if points(difference) not in ("–", "0.0"):
        kind = "better" if difference > 0 else "worse"
    return TableCell(points(difference), difference, kind=kind)


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[TableCell]],
    *,
    sortable: bool = True,
) -> Markup:
    """Return a table; the first cell of a row is its heading.

    Args:
        caption: Its caption.
        columns: The headings.
        rows: The cells.
        sortable: The headings are buttons that sort the rows.
    """
    rows = list(rows)

    def heading(index: int, name: str) -> Markup:
        numeric = any(row[index].value is not None for row in rows)
        button = tag("button", name, type="button") if sortable else name
        return tag(
            "th",
            button,
            scope="col",
            class_="number" if numeric else None,
            aria_sort="none" if sortable else None,
        )

    head = tag("tr", *(heading(index, name) for index, name in enumerate(columns)))
    body = (
        tag("tr", *(_cell("td" if index else "th", cell) for index, cell in enumerate(row)))
        for row in rows
    )
    filled = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    # The keyboard scrolls what has the focus.
    return tag("div", filled, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(name: str, cell: TableCell) -> Markup:
    number = cell.value is not None
    bar = cell.bar is not None and not math.isnan(cell.bar)
    kinds = [cell.kind or "", "number" if number else "", "bar" if bar else ""]
    return tag(
        name,
        cell.content,
        scope="row" if name == "th" else None,
        class_=" ".join(filter(None, kinds)) or None,
        data_value=f"{cell.value:.9g}" if number else None,
        style=f"--v:{cell.bar:.4f}" if bar else None,
    )


def swatch(color: Sequence[int]) -> Markup:
    """Return a square of a color, RGB 0..255."""
    red, green, blue = map(int, color)
    return tag("i", class_="swatch", style=f"--c:rgb({red},{green},{blue})", aria_hidden="true")


def heat_map(caption: str, names: Sequence[str], shares: np.ndarray, notes: np.ndarray) -> Markup:
    """Return a matrix whose cells are the darker the larger they are.

    Args:
        caption: Its caption.
        names: Names of rows and columns.
        shares: Values of the cells, [rows, columns]: 0 to 1, or NaN for an empty cell.
        notes: A text for each cell, which is shown on demand.
    """
    columns = (tag("th", tag("span", name), scope="col") for name in names)
    rows = []
    for row, name in enumerate(names):
        cells = []
        for column in range(len(names)):
            value = shares[row, column]
            shown = not math.isnan(value) and value >= 0.0005
            kind = "hit" if row == column else "miss"
            cells.append(
                tag(
                    "td",
                    percent(value, 0 if value >= 0.0995 else 1) if shown else None,
                    class_=kind if shown else None,
                    style=f"--v:{value:.3f}" if shown else None,
                    title=str(notes[row, column]) if shown else None,
                )
            )
        rows.append(tag("tr", tag("th", name, scope="row"), *cells))
    filled = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", tag("td"), *columns)),
        tag("tbody", *rows),
        class_="heat",
    )
    return tag("div", filled, class_="scroll", tabindex=0, role="region", aria_label=caption)


def comparer(
    name: str, layers: thumbnails.Layers, *caption: Child, groups: Iterable[str] = ()
) -> Markup:
    """Return a figure with pictures over each other and a slider that moves between them.

    Without a script, and in print, the pictures are side by side.

    Args:
        name: Name of the image.
        layers: The pictures.
        *caption: Text below them.
        groups: Names of the lists that the figure belongs to; see `gallery`.
    """
    pictures = (
        tag(
            "img",
            src=uri,
            alt=f"{title} of {name}",
            width=layers.width,
            height=layers.height,
            decoding="async",
            class_=f"layer {title}",
        )
        for title, uri in zip(thumbnails.LAYERS, layers.uris, strict=True)
    )
    stack = tag("div", *pictures, class_="stack", style=f"--w:{layers.width};--h:{layers.height}")
    return tag(
        "figure",
        tag("div", stack, class_="frame"),
        _slider(f"From the image to the errors of {name}"),
        tag("figcaption", *caption),
        class_="comparer",
        data_groups=" ".join(groups),
    )


def _slider(label: str, **attributes: str) -> Markup:
    last = len(thumbnails.LAYERS) - 1
    control = tag(
        "input",
        type="range",
        min=0,
        max=last,
        step=0.05,
        value=last,
        aria_label=label,
        **attributes,
    )
    ticks = tag("span", *(tag("span", name) for name in thumbnails.LAYERS), aria_hidden="true")
    return tag("div", control, ticks, class_="slider")


def gallery(
    figures: Iterable[Markup], groups: Iterable[tuple[str, Iterable[tuple[str, str]]]]
) -> Markup:
    """Return figures of `comparer`, with a choice of which ones are shown.

    Args:
        figures: The figures.
        groups: Titles of kinds of lists, each with identities and titles of its lists.
    """
    options = [tag("option", "all of these", value="")]
    for title, lists in groups:
        entries = (tag("option", text, value=identity) for identity, text in lists)
        options.append(tag("optgroup", *entries, label=title))
    controls = tag(
        "div",
        tag("label", "Show ", tag("select", *options, class_="filter")),
        tag("span", class_="count", role="status"),
        _slider("From the image to the errors, for all pictures", class_="all"),
        class_="controls",
    )
    return tag("div", controls, tag("div", *figures, class_="cards"), class_="gallery")


def crop(uri: str, alt: str, *caption: Child) -> Markup:
    """Return a figure with one picture."""
    return tag(
        "figure",
        tag("img", src=uri, alt=alt, decoding="async"),
        tag("figcaption", *caption),
        class_="crop",
    )
