#!/usr/bin/env bash
# Every formatter and linter; goes through all of them and fails if one did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=0
check() {
  echo "lint: $*"
  "$@" || failed=1
}

mapfile -t shell_scripts < <(git ls-files '*.sh' .ci/run)
mapfile -t python_files < <(git ls-files '*.py')

check cargo fmt --all --check
check cargo clippy --workspace --all-targets --locked -- --deny warnings
# Advisories come from the network; where it is installed, the rest is checked without.
if cargo deny --version >/dev/null 2>&1; then
  check cargo deny --offline check bans licenses sources
fi
check shellcheck --external-sources "${shell_scripts[@]}"
# The cluster's build makes it; its suite looks at the chart more closely.
if [[ -x .cache/cluster/bin/helm ]]; then
  check .cache/cluster/bin/helm lint --quiet --strict charts/showrunner --kube-version 1.37.0 --set image.repository=localhost/showrunner
fi
check env PYTHONPYCACHEPREFIX=.cache/pycache python3 -W error -m py_compile "${python_files[@]}"
check test -z "$(gofmt -l e2e)"
check go -C e2e/native/pion vet ./...
# Its dependencies are a whole SFU's, fetched for the benchmark only.
if [[ -x .cache/bin/livekit-load ]]; then
  check go -C e2e/bench/livekit vet ./...
fi
for package in media-node/web e2e/browser; do
  check npm --prefix "$package" run --silent lint
done
exit "$failed"
