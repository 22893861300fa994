#!/usr/bin/env bash
# Installs the package into .venv and runs the tests. --slow runs all of them; other arguments are
# those of pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tools/environment.sh .venv

# Each process takes whole files, because the tests of a file share networks. The files keep their
# order: sorted by their number of tests, those of few but long tests would come last, and one
# process would wait for the other. A process that crashes is not replaced: pytest-xdist 3.8 gives
# the new one files without tests that are left, and then waits for it forever.
exec python -m pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder \
  --max-worker-restart=0 "$@"
