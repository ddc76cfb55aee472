#!/bin/sh
# Pins the dependencies of pyproject.toml by version and hash into requirements/*.txt.
# Options go to uv: --upgrade takes newer versions where the bounds allow them.
set -eu
cd "$(dirname "$0")/.."

compile() { # OUTPUT SOURCE…
    output=requirements/$1
    shift
    # No header, annotation or index: the files name packages and hashes, and no place.
    tools/uv.sh pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --output-file "$output" "$@" >/dev/null
}

# Each file agrees with the ones before it, so that all three fit into one environment.
compile bootstrap.txt "$@" requirements/bootstrap.in
compile runtime.txt "$@" -c requirements/bootstrap.txt pyproject.toml
compile dev.txt "$@" -c requirements/bootstrap.txt -c requirements/runtime.txt \
    pyproject.toml --group dev
