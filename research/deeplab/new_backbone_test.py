"""The example of g3doc/new_backbone.md, carried out: it is a backbone like any other."""

import pathlib
import re
import types

import pytest

from deeplab import common, model
from deeplab.core import feature_extractor
from deeplab.utils import checkpoint

_PAGE = pathlib.Path(__file__).parent / "g3doc" / "new_backbone.md"
_BACKBONE, _ENTRY, _TEST = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)

# The class that the page writes into a file of its own.
_test_file = {"__name__": __name__}
exec(_TEST, _test_file)
TestSmallNet = pytest.mark.slow(_test_file["TestSmallNet"])


@pytest.fixture(scope="module", autouse=True)
def _registered():
    """Does what the page says, and undoes it in the end."""
    module = types.ModuleType("deeplab.core.small_net")
    exec(_BACKBONE, vars(module))
    entry = eval(f"{{{_ENTRY}}}", vars(feature_extractor) | {"small_net": module})
    backbones = feature_extractor.BACKBONES | entry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_extractor, "BACKBONES", backbones)
        yield


def test_the_variables_have_the_names_that_the_page_says():
    net = model.DeepLab(common.ModelOptions(model_variant="small_net"))
    names = list(checkpoint.official_variables(net))
    assert names[:2] == ["SmallNet/conv1/weights", "SmallNet/conv1/BatchNorm/gamma"]


def test_wrong_options_are_refused():
    for options, message in (
        ({"output_stride": 64}, "--output_stride is 64; small_net takes 2 to 32"),
        ({"decoder_output_stride": (2,)}, r"SmallNet has decoder features at \[4, 8, 16\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model.DeepLab(common.ModelOptions(model_variant="small_net", **options))


def test_ten_steps():
    assert re.findall(r"(?m)^(\d+)\. ", _PAGE.read_text()) == [str(n) for n in range(1, 11)]
