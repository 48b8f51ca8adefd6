#!/bin/sh
# Makes the virtual environment and installs the locked packages; installs Debian's packages where it may, and says the command otherwise.
set -eu
PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

sudo_prefix() { if [ "$(id -u)" = 0 ]; then echo ""; elif sudo -n true 2>/dev/null; then echo "sudo -n"; else return 1; fi; }

# Installs Debian packages by apt where that is allowed. $1: why; the rest: packages. Returns 1 after saying what to run by hand.
debian() {
  why="$1"; shift
  if command -v apt-get >/dev/null && prefix=$(sudo_prefix); then
    echo "setup: installing $* ($why)"
    $prefix apt-get install -y -qq "$@" >/dev/null 2>&1 && return 0
    $prefix apt-get update -qq >/dev/null 2>&1 || true
    $prefix apt-get install -y -qq "$@" >/dev/null 2>&1 && return 0
  fi
  echo "setup: $* is missing ($why). Install it with: sudo apt-get install $*" >&2
  return 1
}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: Python 3.11 or newer is needed; set PYTHON=" >&2; exit 1; }
"$PYTHON" -c 'import ensurepip' 2>/dev/null || debian "Python's venv module" python3-venv

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
missing=""
command -v pebble >/dev/null && command -v pebble-challtestsrv >/dev/null || missing="pebble"
[ -e /usr/lib/softhsm/libsofthsm2.so ] && command -v softhsm2-util >/dev/null || missing="$missing softhsm2"
if [ -n "$missing" ]; then
  # Meanwhile, in the background. Unquoted: it is a list.
  debian "the ACME server of the demonstration and the tests, and the hardware token of the tests" $missing &
  debian_job=$!
fi

# pip warns about directories of its own configuration that are not there.
pip_install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$@" 2>&1 | grep -vE 'is ignored: it is neither|DEPRECATION' || true; }

echo "setup: installing the locked packages into $VENV"
# uv installs several times faster; pip does it where uv cannot reach the registry (it does not read pip's configuration).
awk '/^uv==/ {found=1} found {print} found && !/\\$/ {exit}' requirements.lock > "$VENV/uv.lock"
pip_install --no-deps --require-hashes -r "$VENV/uv.lock"
[ -n "${SSL_CERT_FILE:-}" ] || [ ! -r /etc/ssl/certs/ca-certificates.crt ] || export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
"$VENV/bin/uv" pip install --quiet --compile-bytecode --python "$VENV/bin/python" --require-hashes -r requirements.lock 2>/dev/null ||
  pip_install --require-hashes -r requirements.lock
pip_install --no-deps --no-build-isolation --no-index --editable .
"$VENV/bin/certplane" --version >/dev/null || { echo "setup: the installation is not complete; the messages above say why" >&2; exit 1; }
[ -z "${debian_job:-}" ] || wait "$debian_job" || true
