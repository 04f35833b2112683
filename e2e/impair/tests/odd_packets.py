"""Sends what odd packets there are through the link and says which came back as they were.

    odd_packets.py answer       at one end: answers until it is killed
    odd_packets.py ask          at the other: exits with 0 if all were answered
"""

import socket
import struct
import sys

SERVER, SERVER6, PORT = "10.98.0.1", "fd98::1", 9001
UNASSIGNED_PROTOCOL = 253


def udp(family: int) -> socket.socket:
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    return s


def answer() -> None:
    """UDP with IPv4 and IPv6: gives back what came, after one byte of the ECN field it came with."""
    v6 = udp(socket.AF_INET6)
    v6.settimeout(None)
    v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    v6.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    v6.bind(("::", PORT))
    print("ready", flush=True)
    while True:
        data, ancillary, _, peer = v6.recvmsg(65535, 1024)
        fields = [value[0] & 3 for level, kind, value in ancillary]
        v6.sendto(bytes(fields[:1]) + data, peer)


def ask() -> None:
    for family, server in ((socket.AF_INET, SERVER), (socket.AF_INET6, SERVER6)):
        s = udp(family)
        for ecn in range(4):
            if family == socket.AF_INET:
                s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, ecn)
            else:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, ecn)
            # Empty, small, whole, and in many fragments.
            for size in (0, 1, 1400, 4000, 60000):
                sent = bytes(n * 7 & 255 for n in range(size))
                s.sendto(sent, (server, PORT))
                assert s.recv(65535) == bytes([ecn]) + sent, f"{server}, {size} bytes, ECN {ecn}"
    # Nobody answers these; the link only has to live through them.
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, UNASSIGNED_PROTOCOL)
    for size in (0, 1, 1480):
        raw.sendto(b"x" * size, (SERVER, 0))
    headers = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for total, first in ((20, 0x45), (0, 0x45), (65535, 0x4F), (20, 0x00)):
        header = struct.pack("!BBHHHBBH4s4s", first, 0, total, 1, 0x2000, 0, 17, 0, bytes(4), socket.inet_aton(SERVER))
        try:
            headers.sendto(header, (SERVER, 0))
        except OSError:
            pass  # this kernel lets none of these out
    s = udp(socket.AF_INET)
    s.sendto(b"still there", (SERVER, PORT))
    assert s.recv(100) == b"\0still there"


{"answer": answer, "ask": ask}[sys.argv[1]]()
