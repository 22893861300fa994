# Sourced by run_demo.sh, run_tests.sh and tools/test_oldest.sh: makes an environment, installs the
# package in it and activates it. It is made again only when setup.py has changed, or an
# installation did not finish.
#
#   . tools/environment.sh FOLDER [REQUIREMENT...]
#
# Requirements narrow the versions of setup.py.

environment=$1
requirements=(--editable '.[test]' "${@:2}")

fail() {
  echo "error: $*" >&2
  exit 1
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
      command -v "$candidate"
      return
    fi
  done
  fail "no Python 3.11, 3.12 or 3.13 found: install one, or name it in PYTHON="
}

make_environment() {
  local python
  python=$(find_python)
  rm -rf "$environment"
  if ! "$python" -m venv "$environment" >/dev/null 2>&1; then
    # Debian and Ubuntu have a part of the standard library in a package of its own.
    local package
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
      fail "$python cannot make virtual environments: sudo apt-get install $package"
    apt-get -qq update && apt-get -qq install -y "$package" >/dev/null ||
      fail "$package could not be installed"
    "$python" -m venv "$environment"
  fi
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
    "${requirements[@]}" ||
    fail "the installation failed; see the message above"
  cp setup.py "$environment/installed-setup.py"
}

if ! cmp --silent setup.py "$environment/installed-setup.py"; then
  echo "installing into $environment (TensorFlow is large: this takes a few minutes)"
  make_environment
fi
. "$environment/bin/activate"
