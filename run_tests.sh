#!/usr/bin/env bash
# Installs the package into .venv and runs the tests. --slow runs all of them; other arguments are
# those of pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tools/environment.sh .venv

# Each process takes whole files, because the tests of a file share networks. The files keep their
# order: sorted by their number of tests, those of few but long tests would come last, and one
# process would wait for the other.
exec python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder "$@"
