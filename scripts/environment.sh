# Sourced by the other scripts: makes .venv, with what the lock file pins, and names it $VENV.
#   environment run     what the product needs to run, the embedded PostgreSQL included
#   environment dev     that, and what tests and checks need
# Needs only python3 >= 3.11. Takes uv when it is there, else venv and pip.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
VENV=$ROOT/.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE="${PYTHONDONTWRITEBYTECODE-}"

say() { printf '%s\n' "$*" >&2; }

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        printf '%s\n' "$candidate"
        return 0
    done
    say "Decahertz needs python3 >= 3.11 and found none (set PYTHON to name one)"
    return 2
}

make_venv() {
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --allow-existing --python "$1" "$VENV"
        return
    fi
    if ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian ships these apart from python3.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            say "installing python3-venv"
            { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends python3-venv; } >/dev/null || return 2
        else
            say "this python3 has no venv module: install the package python3-venv, or uv"
            return 2
        fi
    fi
    "$1" -m venv "$VENV"
}

install_locked() { # install_locked EXTRA
    constraints=$VENV/constraints.txt
    "$VENV/bin/python" "$ROOT/scripts/constraints.py" "$ROOT/uv.lock" >"$constraints" || return 2
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python "$VENV/bin/python" -c "$constraints" \
            -e "$ROOT[$1]" -e "$ROOT/client"
    else
        "$VENV/bin/python" -m pip install --quiet -c "$constraints" -e "$ROOT[$1]" -e "$ROOT/client"
    fi
}

environment() {
    case $1 in run) extra=embedded ;; *) extra=dev ;; esac
    stamp=$(cat "$ROOT/pyproject.toml" "$ROOT/uv.lock" "$ROOT/client/pyproject.toml" | cksum)
    wanted="$stamp $ROOT"
    for have in "$VENV/.installed-dev" "$VENV/.installed-$extra"; do
        [ -f "$have" ] && [ "$(cat "$have")" = "$wanted" ] && return 0
    done
    say "preparing .venv ($extra); the first time this takes a while"
    python=$(find_python) || return 2
    [ -x "$VENV/bin/python" ] || make_venv "$python" || return 2
    install_locked "$extra" || { say "the installation failed"; return 2; }
    printf '%s' "$wanted" >"$VENV/.installed-$extra"
}
