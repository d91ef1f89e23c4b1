#!/usr/bin/env bash
# Builds the tests and runs them, as root: what `make test` does.
#
#   tests/run.sh                  every test
#   tests/run.sh repair           one test program: a suite, which is a file or a folder in a `tests` folder
#   tests/run.sh repair rules::   of its tests, those whose names contain this
#   tests/run.sh podnet_core      the unit tests of a crate
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
# Lets the agent die at any step; see agent/src/fault.rs.
FAULTS=${FAULTS:-podnet-agent/fault-points}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
export PODNET_BIN_DIR=$CARGO_TARGET_DIR/debug

# Builds podnet's programs and these test programs at once: built apart they would have other features,
# and be built twice. Prints a line per test program: its name, its package's folder, its path.
build() {
    $CARGO build --workspace --locked --features "$FAULTS" --bins "$@" --message-format=json-render-diagnostics |
        sed -nE 's|.*"manifest_path":"([^"]*)/Cargo.toml","target":\{[^}]*"name":"([^"]*)".*"profile":\{[^}]*"test":true.*"executable":"([^"]*)".*|\2 \1 \3|p'
}

if [ $# = 0 ]; then
    exec $CARGO test --workspace --locked --features "$FAULTS"
fi

wanted=$1
shift
suites=$(compgen -G '*/tests/*'; compgen -G '*/*/tests/*')
if grep -Eq "/tests/$wanted(\.rs)?$" <<<"$suites"; then
    programs=$(build --test "$wanted")
else
    programs=$(build --tests)
fi
found=no
while read -r name dir program; do
    [ "$name" = "$wanted" ] || continue
    found=yes
    (cd "$dir" && CARGO_MANIFEST_DIR=$dir "$program" "$@")
done <<<"$programs"
if [ $found = no ]; then
    echo "error: there is no test program '$wanted'" >&2
    echo "hint: there are" $(cut -d' ' -f1 <<<"$programs") >&2
    exit 2
fi
