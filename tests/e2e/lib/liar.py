# SPDX-License-Identifier: GPL-3.0-or-later
"""A lying broker: it has the broker's certificate and key, and passes on what the real one says, but for what a test lets it say instead."""
import socket
import ssl
import threading

from . import packets as p


class Liar:
    """Clients connect to `port`. Each PUBLISH from the broker goes through lie(topic, payload) -> payload, or None: it is left out. `heard` is what
    came, before the lie. Towards the broker it is the client, whose certificate the test has; the real liar would be the broker itself."""

    def __init__(self, broker, cert):
        self.broker, self.cert, self.heard, self.lie = broker, cert, [], None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.broker.pki.server.crt, self.broker.pki.server.key)
        context.load_verify_locations(self.broker.pki.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        while True:
            try:
                plain, _ = self._listener.accept()
                client = context.wrap_socket(plain, server_side=True)
                outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                outside.check_hostname = False
                outside.load_verify_locations(self.broker.pki.ca)
                outside.load_cert_chain(self.cert.crt, self.cert.key)
                real = outside.wrap_socket(socket.create_connection(("127.0.0.1", self.broker.port)))
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._open += [client, real]
            threading.Thread(target=self._pump, args=(client, real, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(real, client, True), daemon=True).start()

    def _pump(self, source, target, lying):
        pending = b""
        try:
            while data := source.recv(65536):
                if not lying:
                    target.sendall(data)
                    continue
                pending += data
                while (whole := self._packet(pending)) is not None:
                    target.sendall(self._judge(pending[:whole]))
                    pending = pending[whole:]
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _head(data):
        """(where the body begins, where it ends), or None."""
        n = 0
        for i in range(1, 5):
            if i >= len(data):
                return None
            n += (data[i] & 127) << 7 * (i - 1)
            if data[i] < 128:
                return i + 1, i + 1 + n
        raise ValueError("remaining length")

    def _packet(self, data):
        head = self._head(data)
        return head[1] if head and len(data) >= head[1] else None

    def _judge(self, packet):
        if packet[0] >> 4 != p.PUBLISH:
            return packet
        start, _ = self._head(packet)
        n = int.from_bytes(packet[start:start + 2], "big")
        topic = packet[start + 2:start + 2 + n].decode()
        behind = start + 2 + n + (2 if packet[0] & 6 else 0)
        payload = packet[behind:]
        self.heard.append((topic, payload))
        said = self.lie(topic, payload) if self.lie else payload
        if said is None:
            return b""
        body = packet[start:behind] + said
        return packet[:1] + p.remaining_length(len(body)) + body

    def last(self, topic):
        return [payload for t, payload in self.heard if t == topic][-1]

    def close(self):
        for one in self._open:
            one.close()
