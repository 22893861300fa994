r"""Compares a training run that is killed and resumed with an uninterrupted one, bit by bit.

Every run is a process `python -m deeplab.train`, which is evaluated at its end. There is one run
for each seed. One more run has the first seed, is killed (SIGKILL) at random moments and started
again. It must end with the same bits as the first one.

Example:
    PYTHONPATH=research python benchmarks/resume.py --output_dir=/tmp/resume --seeds=0,1 -- \
        --flagfile=research/deeplab/recipes/camvid/train.txt --training_number_of_steps=600 \
        --dataset=research/deeplab/recipes/camvid/camvid.json --dataset_dir=camvid_tfrecord \
        --tf_initial_checkpoint=mnv2_dm05/model.ckpt --initialize_last_layer=false

The flags after `--` are those of `train.py`, such as --eval_split and --eval_crop_size.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

from deeplab.utils import checkpoint, checkpoint_files


def main() -> int:
    """Make all runs and print a table; return 1 if the bits of the killed run differ."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output_dir", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", default="0,1", help="comma separated")
    parser.add_argument("--kills", type=int, default=5, help="how often a run is killed")
    parser.add_argument(
        "--save_interval_secs", type=int, default=20, help="interval of the killed run"
    )
    options = parser.parse_args(sys.argv[1:split])
    flags = sys.argv[split + 1 :]
    seeds = [int(seed) for seed in options.seeds.split(",")]

    rows = []
    for seed in seeds:
        logdir = options.output_dir / f"seed{seed}"
        seconds = _train([*flags, f"--seed={seed}"], logdir)
        rows.append((f"seed {seed}", _miou(logdir), f"{seconds:.0f} s"))
    whole, killed = options.output_dir / f"seed{seeds[0]}", options.output_dir / "killed"
    flags += [f"--seed={seeds[0]}", f"--save_interval_secs={options.save_interval_secs}"]
    log = _train_with_kills(flags, killed, options.kills)
    rows.append((f"seed {seeds[0]}, killed", _miou(killed), log))
    for row in rows:
        print("{:20} mIoU {:.4f}  {}".format(*row))
    ours, theirs = _tensors(killed), _tensors(whole)
    other = [name for name in theirs if not np.array_equal(ours.get(name), theirs[name])]
    same = not other and set(ours) == set(theirs)
    print(f"{len(theirs)} tensors: {'all bits equal' if same else f'{len(other)} differ: {other}'}")
    return 0 if same else 1


def _start(flags: list[str], logdir: pathlib.Path) -> subprocess.Popen:
    logdir.mkdir(parents=True, exist_ok=True)
    with open(logdir / "log.txt", "a") as log:
        command = [sys.executable, "-m", "deeplab.train", *flags, f"--train_logdir={logdir}"]
        return subprocess.Popen(command, stdout=log, stderr=log)


def _train(flags: list[str], logdir: pathlib.Path) -> float:
    """Train to the end; return the seconds that it took."""
    start = time.monotonic()
    if _start([*flags, "--eval_every=1000000"], logdir).wait() != 0:
        sys.exit(f"training failed: see {logdir / 'log.txt'}")
    return time.monotonic() - start


def _train_with_kills(flags: list[str], logdir: pathlib.Path, kills: int) -> str:
    """Train, with kills some seconds after a checkpoint; return a description of them."""
    steps = []
    for _ in range(kills):
        process = _start([*flags, "--eval_every=1000000"], logdir)
        before = checkpoint_files.latest(str(logdir))
        while process.poll() is None and checkpoint_files.latest(str(logdir)) == before:
            time.sleep(0.05)
        time.sleep(random.uniform(0, 10))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        steps.append(int(_tensors(logdir)["global_step"]))
    _train(flags, logdir)
    return f"killed {len(steps)} times, resumed from the steps {steps}"


def _miou(logdir: pathlib.Path) -> float:
    return json.loads((logdir / "eval/eval.json").read_text())["miou"]


def _tensors(logdir: pathlib.Path) -> dict[str, np.ndarray]:
    reader = checkpoint.read(str(logdir))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


if __name__ == "__main__":
    sys.exit(main())
