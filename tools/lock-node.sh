#!/bin/sh
# Pins the npm packages of tests/node/package.json with their dependencies, by version and hash.
set -eu
cd "$(dirname "$0")/.."
tools/npm.sh --prefix tests/node install --package-lock-only
# npm copies every package's appeal for funding too: addresses that are no business of a lock.
"$(.venv/bin/python -m tests.node_env)" --input-type=module --eval '
    import fs from "node:fs";
    const file = "tests/node/package-lock.json";
    const lock = JSON.parse(fs.readFileSync(file, "utf8"));
    for (const entry of Object.values(lock.packages)) delete entry.funding;
    fs.writeFileSync(file, JSON.stringify(lock, null, 2) + "\n");
'
