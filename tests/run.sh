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
# The labs of this run: whatever is left in it when the run ends goes.
export PODNET_LAB_DIR=/run/podnet-test-$$

# Builds podnet's programs and these test programs at once: built apart they would have other features,
# and be built twice. Prints a line per test program: its name, its package's folder, its path.
build() {
    $CARGO build --workspace --locked --features "$FAULTS" --bins "$@" --message-format=json-render-diagnostics |
        sed -nE 's|.*"manifest_path":"([^"]*)/Cargo.toml","target":\{[^}]*"name":"([^"]*)".*"profile":\{[^}]*"test":true.*"executable":"([^"]*)".*|\2 \1 \3|p'
}

# A test program that computes, and waits for nothing: it runs after those whose agents have deadlines.
computes() {
    case $1 in kernel | podnet_core | sim) ;; *) false ;; esac
}

# These have the processors for themselves, one after another: what `repair` holds podnet to within a second is
# done later with neighbours, and `world` computes on all processors.
ALONE=(repair world)

alone() {
    [[ " ${ALONE[*]} " = *" $1 "* ]]
}

has_its_turn() {
    [ "$1" = "$turn" ]
}

# What has to be done within moments in these is done later with too many neighbours.
bounded() {
    case $1 in life | podnet_agent) ;; *) false ;; esac
}

waits() {
    ! computes "$1" && ! bounded "$1" && ! alone "$1"
}

# How many tests of a program run at the same time. A test of real agents waits most of the time, but with
# many more of them two processors would not keep up.
threads() {
    case $1 in
    cluster | repair) echo 3 ;;
    hostile | life | pods | podnet_agent) echo 2 ;;
    *) echo 1 ;;
    esac
}

# Starts a test program: a job, and so a process group of its own, which ends as a whole.
start() {
    local name=$1 dir=$2 program=$3
    shift 3
    (cd "$dir" && CARGO_MANIFEST_DIR=$dir exec "$program" "$@") </dev/null &
    running[$!]=$name
}

# Starts those of all test programs for which this holds, each with a log.
start_all() {
    local name dir program
    while read -r name dir program; do
        "$1" "$name" || continue
        RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(threads "$name")} \
            start "$name" "$dir" "$program" >"$scratch/${program##*/}" 2>&1
        log[$!]=$scratch/${program##*/}
    done <<<"$programs"
}

# Waits for the started test programs for which this holds, and shows what failing ones have printed.
finish_all() {
    local job code name told
    local -a jobs=()
    for job in "${!running[@]}"; do
        if "$1" "${running[$job]}"; then jobs+=("$job"); fi
    done
    while [ ${#jobs[@]} != 0 ]; do
        code=0
        wait -n -p job "${jobs[@]}" || code=$?
        name=${running[$job]}
        forget "$job"
        if [ $code = 0 ]; then
            told=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.* finished in \(.*\)s$/\1 passed in \2 s/p' "${log[$job]}")
            echo "$name: ${told:-passed}"
        else
            cat "${log[$job]}"
            echo "$name: FAILED with exit code $code"
            failed+=("$name")
        fi
    done
}

# The job has ended.
forget() {
    local job
    unset "running[$1]"
    for job in "${!jobs[@]}"; do
        if [ "${jobs[$job]}" = "$1" ]; then unset "jobs[$job]"; fi
    done
}

# Takes down the labs that are left of a run.
sweep() {
    local lab
    for lab in "$1"/*/; do
        [ -d "$lab" ] || continue
        PODNET_LAB_DIR=$1 "$PODNET_BIN_DIR/podnet-lab" --lab "$(basename "$lab")" down || true
    done
    rmdir "$1" 2>/dev/null || true
}

# Ends what was started, and removes what that leaves, however this script ends.
clean() {
    local job
    trap '' INT TERM HUP
    for job in "${!running[@]}"; do
        kill -KILL -- "-$job" 2>/dev/null || true
    done
    { wait || true; } 2>/dev/null
    sweep "$PODNET_LAB_DIR"
    rm -r "$scratch"
}

# Those of runs that were killed.
sweep_others() {
    local dir
    for dir in /run/podnet-test-*/; do
        dir=${dir%/}
        if [ -d "$dir" ] && ! [ -d "/proc/${dir##*-}" ]; then sweep "$dir"; fi
    done
}

declare -A running=() log=()
failed=()
scratch=$(mktemp -d)
trap clean EXIT
trap 'exit 130' INT TERM HUP

if [ $# = 0 ]; then
    programs=$(build --tests)
    sweep_others
    set -m
    start_all waits
    finish_all waits
    start_all bounded
    finish_all bounded
    start_all computes
    finish_all computes
    for turn in "${ALONE[@]}"; do
        start_all has_its_turn
        finish_all has_its_turn
    done
    $CARGO test --workspace --locked --features "$FAULTS" --doc --quiet || failed+=('the examples of the documentation')
    for name in "${failed[@]}"; do
        echo "failed: $name"
    done
    [ ${#failed[@]} = 0 ]
    exit
fi

wanted=$1
shift
suites=$(compgen -G '*/tests/*' || true; compgen -G '*/*/tests/*' || true)
if grep -Eq "/tests/$wanted(\.rs)?$" <<<"$suites"; then
    programs=$(build --test "$wanted")
else
    programs=$(build --tests)
fi
sweep_others
set -m
found=no
while read -r name dir program; do
    [ "$name" = "$wanted" ] || continue
    found=yes
    RUST_TEST_THREADS=${RUST_TEST_THREADS:-6} start "$name" "$dir" "$program" "$@"
    wait $! || failed+=("$name")
    unset "running[$!]"
done <<<"$programs"
if [ $found = no ]; then
    echo "error: there is no test program '$wanted'" >&2
    echo "hint: there are $(cut -d' ' -f1 <<<"$programs" | paste -sd' ')" >&2
    exit 2
fi
[ ${#failed[@]} = 0 ]
