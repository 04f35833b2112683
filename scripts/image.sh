#!/usr/bin/env bash
# Assembles the image that the Dockerfile makes from what `make build` built here, without Docker, into
# .cache/image.tar, and prints its name. The tag names the contents, so that a cluster sees whether they changed.
set -euo pipefail
cd "$(dirname "$0")/.."

programs=(target/release/{media-node,operator,gateway})
page=media-node/web/dist
for made in "${programs[@]}" "$page/index.html"; do
  [[ -e $made ]] || { echo "image.sh: there is no $made; make build builds it" >&2; exit 1; }
done
tag=dev-$({ cat "${programs[@]}" e2e/cluster/image.py scripts/image.sh; find "$page" -type f -print0 | sort -z | xargs -0 cat; } | sha256sum | head -c 12)
name=localhost/showrunner:$tag
if [[ $(cat .cache/image.name 2>/dev/null) != "$name" || ! -e .cache/image.tar ]]; then
  mkdir -p .cache/image
  # Debugging information is most of each.
  for program in "${programs[@]}"; do strip --strip-debug -o ".cache/image/${program##*/}" "$program"; done
  e2e/cluster/image.py --name "$name" --program=.cache/image/{media-node,operator,gateway} --tree "$page=/srv/web" --output .cache/image.tar
  echo "$name" >.cache/image.name
fi
echo "$name"
