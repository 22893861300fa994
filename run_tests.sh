#!/usr/bin/env bash
# Sets up and runs the tests. --slow runs all of them; other arguments go to pytest as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. tools/environment.sh

# Each process takes whole files, whose tests share networks.
exec python -m pytest --numprocesses=auto --dist=loadfile "$@"
