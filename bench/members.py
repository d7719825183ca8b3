#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of a key space, each with a certificate of its own (and one RSA key), for the scenario spaces-rotation of spaces.py.

    members.py PORT PKI TOPIC N     connects member0 … member<N-1>, each subscribed to $KEYS/TOPIC; prints "ready" when each has an envelope,
                                    and "all" when each has got another one"""
import datetime
import multiprocessing
import os
import pathlib
import resource
import selectors
import socket
import ssl
import sys
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

PROCESSES = 2


class Authority:
    """Issues the members' certificates, all for one key."""

    def __init__(self, pki):
        self.ca = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
        self.key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
        self.member = rsa.generate_private_key(65537, 2048)
        self.key_pem = self.member.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.now = datetime.datetime.utcnow()

    def pem(self, i):
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"member{i}")])
        cert = x509.CertificateBuilder().subject_name(name).issuer_name(self.ca.subject).public_key(self.member.public_key()).serial_number(
            1000000 + i).not_valid_before(self.now - datetime.timedelta(days=1)).not_valid_after(self.now + datetime.timedelta(days=1)).sign(
                self.key, hashes.SHA256())
        return cert.public_bytes(serialization.Encoding.PEM) + self.key_pem


class Connection:
    """What it has read of packets; published: how many PUBLISH have come whole."""

    def __init__(self, port, context, i, topic):
        self.s = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30))
        self.buffer, self.published = b"", 0
        name, keys = f"m{i}".encode(), f"$KEYS/{topic}".encode()
        self.s.sendall(bytes([0x10, 12 + len(name), 0, 4]) + b"MQTT" + bytes([4, 2, 0, 0, 0, len(name)]) + name +
                       bytes([0x82, 5 + len(keys), 0, 1, 0, len(keys)]) + keys + b"\0")
        while not self.published:
            self.read()
        self.s.setblocking(False)

    def read(self):
        try:
            while part := self.s.recv(65536):
                self.buffer += part
                while self.take():
                    pass
                if self.s.gettimeout() and self.published:
                    return
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        raise OSError("the broker has closed a member's connection")

    def take(self):
        """One packet from the buffer."""
        length = shift = at = 0
        while True:
            at += 1
            if at >= len(self.buffer):
                return False
            length |= (self.buffer[at] & 127) << shift
            shift += 7
            if self.buffer[at] < 128:
                break
        if len(self.buffer) < at + 1 + length:
            return False
        self.published += self.buffer[0] >> 4 == 3
        self.buffer = self.buffer[at + 1 + length:]
        return True


def stay(parent):
    """Until the process that started this one ends: the connections are to last as long."""
    while os.getppid() == parent:
        time.sleep(0.2)


def run(port, pki, topic, numbers, tell):
    parent = os.getppid()
    authority, selector = Authority(pki), selectors.DefaultSelector()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    waiting = 0
    with tempfile.NamedTemporaryFile() as pem:
        for i in numbers:
            pem.seek(0)
            pem.truncate()
            pem.write(authority.pem(i))
            pem.flush()
            context.load_cert_chain(pem.name)  # of the next connection: those before keep theirs
            one = Connection(port, context, i, topic)
            selector.register(one.s, selectors.EVENT_READ, one)
            waiting += 1
    tell.send("ready")
    while waiting:
        for key, _ in selector.select():
            before = key.data.published
            key.data.read()
            waiting -= before < 2 <= key.data.published
    tell.send("all")
    stay(parent)


def main(port, pki, topic, n):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pipes = []
    for k in range(PROCESSES):
        mine, theirs = multiprocessing.Pipe()
        multiprocessing.Process(target=run, args=(int(port), pathlib.Path(pki), topic, range(k, int(n), PROCESSES), theirs), daemon=True).start()
        pipes.append(mine)
    for word in ("ready", "all"):
        if all(pipe.recv() == word for pipe in pipes):
            print(word, flush=True)
    stay(os.getppid())


main(*sys.argv[1:])
