#!/bin/sh
# Makes sure that the programs which the tests start privately are installed: servers, a browser,
# valgrind. With arguments: those packages.
# Installs what is missing where that needs no password; otherwise prints the line to run.
# Starts no service, and leaves servers that run already alone.
set -eu

has_postgresql() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1
}

missing=""
if [ $# -gt 0 ]; then
    for wanted in "$@"; do # programs of packages that have their names
        command -v "$wanted" >/dev/null 2>&1 || missing="$missing $wanted"
    done
else
    has_postgresql || missing="$missing postgresql"
    command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
    command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
    command -v valgrind >/dev/null 2>&1 || missing="$missing valgrind"
fi
[ -n "$missing" ] || exit 0

explain_and_stop() {
    echo "The tests need:$missing. $1" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    echo "(\`make test-fast\` runs the tests that do without them.)" >&2
    exit 1
}

command -v apt-get >/dev/null 2>&1 ||
    explain_and_stop "There is no apt-get here; install them your system's way. On Debian:"
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    explain_and_stop "Installing them needs root. Run:"
fi

# Debian starts a server as soon as it is installed, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi

apt_get() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

echo "Installing$missing"
apt_get update || explain_and_stop "apt-get update failed. When it works, run:"
# shellcheck disable=SC2086  # one word a package
apt_get install --no-install-recommends $missing ||
    explain_and_stop "Installing them failed. To see why, run:"
