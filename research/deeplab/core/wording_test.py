"""Messages are in good English for every number."""

import pytest

from deeplab.core import wording


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "class", "2 classes"),
        (3, "branch", "3 branches"),
        (2, "entry", "2 entries"),
        (2, "array", "2 arrays"),
        (1, "class", "1 class"),
    ],
)
def test_a_noun_follows_its_number(count, noun, text):
    assert wording.counted(count, noun) == text


def test_a_verb_follows_its_number():
    assert [wording.agree(count, "is", "are") for count in (0, 1, 2)] == ["are", "is", "are"]


def test_an_article_follows_the_word_after_it():
    assert wording.with_article("int64_list") == "an int64_list"
    assert wording.with_article("float_list") == "a float_list"
