#!/usr/bin/env bash
# Runs every fuzz target for SECONDS_EACH (600 by default), two at a time; ends with non-zero when one finds something.
# Needs `cargo install cargo-fuzz --locked`. The sanitizers need nightly features of the compiler, which
# RUSTC_BOOTSTRAP=1 lets a stable one take; it is set for this run alone.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 2; }
export RUSTC_BOOTSTRAP=1
SECONDS_EACH=${SECONDS_EACH:-600}
targets=$(cargo fuzz list)
cargo fuzz build
mkdir -p fuzz/logs
run() {
  mkdir -p "fuzz/corpus/$1"
  # said here, for `set -e` does not hold in what stands before `||`
  cargo fuzz run "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -- -max_total_time="$SECONDS_EACH" -rss_limit_mb=2048 -timeout=10 -max_len=65536 \
    -dict=fuzz/words.dict >"fuzz/logs/$1.log" 2>&1 || return 1
  echo "$1: clean, $(grep -E '^Done|stat::number_of_executed_units' "fuzz/logs/$1.log" | tail -1)"
}
export -f run
export SECONDS_EACH
echo "$targets" | xargs -P 2 -I{} bash -c 'run {} || { echo "{}: found something, see fuzz/logs/{}.log" >&2; exit 255; }'
