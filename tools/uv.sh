#!/bin/sh
# uv on the project's virtual environment, with what pip's configuration says of indexes and
# certificates: uv does not read it by itself. Whatever UV_* variables say goes first.
set -eu
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin

settings=$("$bin/python" -m pip config list 2>/dev/null)

pip_setting() { # sorted: `:env:`, which pip puts first too, comes before `global`
    printf '%s\n' "$settings" | sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p" | sed 's/\\n/ /g; q'
}

hand_over() { # VARIABLE SETTING
    eval "present=\${$1:-}"
    [ -z "$present" ] || return 0
    value=$(pip_setting "$2")
    [ -z "$value" ] || export "$1=$value"
}

[ -n "${UV_INDEX_URL:-}" ] || hand_over UV_DEFAULT_INDEX index-url
hand_over UV_EXTRA_INDEX_URL extra-index-url
hand_over SSL_CERT_FILE cert
# As pip does it: the best version of all indexes. The pinned hashes say which files are meant.
export UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"

export VIRTUAL_ENV="${bin%/bin}"
exec "$bin/uv" "$@"
