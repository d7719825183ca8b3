#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on a broker on loopback, for the scenario `abuse` of run.py, each until SIGTERM. Prints what it did as JSON.

    attacks.py KIND PORT CA CERT KEY        KIND: connects, handshakes, unfinished, trickle, partial"""
import json
import selectors
import signal
import socket
import ssl
import sys
import time

SOURCE = ("127.0.0.2", 0)  # not the address of the good clients
CONNECT = bytes([0x10, 14, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 0, 0, 2]) + b"%02d"
PACKET = 4 << 20


class Attack:
    def __init__(self, port, ca, cert, key):
        self.address, self.done = ("127.0.0.1", port), {"opened": 0, "closed_by_broker": 0, "sent": 0}
        self.context = ssl.create_default_context(cafile=ca)
        self.context.check_hostname = False
        self.context.load_cert_chain(cert, key)

    def tcp(self):
        self.done["opened"] += 1
        return socket.create_connection(self.address, 5, SOURCE)

    def client(self, n):
        """Connected, as client id n of 0 to 99."""
        s = self.context.wrap_socket(self.tcp())
        s.settimeout(5)
        s.sendall(CONNECT % (n % 100))
        if s.recv(4)[:1] != b"\x20":
            raise OSError("no CONNACK")
        return s

    def one_by_one(self, connect):
        while True:
            try:
                connect().close()
            except OSError:
                self.done["closed_by_broker"] += 1

    def connects(self):
        self.one_by_one(self.tcp)

    def handshakes(self):
        self.one_by_one(lambda: self.context.wrap_socket(self.tcp()))

    def unfinished(self):
        """3,000 connections that say nothing; each that is closed is opened anew."""
        with selectors.DefaultSelector() as selector:
            def add():
                selector.register(self.tcp(), selectors.EVENT_READ)
            for _ in range(3000):
                add()
            while True:
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.done["closed_by_broker"] += 1
                    add()

    def each_of_100(self, begin, go_on):
        clients = {}
        while True:
            for n in range(100):
                try:
                    if n not in clients:
                        clients[n] = self.client(n)
                        begin(clients[n])
                    go_on(clients[n])
                except OSError:
                    self.done["closed_by_broker"] += 1
                    clients.pop(n, None)
            time.sleep(0.05)

    def publish(self, s, size):
        left = PACKET
        length = bytearray()
        while left:
            length.append(left % 128 | (128 if left >= 128 else 0))
            left //= 128
        s.sendall(bytes([0x30]) + bytes(length) + b"\0\1x" + bytes(size))
        self.done["sent"] += size

    def more(self, s):
        s.sendall(b"x")
        self.done["sent"] += 1

    def trickle(self):
        """A packet that goes on byte by byte, on each of 100 connections."""
        self.each_of_100(lambda s: self.publish(s, 0), self.more)

    def partial(self):
        """Three quarters of 4 MiB each on 100 connections."""
        self.each_of_100(lambda s: self.publish(s, 3 << 20), self.more)


def main():
    kind, port, *files = sys.argv[1:]
    attack = Attack(int(port), *files)

    def end(*_):
        print(json.dumps({"ok": 1, **attack.done}), flush=True)
        raise SystemExit(0)
    signal.signal(signal.SIGTERM, end)
    getattr(attack, kind)()


if __name__ == "__main__":
    main()
