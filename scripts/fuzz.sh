#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS, as many at a time as there are cores, and closes with
# `N passed, N failed`. What a target finds stays in media-node/fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-600}
tools=$PWD/.cache/cargo
logs=$PWD/.cache/fuzz
export PATH=$tools/bin:$PATH
# Sanitizers are unstable options; this lets the stable compiler take them.
export RUSTC_BOOTSTRAP=1

if ! command -v cargo-fuzz >/dev/null; then
  echo "building cargo-fuzz"
  cargo install --quiet --locked --root "$tools" cargo-fuzz
fi
mapfile -t targets < <(cargo fuzz list --fuzz-dir media-node/fuzz)
cargo fuzz build --fuzz-dir media-node/fuzz

# What real clients send, for a target to begin with.
declare -A seeds=([offer]=media-node/sdp/tests/offers [answer]=media-node/sdp/tests/offers [fragment]=media-node/fuzz/seeds/fragment
  [report]=media-node/fuzz/seeds/report)

run_target() {
  local target=$1 log=$logs/$1.log
  mkdir -p "$logs/corpus/$target"
  # shellcheck disable=SC2086 # none, or one directory
  if cargo fuzz run --fuzz-dir media-node/fuzz "$target" "$logs/corpus/$target" ${seeds[$target]:-} -- \
    -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 >"$log" 2>&1; then
    echo "$target: ok, $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s"
  else
    tail -n 40 "$log"
    echo "$target: FAILED"
    return 1
  fi
}

failed=0
running=0
for target in "${targets[@]}"; do
  run_target "$target" &
  running=$((running + 1))
  if ((running == $(nproc))); then
    wait -n || failed=$((failed + 1))
    running=$((running - 1))
  fi
done
while ((running)); do
  wait -n || failed=$((failed + 1))
  running=$((running - 1))
done
echo "$((${#targets[@]} - failed)) passed, $failed failed"
((failed == 0))
