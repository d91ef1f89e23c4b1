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

# How many tests of a program run at the same time. A test of real agents waits most of the time, but with
# many more of them two processors would not keep up.
threads() {
    case $1 in
    cluster | life) echo 4 ;;
    hostile | pods | repair) echo 3 ;;
    *) echo 1 ;;
    esac
}

# Runs a test program, and shows what it printed if it fails. One that computes, and waits for nothing,
# takes what the others leave of the processors.
run() {
    local name=$1 dir=$2 program=$3 began=$SECONDS nice=
    computes "$name" && nice='nice -n 19'
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(threads "$name")}
    if (cd "$dir" && CARGO_MANIFEST_DIR=$dir exec $nice "$program") >"$logs/$name" 2>&1; then
        echo "$name: $(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$logs/$name") in $((SECONDS - began)) s"
    else
        cat "$logs/$name"
        echo "$name: FAILED in $((SECONDS - began)) s"
        return 1
    fi
}

computes() {
    case $1 in kernel | podnet_agent | podnet_core | sim) ;; *) false ;; esac
}

# What has to be done within a second or five in these is done later with too many neighbours.
bounded() {
    case $1 in life | repair) ;; *) false ;; esac
}

# Starts those of the test programs for which this holds.
start() {
    local name dir program
    while read -r name dir program; do
        "$@" "$name" || continue
        run "$name" "$dir" "$program" &
        jobs+=($!)
    done <<<"$programs"
}

# Waits for what was started with these numbers.
finish() {
    local job
    for job in "$@"; do
        wait "$job" || failed=1
    done
}

waits() {
    ! computes "$1" && ! bounded "$1"
}

if [ $# = 0 ]; then
    programs=$(build --tests)
    logs=$(mktemp -d)
    trap 'rm -r "$logs"' EXIT
    # Each job is a process group of its own, which an interrupt has to reach as a whole.
    set -m
    jobs=() failed=0
    trap 'for job in "${jobs[@]}"; do kill -- "-$job" || true; done; exit 130' INT TERM
    start computes
    computing=${#jobs[@]}
    start waits
    waiting=${#jobs[@]}
    finish "${jobs[@]:computing:waiting-computing}"
    start bounded
    finish "${jobs[@]:waiting}" "${jobs[@]:0:computing}"
    $CARGO test --workspace --locked --features "$FAULTS" --doc --quiet || failed=1
    exit $failed
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
    (cd "$dir" && CARGO_MANIFEST_DIR=$dir RUST_TEST_THREADS=${RUST_TEST_THREADS:-6} "$program" "$@")
done <<<"$programs"
if [ $found = no ]; then
    echo "error: there is no test program '$wanted'" >&2
    echo "hint: there are" $(cut -d' ' -f1 <<<"$programs") >&2
    exit 2
fi
