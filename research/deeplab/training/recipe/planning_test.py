import dataclasses
import itertools
import random

import pytest

from deeplab.core.options import ModelOptions
from deeplab.training.recipe import planning
from deeplab.training.recipe.facts import Facts, Measurement

GIGABYTE = 10**9
# Of CamVid, on two cores.
CAMVID = Facts(
    network=ModelOptions(depth_multiplier=0.5, num_classes=11),
    origin="of the checkpoint's variables",
    new_layers="decoder",
    checkpoint_classes=21,
    class_names=tuple("abcdefghijk"),
    num_images=367,
    median_size=(360, 480),
    largest_size=(360, 480),
    balance=(0.28, 0.2, 4.8, 0.15, 1.0, 0.42, 3.8, 2.0, 0.79, 6.4, 8.8),
    minutes=10,
    memory_bytes=8 * GIGABYTE,
    idle_bytes=GIGABYTE // 2,
    start_seconds=20.0,
    measurements=(
        Measurement(crop_size=353, batch_size=1, seconds=0.07, peak_bytes=800_000_000),
        Measurement(crop_size=353, batch_size=8, seconds=0.43, peak_bytes=1_800_000_000),
    ),
)


def _random_facts(seed):
    choose = random.Random(seed)
    stride = choose.choice([4, 8, 16, 32])
    height, width = choose.randint(1, 3000), choose.randint(1, 3000)
    crop = planning.crop_sizes((height, width), stride)[0]
    per_pixel = choose.uniform(1e-8, 1e-4)
    batches = choose.choice([(1,), (1, 4), (1, 4, 8)])
    bytes_per_pixel = choose.uniform(100, 10000)
    return dataclasses.replace(
        CAMVID,
        network=ModelOptions(output_stride=stride, num_classes=11),
        new_layers=choose.choice(["none", "logits", "decoder", "head"]),
        num_images=choose.randint(1, 100_000),
        median_size=(height, width),
        largest_size=(height + choose.randint(0, 100), width + choose.randint(0, 100)),
        balance=choose.choice([None, (1.0,) * 11, CAMVID.balance]),
        minutes=10 ** choose.uniform(-2, 4),
        memory_bytes=int(10 ** choose.uniform(9, 11)),
        measurements=tuple(
            Measurement(
                crop_size=crop,
                batch_size=batch,
                seconds=per_pixel * crop**2 * batch * choose.uniform(0.8, 1.2),
                peak_bytes=CAMVID.idle_bytes + int(bytes_per_pixel * crop**2 * batch),
            )
            for batch in batches
        ),
    )


def _plans():
    """Plans for many facts; those for which nothing fits are left out."""
    found = []
    for seed in range(600):
        facts = _random_facts(seed)
        try:
            found.append((facts, planning.plan(facts)))
        except ValueError as error:
            assert "--memory_gb" in str(error)
            side = planning.crop_sizes(facts.median_size, facts.network.output_stride)[-1]
            assert facts.peak_bytes(side, 1) * 1.25 > facts.memory_bytes
    assert len(found) > 400
    return found


@pytest.fixture(scope="module")
def plans():
    return _plans()


def test_crops_are_multiples_of_the_stride_plus_one_that_fit(plans):
    for facts, plan in plans:
        stride = facts.network.output_stride
        assert plan.crop_size % stride == 1
        assert plan.crop_size <= max(min(facts.median_size), 2 * stride + 1)
        for crop, side in zip(plan.eval_crop_size, facts.largest_size, strict=True):
            assert crop % stride == 1
            assert side <= crop < side + stride + (side == 1)


def test_steps_stay_within_time_memory_and_epochs(plans):
    for facts, plan in plans:
        assert plan.steps >= 1
        assert plan.batch_size in (1, 2, 4, 8, 16)
        needed = plan.steps * facts.seconds(plan.crop_size, plan.batch_size)
        assert plan.steps == 1 or needed + facts.start_seconds <= 60 * facts.minutes
        assert facts.peak_bytes(plan.crop_size, plan.batch_size) * 1.25 <= facts.memory_bytes
        assert plan.epochs <= 500 + plan.batch_size / facts.num_images or plan.steps <= 1000


def test_batch_norm_is_frozen_unless_images_and_steps_are_many(plans):
    for _, plan in plans:
        assert plan.fine_tune_batch_norm == (plan.batch_size >= 12 and plan.steps >= 10000)
    assert len({plan.fine_tune_batch_norm for _, plan in plans}) == 2


