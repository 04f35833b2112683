#!/usr/bin/env bash
# Installs the Debian packages that the named sets need: build, test, bench, cluster. Those that are
# there already cost nothing; without root or apt it says what to install and stops.
set -euo pipefail

build=(build-essential ca-certificates cmake pkg-config curl ffmpeg fonts-dejavu-core)
test=(
  chromium git iproute2 python3 shellcheck
  gstreamer1.0-libav gstreamer1.0-nice gstreamer1.0-plugins-bad gstreamer1.0-plugins-base
  gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
  python3-gi gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0
)
bench=(iproute2 python3)
cluster=(
  build-essential ca-certificates conntrack containernetworking-plugins iproute2 iptables
  libseccomp-dev nftables openssl pkg-config procps python3
)

wanted=()
for set in "$@"; do
  case $set in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    cluster) wanted+=("${cluster[@]}") ;;
    *) echo "deps.sh: no set of packages is called '$set'" >&2; exit 2 ;;
  esac
done

for tool in cargo go node npm; do
  if ! command -v "$tool" >/dev/null; then
    echo "'$tool' is missing. Install Rust (rustup), Go 1.26.6 or newer, and Node 20 or newer first." >&2
    exit 1
  fi
done

missing=()
if command -v dpkg-query >/dev/null; then
  for package in "${wanted[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
  done
else
  echo "This is no Debian machine, so nothing was installed. These packages, or what they are called here, are needed:" >&2
  printf '  %s\n' "${wanted[@]}" >&2
  exit 0
fi
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
  echo "Missing packages, and only root can install them. Run:" >&2
  echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends "${missing[@]}" </dev/null >/dev/null
