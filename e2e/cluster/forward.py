#!/usr/bin/env python3
"""Passes TCP connections from a port of this machine's loopback on to an address or a Service.

    forward.py 8080 10.213.0.1:30080
    KUBECONFIG=… forward.py 8080 showrunner/gateway:http

A browser gives a camera only to pages from HTTPS or from localhost; that is what this is for.
Unlike `kubectl port-forward` it goes by the Service's address, so it outlives any one pod.
"""

import asyncio
import json
import subprocess
import sys


def fail(message: str) -> None:
    sys.exit(f"forward: {message}")


def resolve(target: str) -> tuple[str, int]:
    """The address and port of `HOST:PORT` or `NAMESPACE/SERVICE:PORT`, where a Service's port may be a name."""
    place, _, port = target.rpartition(":")
    namespace, slash, name = place.rpartition("/")
    if not slash:
        if not port.isdigit() or not place:
            fail(f"'{target}' is neither HOST:PORT nor NAMESPACE/SERVICE:PORT")
        return place, int(port)
    found = subprocess.run(
        ["kubectl", "--namespace", namespace, "get", "service", name, "--output", "json"],
        capture_output=True,
        text=True,
    )
    if found.returncode != 0:
        fail(found.stderr.strip())
    spec = json.loads(found.stdout)["spec"]
    for offered in spec["ports"]:
        if port in (offered.get("name"), str(offered["port"])):
            return spec["clusterIP"], offered["port"]
    fail(f"Service {namespace}/{name} has no port {port}")


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def forward(port: int, target: tuple[str, int]) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
            writers.append(far_writer)
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        except OSError:
            pass  # One side is gone: the other learns it by the close below.
        finally:
            for each in writers:
                each.close()

    try:
        servers = [await asyncio.start_server(connect, "127.0.0.1", port)]
    except OSError as error:
        fail(f"port {port} can't be listened on ({error.strerror}); choose another")
    # Some resolve localhost to ::1 first; a machine without IPv6 has only the other.
    try:
        servers.append(await asyncio.start_server(connect, "::1", port))
    except OSError:
        pass
    print(f"http://localhost:{port}", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    if len(sys.argv) != 3 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    try:
        asyncio.run(forward(int(sys.argv[1]), resolve(sys.argv[2])))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