def test_only_new_layers_learn_faster(plans):
    for facts, plan in plans:
        assert plan.multiplier == (1.0 if facts.new_layers == "none" else 10.0)
        assert plan.initialize_last_layer == (facts.new_layers in ("none", "decoder"))
        assert plan.last_layers_are_logits == (facts.new_layers == "logits")
        assert 0 < plan.learning_rate <= 0.007
        assert plan.optimizer == ("momentum" if plan.fine_tune_batch_norm else "adamw")
        assert plan.clip_gradient_norm == (None if plan.fine_tune_batch_norm else 1.0)


def test_random_layers_start_slowly_with_adamw(plans):
    for facts, plan in plans:
        is_slow = plan.optimizer == "adamw" and facts.new_layers != "none" and plan.steps >= 5
        assert (plan.slow_start_steps > 0) == is_slow
        assert plan.slow_start_steps <= plan.steps / 5
        assert plan.slow_start_learning_rate < plan.learning_rate


def test_weights_are_given_where_a_class_is_rare(plans):
    for facts, plan in plans:
        rare = facts.balance is not None and max(facts.balance) >= 4
        assert (plan.label_weights is not None) == rare
        if rare:
            assert len(plan.label_weights) == facts.network.num_classes
            assert all(0 < weight <= 5 for weight in plan.label_weights)
            # The order of the weights is that of the balance.
            for (a, wa), (b, wb) in itertools.combinations(
                zip(facts.balance, plan.label_weights, strict=True), 2
            ):
                assert (a < b) <= (wa <= wb)


def test_the_same_facts_give_the_same_plan():
    for seed in range(20):
        results = []
        for _ in range(2):
            try:
                results.append(planning.plan(_random_facts(seed)))
            except ValueError as error:
                results.append(str(error))
        assert results[0] == results[1]


def test_more_time_never_gives_fewer_images(plans):
    for facts, plan in plans:
        more = planning.plan(dataclasses.replace(facts, minutes=2 * facts.minutes))
        assert more.crop_size >= plan.crop_size
        assert more.epochs >= plan.epochs * (plan.crop_size / more.crop_size) ** 2 * 0.7


def test_camvid_gets_what_measured_well():
    """About the settings of recipes/camvid/train.txt, which were found by hand."""
    plan = planning.plan(CAMVID)
    assert (plan.crop_size, plan.batch_size, plan.eval_crop_size) == (353, 8, (369, 481))
    assert 1200 <= plan.steps <= 1400
    assert not plan.fine_tune_batch_norm
    assert (plan.optimizer, plan.learning_rate, plan.multiplier) == ("adamw", 0.0005, 10.0)
    assert plan.clip_gradient_norm == 1.0
    assert (plan.slow_start_steps, plan.slow_start_learning_rate) == (100, 0.00005)
    assert (plan.scales.min_scale_factor, plan.scales.max_scale_factor) == (0.75, 1.5)
    by_hand = (0.55, 0.45, 2.2, 0.4, 1, 0.65, 2, 1.4, 0.9, 2.5, 3)
    assert plan.label_weights == pytest.approx(by_hand, rel=0.06)


def test_the_time_of_a_step_has_a_part_that_all_steps_take():
    for batch in (1, 8):
        seconds = {1: 0.07, 8: 0.43}[batch]
        assert CAMVID.seconds(353, batch) == pytest.approx(seconds)
    assert CAMVID.seconds(353, 4) == pytest.approx(0.07 + 3 / 7 * 0.36)
    # A quarter of the pixels of the smaller one.
    assert 0.07 / 4 < CAMVID.seconds(177, 1) < 0.07
    one = dataclasses.replace(CAMVID, measurements=CAMVID.measurements[1:])
    assert one.seconds(353, 4) == pytest.approx(0.43 / 2)


def test_a_slow_machine_gets_smaller_crops_and_then_smaller_batches():
    def slower(factor):
        measurements = tuple(
            dataclasses.replace(each, seconds=factor * each.seconds) for each in CAMVID.measurements
        )
        plan = planning.plan(dataclasses.replace(CAMVID, measurements=measurements))
        return plan.crop_size, plan.batch_size

    chosen = [slower(factor) for factor in (0.05, 1, 1.5, 5, 20, 100)]
    assert chosen[0] == (353, 16)
    assert chosen[1] == (353, 8)
    assert chosen[2][0] < 353 and chosen[2][1] == 8
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[-1] == (177, 1)
