#!/usr/bin/env bash
# Runs each fuzz target of the agent under libFuzzer for so many seconds: `agent/fuzz.sh 60`.
# It starts from the corpus, keeps what it finds in target/fuzz/NAME, and ends at the first failure.
# The flags and variables are those of cargo-bolero, which would build the tests without a target
# too; they do not link with these flags.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1

flags="--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module"
for coverage in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$coverage"
done
host=$(rustc -vV | sed -n 's/^host: //p')
program=$(
    RUSTFLAGS=$flags cargo test --locked --profile fuzz --target "$host" --target-dir target/fuzz/build \
        -p podnet-agent --lib --no-run --message-format json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
)

for target in $("$program" --list --format terse fuzz:: | sed -n 's/: test$//p'); do
    name=${target##*::}
    case $name in damaged_*) continue ;; esac
    corpus=$(find agent/src -path "*/__fuzz__/$name/corpus")
    found=target/fuzz/$name
    mkdir -p "$found/corpus" "$found/failures"
    echo "$target: $seconds s"
    BOLERO_TEST_NAME=$target BOLERO_LIBTEST_HARNESS=1 \
        BOLERO_LIBFUZZER_ARGS="$found/corpus $corpus -artifact_prefix=$found/failures/ -max_total_time=$seconds -timeout=10" \
        "$program" "$target" --exact --nocapture --quiet --test-threads 1
done
