"""Damages files of every kind in thousands of ways, and reads them as the scripts do.

    PYTHONPATH=research python tools/fuzz.py --cases=200

For each kind of file, --cases cases are tried (fewer of what is slow to read). A case is a number,
which alone decides about the damage. A fault is printed and the others are still tried; the exit
code is 1 at the end. `--only` and `--first` repeat a case. Where a reader ends the whole process,
the last line says which case it was.
"""

import argparse
import collections
import faulthandler
import sys
import tempfile
import time

from absl import logging

from deeplab.testing import fuzz, fuzz_networks, fuzz_subjects


def main() -> int:
    """Try the cases, and print a line for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, help="cases of each kind of file")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", default="", help="part of the names of the kinds to try")
    parser.add_argument("--verbose", action="store_true", help="print every case first")
    arguments = parser.parse_args()
    faulthandler.enable()
    # Warnings about damaged files.
    logging.set_verbosity(logging.FATAL)
    faults = 0
    for subject in [*fuzz_subjects.all_subjects(), *fuzz_networks.exports()]:
        if arguments.only not in subject.name:
            continue
        begin, ends = time.monotonic(), collections.Counter()
        count = max(1, round(arguments.cases * subject.weight))
        for number in range(arguments.first, arguments.first + count):
            if arguments.verbose:
                print(f"{subject.name}: {number}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    ends["refused" if fuzz.check(subject, folder, number) else "accepted"] += 1
                except fuzz.Fault as fault:
                    ends["faults"] += 1
                    print(str(fault)[:2000], flush=True)
        faults += ends["faults"]
        seconds = time.monotonic() - begin
        print(f"{subject.name}: {dict(ends)} in {seconds:.1f} s", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
