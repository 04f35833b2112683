#!/usr/bin/env bash
# Installs the chart onto the cluster of $KUBECONFIG, or upgrades it there.
#
#   IMAGE=registry.example.com/showrunner:0.1.0   the image, which that cluster can pull
#   PUBLIC_URL=https://live.example.com           where people reach the gateway
#   NAMESPACE=showrunner RELEASE=showrunner       where, and under which name
#   HELM_FLAGS="--values mine.yaml"               whatever else Helm is to know
set -euo pipefail
cd "$(dirname "$0")/.."
# The local cluster's, for whoever has none.
export PATH=$PATH:$PWD/.cache/cluster/bin

fail() {
  echo "install: $*" >&2
  exit 1
}

image=${IMAGE:-}
[[ $image == *:* && ${image##*:} != */* ]] ||
  fail "say which image to install, with its tag: make install IMAGE=registry.example.com/showrunner:0.1.0 (docker build makes it)"
for tool in helm kubectl; do
  command -v "$tool" >/dev/null || fail "'$tool' is missing: install it, or run make cluster-up once, which builds it"
done
kubectl get --raw /readyz >/dev/null || fail "no cluster answers; set KUBECONFIG to one of which you are an administrator"

read -ra flags <<<"${HELM_FLAGS:-}"
exec helm upgrade --install "${RELEASE:-showrunner}" charts/showrunner --wait --timeout 5m \
  --namespace "${NAMESPACE:-showrunner}" --create-namespace \
  --set-string "image.repository=${image%:*},image.tag=${image##*:},publicUrl=${PUBLIC_URL:-}" "${flags[@]}"
