"""The search for a CRF's parameters: it finds the best, and says what it tried."""

import itertools
import json

import numpy as np
import pytest

from deeplab import eval as eval_script
from deeplab.core import dense_crf
from deeplab.core.options import CrfOptions, InferenceOptions
from deeplab.datasets.data_generator import Dataset
from deeplab.evaluation import crf_search, predictor
from deeplab.input_preprocess import Preprocessing
from deeplab.testing import tiny

_SIZES = (6, 6, 8)


def _score_from(function, tried):
    def score(places):
        tried.extend(places)
        return [function(np.array(place)) for place in places]

    return score


@pytest.mark.parametrize("best", [(0, 0, 0), (5, 5, 7), (3, 1, 6), (2, 5, 0)])
def test_a_single_hill_is_climbed_with_few_trials(best):
    tried = []
    score = _score_from(lambda place: -float(np.square(place - best).sum()), tried)
    scores = crf_search.search(_SIZES, score)
    assert max(scores, key=scores.get) == best
    assert len(tried) == len(set(tried)) == len(scores) < 110
    for step in itertools.product((-1, 0, 1), repeat=3):
        neighbor = tuple(np.add(best, step))
        inside = all(0 <= index < size for index, size in zip(neighbor, _SIZES, strict=True))
        assert (neighbor in scores) == inside


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 3), (4, 1, 5)])
def test_small_grids(sizes):
    best = tuple(size - 1 for size in sizes)
    scores = crf_search.search(sizes, _score_from(lambda place: float(place.sum()), []))
    assert max(scores, key=scores.get) == best


# --- With a network ---

_BEST = CrfOptions(iterations=2, bi_w=8.0, bi_sxy=10.0, bi_srgb=20.0)
_GRID = {"bi_w": [1.0, 8.0], "bi_sxy": [10.0], "bi_srgb": [5.0, 20.0]}


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    """Build networks with fewer blocks, and trace none of them: the images are few."""
    with tiny.shallow(), tiny.eager():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    network = predictor.NetworkPredictor(
        tiny.OPTIONS, InferenceOptions(crf=CrfOptions(iterations=2))
    )
    path = tiny.save(tiny.shared_network(), tmp_path_factory.mktemp("train"), 7)
    network.restore(path)
    return network, path


@pytest.fixture(scope="module")
def records(trained, tmp_path_factory):
    """Images whose labels are what the network and one CRF make of them; every second is not."""
    network, _ = trained
    samples = {}
    for index in range(4):
        image = tiny.picture(33, 33, index)
        refined = dense_crf.refine(
            image[np.newaxis], network.probabilities(image[np.newaxis]), _BEST
        )
        label = refined[0].numpy().argmax(axis=-1).astype(np.uint8)
        samples[f"image_{index}"] = (image, np.zeros_like(label) if index % 2 else label)
    return tiny.write_records(tmp_path_factory.mktemp("records"), samples)


def _dataset(records):
    preprocessing = Preprocessing(crop_size=(33, 33), mean_pixel=(127.5, 127.5, 127.5))
    return Dataset(tiny.DATASET, "val", records, preprocessing)


@pytest.mark.slow
def test_the_parameters_that_made_the_labels_are_found(trained, records):
    search = crf_search.CrfSearch(trained[0], _dataset(records), _GRID, num_images=2)
    result = search.run()
    assert result.ranking()[0] == (_BEST, 1.0)
    assert result.flags() == "--crf --crf_bi_w=8 --crf_bi_sxy=10 --crf_bi_srgb=20"
    assert len(result.scores) == 4
    assert result.unrefined < result.ranking()[1][1] < 1.0


def _run_script(trained, records, tmp_path, *arguments):
    """Runs `eval.py` on the trained network; results go to the folder `log`."""
    tiny.DATASET.save(tmp_path / "tiny.json")
    tiny.run(
        eval_script,
        f"--dataset={tmp_path / 'tiny.json'}",
        f"--dataset_dir={records}",
        f"--checkpoint_dir={trained[1]}",
        f"--eval_logdir={tmp_path / 'log'}",
        *arguments,
    )


def test_the_script_prints_and_writes_what_was_tried(trained, records, tmp_path, capsys):
    _run_script(
        *(trained, records, tmp_path),
        "--eval_crop_size=33,33",
        *("--crf", "--crf_search", "--crf_iterations=2", "--crf_search_images=2"),
        *("--crf_search_bi_w=1,8", "--crf_search_bi_sxy=10", "--crf_search_bi_srgb=20"),
    )
    text = capsys.readouterr().out
    assert "The best: --crf --crf_bi_w=8 --crf_bi_sxy=10 --crf_bi_srgb=20" in text
    assert "2 images, mIoU without a CRF" in text
    for name in ("crf_search-7.json", "crf_search.json"):
        facts = json.loads((tmp_path / "log" / name).read_text())
        assert facts["best"]["bi_w"] == 8
        assert facts["best"]["iterations"] == 2
        assert [each["bi_w"] for each in facts["tried"]] == [8, 1]
        assert facts["tried"][0]["miou"] == 1.0
        assert facts["miou_without_crf"] < 1.0
    assert not (tmp_path / "log/eval.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--crf_search"], "--crf_search needs --crf"),
        (["--crf", "--crf_search_bi_w=3"], "--crf_search_bi_w has no effect without --crf_search"),
        (["--crf_search_images=3"], "--crf_search_images has no effect without --crf_search"),
        (
            ["--crf", "--crf_search", "--crf_bi_w=3"],
            "give --crf_search_bi_w in place of --crf_bi_w",
        ),
        (
            ["--crf", "--crf_search", "--crf_compatibility=x"],
            "--crf_search cannot use --crf_compatibility",
        ),
        (
            ["--crf", "--crf_search", "--crf_search_bi_w=a"],
            "--crf_search_bi_w is a; it must be a list of finite num",
        ),
        (["--crf", "--crf_search", "--crf_search_bi_w="], "--crf_search_bi_w is empty"),
        (["--crf", "--crf_search", "--crf_search_bi_sxy=0"], "--crf_search_bi_sxy is 0; it must"),
        (["--crf", "--crf_search", "--crf_search_images=0"], "--crf_search_images is 0; it must"),
    ],
)
def test_what_cannot_be_names_the_flag(trained, records, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        _run_script(trained, records, tmp_path, *arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "log").exists()
