#!/bin/sh
# Pins what `make bench` compares with, by version and hash, in benchmarks/. Options go to uv.
set -eu
cd "$(dirname "$0")/.."

for wanted in benchmarks/requirements/*.in; do
    tools/uv.sh pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url \
        --output-file "${wanted%.in}.txt" "$wanted" "$@" >/dev/null
done

tools/npm.sh --prefix benchmarks/node install --package-lock-only
# npm copies every package's appeal for funding too: addresses that are no business of a lock.
"$(.venv/bin/python -m tests.node_env)" --input-type=module --eval '
    import fs from "node:fs";
    const file = "benchmarks/node/package-lock.json";
    const lock = JSON.parse(fs.readFileSync(file, "utf8"));
    for (const entry of Object.values(lock.packages)) delete entry.funding;
    fs.writeFileSync(file, JSON.stringify(lock, null, 2) + "\n");
'
