import base64
import hashlib
import importlib.resources
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from deeplab.visualization import page
from deeplab.visualization.page import TableCell, tag

_EVIL = "<script>alert('&\"')</script>"


class _Reader(HTMLParser):
    """Collects elements, and checks that each one is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))
        if name not in ("img", "input", "meta", "link", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, name):
        return [attributes for found, attributes in self.found if found == name]


class TestTags:
    def test_text_and_attributes_are_escaped_and_markup_is_not(self):
        element = tag("p", _EVIL, tag("b", "x"), None, title=_EVIL, hidden=True, class_=None)
        reader = _Reader(element)
        assert reader.found == [("p", {"title": _EVIL, "hidden": None}), ("b", {})]
        assert "".join(reader.texts) == _EVIL + "x"

    def test_names_of_attributes(self):
        assert tag("i", aria_label="a", class_="b", data_value=1) == (
            '<i aria-label="a" class="b" data-value="1"></i>'
        )


class TestNumbers:
    def test_percent(self):
        assert [page.percent(value) for value in (0.12345, 1, 0, np.nan)] == [
            "12.3",
            "100.0",
            "0.0",
            "–",
        ]

    def test_points(self):
        values = (0.0123, -0.0123, -0.0001, 0, np.nan)
        assert [page.points(value) for value in values] == ["+1.2", "−1.2", "0.0", "0.0", "–"]
        assert [page.change(value).kind for value in values] == [
            "better",
            "worse",
            None,
            None,
            None,
        ]


class TestTables:
    def test_rows_have_headings_and_what_sorts_them(self):
        rows = [[TableCell(_EVIL), page.share(0.25)], [TableCell("b"), page.share(np.nan)]]
        reader = _Reader(page.table("About", ["name", "IoU"], rows))
        headings = reader.all("th")
        assert [each["scope"] for each in headings] == ["col", "col", "row", "row"]
        assert [each.get("aria-sort") for each in headings] == ["none", "none", None, None]
        assert len(reader.all("button")) == 2
        cells = reader.all("td")
        assert [float(each["data-value"]) for each in cells] == pytest.approx(
            [0.25, np.nan], nan_ok=True
        )
        assert "--v:0.2500" in cells[0]["style"]
        assert "style" not in cells[1]
        assert _EVIL in reader.texts

    def test_a_heat_map_shows_what_is_not_almost_nothing(self):
        shares = np.array([[0.9, 0.0004], [np.nan, 0.04]])
        notes = np.array([["a", "b"], ["c", _EVIL]], object)
        reader = _Reader(page.heat_map("About", ["x", "y"], shares, notes))
        cells = [each for each in reader.all("td") if "style" in each]
        assert [each["title"] for each in cells] == ["a", _EVIL]
        assert [each["class"] for each in cells] == ["hit", "hit"]
        assert "90" in reader.texts
        assert "4.0" in reader.texts


class TestDocument:
    def test_it_loads_nothing_and_runs_one_script(self):
        text = page.document(_EVIL, tag("p", _EVIL))
        reader = _Reader(text)
        assert not re.search(r"(src|href)=\"(?!data:|#)", text)
        assert "url(" not in text
        assert "@import" not in text
        (policy,) = (each["content"] for each in reader.all("meta") if "http-equiv" in each)
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert len(reader.all("script")) == 1
        script = text[text.index("<script>") + 8 : text.rindex("</script>")]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
        assert reader.all("html") == [{"lang": "en"}]


def _luminance(color):
    """Relative luminance as WCAG defines it, of RGB 0..1."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_text_can_be_read(scheme):
    """WCAG 2 asks for a contrast of 4.5."""
    style = importlib.resources.files(page.__package__).joinpath("page.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colors = {
        name: np.frombuffer(bytes.fromhex(value), np.uint8) / 255
        for name, value in re.findall(r"--(\w+): #(\w{6});", block)
    }
    for text in ("ink", "faint", "accent", "better", "worse"):
        for behind in ("paper", "card"):
            assert _contrast(colors[text], colors[behind]) >= 4.5, (text, behind)
    # The cells of a heat map, from the weakest to the strongest.
    for kind in ("hit", "miss"):
        for part in np.linspace(0, 1, 21):
            behind = (1 - part) * colors["paper"] + part * colors[kind]
            assert _contrast(colors["ink"], behind) >= 4.5, (kind, part)
