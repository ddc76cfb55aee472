#!/bin/sh
# venv.sh DIR REQUIREMENTS: makes the virtual environment DIR and installs the installers into it.
# $PYTHON may name the interpreter; otherwise the first suitable one on the path is taken.
set -eu
dir=$1
requirements=$2

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    is_new_enough "$PYTHON" || {
        echo "PYTHON=$PYTHON is not a Python of version 3.11 or newer." >&2
        exit 1
    }
else
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate"; then
            PYTHON=$candidate
            break
        fi
    done
    [ -n "${PYTHON:-}" ] || {
        echo "Signalbox needs Python 3.11 or newer, and there is none on the path." >&2
        echo "Install one, or name it: make install PYTHON=/path/to/python3.11" >&2
        exit 1
    }
fi

"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || {
    echo "$PYTHON cannot make virtual environments: its venv module is not whole. Run:" >&2
    echo "    sudo apt-get install -y python3-venv" >&2
    exit 1
}

# An environment whose interpreter went away is made anew; one that works is kept.
"$dir/bin/python" -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear "$dir"
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check \
    --require-hashes -r "$requirements"
