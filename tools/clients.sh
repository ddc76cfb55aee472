#!/bin/sh
# clients.sh: environments of their own for other clients (tests/clients), then a run of each.
# Each Python client has a virtual environment below .venv-clients; one that is there is kept as long
# as its pinned requirements are the same. Options go to pytest.
set -eu
cd "$(dirname "$0")/.."

for pinned in tests/clients/requirements/*.txt; do
    name=$(basename "$pinned" .txt)
    place=.venv-clients/$name
    if ! cmp -s "$pinned" "$place/installed.txt"; then
        tools/uv.sh venv --quiet --clear --python .venv/bin/python "$place"
        tools/uv.sh pip install --quiet --python "$place/bin/python" --require-hashes -r "$pinned"
        cp "$pinned" "$place/installed.txt"
    fi
done

lock=tests/clients/node/package-lock.json
if ! cmp -s "$lock" tests/clients/node/node_modules/.installed; then
    tools/npm.sh --prefix tests/clients/node ci
    cp "$lock" tests/clients/node/node_modules/.installed
fi

exec .venv/bin/pytest tests/clients/runs.py --capture=no --quiet "$@"
