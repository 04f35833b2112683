#!/usr/bin/env python3
"""Assembles a container image from programs that were built here, without a container engine.

    image.py --name localhost/media-node:dev --output node.tar \\
        --program target/release/media-node --tree media-node/web/dist=/srv/web

The image holds the programs (in /usr/bin), the shared libraries that they ask for, the trees, the
certificates of public authorities, and a user without rights who runs it. There is no shell. It
is an OCI layout in a tar archive, which `cluster.sh import` and `podman load` take; the same
input makes the same bytes.
"""

import argparse
import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

USER = 65532
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
FILES = {
    "/etc/passwd": f"root:x:0:0::/:/sbin/nologin\nnonroot:x:{USER}:{USER}::/:/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def libraries(program: Path) -> list[str]:
    """The paths of the shared libraries and of the loader that a program asks for; none if it is static."""
    result = subprocess.run(["ldd", program], capture_output=True, text=True)
    if "not a dynamic executable" in result.stderr or "statically linked" in result.stdout:
        return []
    if result.returncode != 0:
        sys.exit(f"image.py: {program}: {result.stderr.strip()}")
    found = []
    for line in result.stdout.splitlines():
        # `libc.so.6 => /lib/…/libc.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
        name, _, path = line.strip().rpartition(" (0x")[0].rpartition("=> ")
        if path.startswith("/"):
            found.append(path)
        elif name or "not found" in line:
            sys.exit(f"image.py: {program} asks for a library that is not here: {line.strip()}")
    return found


class Layer:
    """A file system as one tar archive; each directory comes before what it holds."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.archive = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.GNU_FORMAT)
        self.paths: set[str] = set()

    def _add(self, path: str, kind: bytes, mode: int, content: bytes = b"") -> None:
        name = str(PurePosixPath(path)).lstrip("/")
        if name in self.paths:
            return
        self.paths.add(name)
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self._add(str(parent), tarfile.DIRTYPE, 0o755)
        # Whose it is and when it was made are as TarInfo has them: root, and the epoch.
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.mode = mode
        entry.size = len(content)
        self.archive.addfile(entry, io.BytesIO(content))

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._add(path, tarfile.DIRTYPE, mode)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, tarfile.REGTYPE, mode, content)

    def tree(self, source: Path, path: str) -> None:
        if not source.is_dir():
            sys.exit(f"image.py: there is no directory {source}; is it built?")
        self.directory(path)
        for item in sorted(source.rglob("*")):
            target = f"{path}/{item.relative_to(source)}"
            if item.is_dir():
                self.directory(target)
            else:
                self.file(target, item.read_bytes())

    def finish(self) -> bytes:
        self.archive.close()
        return self.buffer.getvalue()


def root(programs: list[Path], trees: list[tuple[Path, str]]) -> bytes:
    layer = Layer()
    layer.directory("/tmp", 0o1777)
    for path, content in FILES.items():
        layer.file(path, content.encode())
    if not CERTIFICATES.exists():
        sys.exit(f"image.py: {CERTIFICATES} is missing; install ca-certificates")
    layer.file(str(CERTIFICATES), CERTIFICATES.read_bytes())
    for program in programs:
        if not program.is_file():
            sys.exit(f"image.py: there is no program {program}; is it built?")
        layer.file(f"/usr/bin/{program.name}", program.read_bytes(), 0o755)
        for library in libraries(program):
            layer.file(library, Path(library).read_bytes(), 0o755)
    for source, path in trees:
        layer.tree(source, path)
    return layer.finish()


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def layout(name: str, entrypoint: list[str], layer: bytes) -> dict[str, bytes]:
    """The files of an OCI image layout (image-spec 1.1) with one image of one layer."""
    blobs: list[bytes] = []

    def descriptor(media_type: str, content: bytes) -> dict:
        blobs.append(content)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": digest(content),
            "size": len(content),
        }

    machine = platform.machine()
    target = {"os": "linux", "architecture": ARCHITECTURES.get(machine, machine)}
    config = {
        **target,
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": entrypoint,
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", encode(config)),
        "layers": [descriptor("layer.v1.tar", layer)],
    }
    image = descriptor("manifest.v1+json", encode(manifest))
    image["platform"] = target
    # containerd goes by the first of these, others by the second.
    image["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [image],
    }
    files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}), "index.json": encode(index)}
    files |= {f"blobs/{digest(blob).replace(':', '/')}": blob for blob in blobs}
    return files


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="registry/path:tag of the image")
    parser.add_argument("--output", required=True, type=Path, help="the archive to write")
    parser.add_argument(
        "--program", required=True, type=Path, action="append", help="goes to /usr/bin; the first is what runs"
    )
    parser.add_argument(
        "--tree", action="append", default=[], metavar="DIR=PATH", help="a directory, and where it goes"
    )
    given = parser.parse_args()
    _, colon, tag = given.name.rpartition(":")
    # Without a tag Kubernetes takes `latest`, and asks a registry for it each time.
    if not colon or "/" in tag or "/" not in given.name:
        parser.error(f"--name {given.name} is not of the form registry/path:tag")
    given.trees = []
    for tree in given.tree:
        source, _, path = tree.partition("=")
        if not path.startswith("/"):
            parser.error(f"--tree {tree} is not of the form DIR=/PATH")
        given.trees.append((Path(source), path))
    return given


def main() -> None:
    given = arguments()
    layer = root(given.program, given.trees)
    files = layout(given.name, [f"/usr/bin/{given.program[0].name}"], layer)
    archive = Layer()
    for path, content in files.items():
        archive.file(path, content)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_bytes(archive.finish())


if __name__ == "__main__":
    main()
