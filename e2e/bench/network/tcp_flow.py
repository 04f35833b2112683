"""One TCP flow (CUBIC) that takes what it gets.

    tcp_flow.py send ADDRESS          listens, and sends to whoever connects for as long as it is there
    tcp_flow.py receive ADDRESS       connects, and says each 100 ms how much came, as JSON
"""

import json
import socket
import sys
import time

PORT = 5001


def send(address: str) -> None:
    listener = socket.create_server((address, PORT))
    print("ready", file=sys.stderr, flush=True)
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    data = bytes(65536)
    try:
        while True:
            connection.sendall(data)
    except OSError:
        pass


def receive(address: str) -> None:
    connection = socket.create_connection((address, PORT))
    count, due = 0, time.time()
    while data := connection.recv(65536):
        count += len(data)
        if time.time() >= due:
            due = time.time() + 0.1
            print(json.dumps({"unix": time.time(), "bytes": count}), flush=True)


{"send": send, "receive": receive}[sys.argv[1]](sys.argv[2])
