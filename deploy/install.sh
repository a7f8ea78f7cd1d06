#!/bin/sh
# Create a virtual environment and install the pinned packages and the project into it.
# Usage: deploy/install.sh VENV REQUIREMENTS     PYTHON=… chooses the interpreter (3.11 to 3.13).
set -eu
venv=$1
requirements=$2

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

if [ ! -x "$venv/bin/python" ]; then
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11} none; do
        supported "$python" && break
    done
    if [ "$python" = none ]; then
        echo "Sidetone needs Python 3.11, 3.12 or 3.13; name one with PYTHON=/path/to/python make …" >&2
        exit 1
    fi
    echo "Creating $venv with $("$python" --version)"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
        # Debian's python3 without python3-venv has no ensurepip: the system's pip can fill the environment too.
        rm -rf "$venv"
        "$python" -m venv --without-pip "$venv"
        if ! "$python" -m pip --python "$venv/bin/python" install --quiet pip 2>/dev/null; then
            rm -rf "$venv"
            echo "$python can make no virtual environment with pip: install python3-venv, or pip, or another Python" >&2
            exit 1
        fi
    fi
fi

echo "Installing $requirements"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
    -r "$requirements"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
