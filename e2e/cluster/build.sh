#!/usr/bin/env bash
# Builds what a Kubernetes cluster is made of, from the Go modules in modules/ at the versions locked
# there, into .cache/cluster/bin. The first time takes six to nine minutes on two cores; what is
# already there is left alone.
set -euo pipefail
cd "$(dirname "$0")"

cache=../../.cache/cluster
mkdir -p "$cache/bin"
cache=$(realpath "$cache")

# Two builds at once would write the same files.
exec 9>"$cache/build.lock"
flock --nonblock 9 || { echo "cluster: another build is under way; waiting for it"; flock 9; }

# build MODULE CGO PACKAGE=PROGRAM… [-- FLAG…]
build() {
  local module=$1 cgo=$2 stamp started
  shift 2
  local packages=()
  while (($#)) && [[ $1 != -- ]]; do packages+=("$1"); shift; done
  shift || true

  # What decides about the programs: the compiler, the locked sources, and how they are built.
  stamp=$({ go version; echo "$cgo ${packages[*]} $*"; find "modules/$module" -type f -print0 | sort -z | xargs -0 cat; } | sha256sum)
  if [[ -e $cache/$module.stamp && $(<"$cache/$module.stamp") == "$stamp" ]]; then return; fi

  echo "cluster: building $module"
  started=$SECONDS
  local package
  # One linker at a time: that of a Kubernetes program wants more than a gigabyte.
  for package in "${packages[@]}"; do
    (cd "modules/$module" && CGO_ENABLED=$cgo go build -mod=readonly -p 2 -o "$cache/bin/${package#*=}" "$@" "${package%=*}")
  done
  echo "$stamp" >"$cache/$module.stamp"
  echo "cluster: built $module in $((SECONDS - started)) s"
}

started=$SECONDS
release=$(go -C modules/kubernetes list -m -f '{{.Version}}' k8s.io/kubernetes)
release=${release#v}
component=k8s.io/component-base/version
kubernetes=k8s.io/kubernetes/cmd
build kubernetes 0 \
  $kubernetes/{kube-apiserver=kube-apiserver,kube-controller-manager=kube-controller-manager} \
  $kubernetes/{kube-scheduler=kube-scheduler,kubelet=kubelet,kube-proxy=kube-proxy,kubectl=kubectl} \
  -- -ldflags "-s -w -X $component.gitVersion=v$release -X $component.gitMajor=${release%%.*} -X $component.gitMinor=$(cut -d. -f2 <<<"$release")"
if [[ ! -e $cache/bin/pause || pause.c -nt $cache/bin/pause ]]; then
  gcc -O2 -Wall -Wextra -Werror -static -o "$cache/bin/pause" pause.c
fi
build etcd 0 go.etcd.io/etcd/server/v3=etcd -- -ldflags "-s -w"
containerd=github.com/containerd/containerd/v2/cmd
build containerd 0 $containerd/{containerd=containerd,containerd-shim-runc-v2=containerd-shim-runc-v2,ctr=ctr} \
  -- -tags "no_btrfs no_devmapper no_zfs" -ldflags "-s -w"
# Its seccomp filters are libseccomp's.
build runc 1 github.com/opencontainers/runc=runc -- -tags seccomp -ldflags "-s -w"
build coredns 0 .=coredns -- -ldflags "-s -w"
build helm 0 helm.sh/helm/v3/cmd/helm=helm -- -ldflags "-s -w"
if ((SECONDS - started > 5)); then
  echo "cluster: all is in .cache/cluster/bin after $((SECONDS - started)) s"
fi
