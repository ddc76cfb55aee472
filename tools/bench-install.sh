#!/bin/sh
# bench-install.sh litellm|tensorzero|portkey|nginx|redis: what the benchmark compares with, each in an
# environment of its own. What is there is kept as long as its pins are the same.
set -eu
cd "$(dirname "$0")/.."

python_environment() { # NAME
    pinned=benchmarks/requirements/$1.txt
    place=.venv-bench-$1
    cmp -s "$pinned" "$place/installed.txt" && return 0
    tools/uv.sh venv --quiet --clear --python .venv/bin/python "$place"
    tools/uv.sh pip install --quiet --python "$place/bin/python" --require-hashes -r "$pinned"
    cp "$pinned" "$place/installed.txt"
}

node_environment() {
    lock=benchmarks/node/package-lock.json
    cmp -s "$lock" benchmarks/node/node_modules/.installed && return 0
    tools/npm.sh --prefix benchmarks/node ci
    cp "$lock" benchmarks/node/node_modules/.installed
}

debian_package() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || tools/system-packages.sh "$2"
}

case $1 in
litellm | tensorzero) python_environment "$1" ;;
portkey) node_environment ;;
nginx) debian_package nginx nginx-light ;;
redis) debian_package redis-server redis-server ;;
*)
    echo "bench-install.sh: nothing is known of $1" >&2
    exit 2
    ;;
esac
