#!/bin/sh
# Pins what the clients of tests/clients need, by version and hash. Options go to uv.
set -eu
cd "$(dirname "$0")/.."

for wanted in tests/clients/requirements/*.in; do
    tools/uv.sh pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url \
        --output-file "${wanted%.in}.txt" "$wanted" "$@" >/dev/null
done
