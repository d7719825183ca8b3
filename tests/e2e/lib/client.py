"""A client at byte level: chooses its TLS records and TCP segments itself, says only what the test tells it to."""
import collections
import select
import socket
import ssl
import struct
import time

from . import packets as p
from .env import QUIET_S, TIMEOUT_S


class Closed(Exception):
    """The broker ended the connection; args[0] says how."""


class Timeout(AssertionError):
    """What the test waited for did not come."""


def tls_context(ca, cert=None, key=None, version=None):
    """version: "1.2" or "1.3" alone; None negotiates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    if cert:
        context.load_cert_chain(cert, key)
    if version:
        exact = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        context.minimum_version = context.maximum_version = exact
    return context


class RawClient:
    """One connection. `context` None speaks plain TCP. Packets read while waiting for another stay in `inbox`."""

    def __init__(self, address, context=None, handshake=True, server_name="localhost", source=None):
        self.sock = socket.create_connection(address[:2], timeout=TIMEOUT_S, source_address=(source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.parser, self.inbox, self.closed = p.Parser(), collections.deque(), None
        self.tls = self._in = self._out = None
        self._next_pid = 0
        self.connack = None
        if context is not None:
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self._in, self._out, server_hostname=server_name)
            if handshake:
                self.handshake()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    # -- bytes

    def _wait(self, write, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        poll = select.poll()            # select() knows no descriptor above 1023
        poll.register(self.sock, select.POLLOUT if write else select.POLLIN)
        return bool(poll.poll(left * 1000))

    def send_tcp(self, data, timeout=None):
        """Bytes below TLS, as they are."""
        deadline = time.monotonic() + (timeout or TIMEOUT_S)
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view):]
            except BlockingIOError:
                if not self._wait(True, deadline):
                    raise Timeout("the broker does not read") from None
            except OSError as e:
                raise Closed(f"send: {e}") from None

    def encrypt(self, data):
        """One write to TLS: its records (one up to 16 KiB), not sent yet."""
        if self.tls is None:
            return bytes(data)
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view):]
        return self._out.read()

    def send(self, data, split=(), gap_s=0.0):
        """Send data as TLS records cut at the byte positions `split`; each leaves as its own segment when gap_s > 0."""
        cuts = [0, *sorted(split), len(data)]
        pieces = [self.encrypt(data[a:b]) for a, b in zip(cuts, cuts[1:]) if b > a]
        if not gap_s:
            self.send_tcp(b"".join(pieces))
            return
        for piece in pieces:
            self.send_tcp(piece)
            time.sleep(gap_s)

    def send_quietly(self, data):
        """Send to a broker that may already have closed."""
        try:
            self.send(data)
        except (Closed, ssl.SSLError):
            pass

    def handshake(self, timeout=None, behind=b""):
        """behind: application data for the TCP segment of the last flight."""
        deadline = time.monotonic() + (timeout or TIMEOUT_S)
        while True:
            try:
                self.tls.do_handshake()
                self.send_tcp(self._out.read() + self.encrypt(behind))
                return
            except ssl.SSLWantReadError:
                self.send_tcp(self._out.read())
                self._read_tcp(deadline)
            except ssl.SSLError as e:
                self.closed = f"handshake: {e}"
                raise Closed(self.closed) from None

    def _read_tcp(self, deadline):
        """One read of the socket into TLS (or to the caller, when plain)."""
        if not self._wait(False, deadline):
            raise Timeout("nothing came from the broker")
        try:
            data = self.sock.recv(262144)
        except BlockingIOError:
            return b""
        except OSError as e:
            self.closed = f"recv: {e}"
            raise Closed(self.closed) from None
        if not data:
            self.closed = self.closed or "end of stream"
            raise Closed(self.closed)
        if self.tls is not None:
            self._in.write(data)
        return data

    def tcp_until_close(self, timeout=None):
        """Everything that comes below TLS until the broker closes."""
        deadline = time.monotonic() + (timeout or TIMEOUT_S)
        data = b""
        try:
            while True:
                data += self._read_tcp(deadline)
        except Closed:
            return data

    def _read(self, deadline):
        """Some application bytes, waiting until deadline."""
        while True:
            if self.closed:
                raise Closed(self.closed)
            if self.tls is None:
                return self._read_tcp(deadline)
            try:
                data = self.tls.read(262144)
                if data:
                    return data
                self.closed = "close_notify"
            except ssl.SSLWantReadError:
                if pending := self._out.read():
                    self.send_tcp(pending)
                self._read_tcp(deadline)
            except ssl.SSLZeroReturnError:
                self.closed = "close_notify"
            except ssl.SSLError as e:
                self.closed = f"alert: {e}"

    # -- packets

    def _fill(self, deadline):
        for one in self.parser.feed(self._read(deadline)):
            self.inbox.append(one)

    def recv(self, timeout=None):
        """The next packet, in the order of arrival."""
        deadline = time.monotonic() + (TIMEOUT_S if timeout is None else timeout)
        while not self.inbox:
            self._fill(deadline)
        return self.inbox.popleft()

    def expect(self, ptype, pid=None, timeout=None):
        """The next packet must be of this type (and identifier)."""
        got = self.recv(timeout)
        assert got.type == ptype and (pid is None or got.pid == pid), f"wanted {p.NAMES[ptype]} {pid}, got {got}"
        return got

    def wait_for(self, ptype, pid=None, timeout=None):
        """The first packet of this type (and identifier); others stay in the inbox."""
        deadline = time.monotonic() + (TIMEOUT_S if timeout is None else timeout)
        seen = 0
        while True:
            for i in range(seen, len(self.inbox)):
                got = self.inbox[i]
                if got.type == ptype and (pid is None or got.pid == pid):
                    del self.inbox[i]
                    return got
            seen = len(self.inbox)
            try:
                self._fill(deadline)
            except (Timeout, Closed) as e:
                raise type(e)(f"{e} (waiting for {p.NAMES[ptype]} {pid or ''}; in the inbox: {list(self.inbox)[:5]})") from None

    def expect_close(self, timeout=None):
        """The broker ends the connection; returns the packets that came before."""
        deadline = time.monotonic() + (TIMEOUT_S if timeout is None else timeout)
        try:
            while True:
                self._fill(deadline)
        except Closed:
            before = list(self.inbox)
            self.inbox.clear()
            return before
        except Timeout:
            raise Timeout(f"the broker did not close; in the inbox: {list(self.inbox)[:5]}") from None

    def expect_closed_silently(self, timeout=None):
        """The broker ends the connection without another packet."""
        before = self.expect_close(timeout)
        assert before == [], f"before closing came {before}"

    def expect_nothing(self, quiet_s=QUIET_S):
        """No packet for a while; prefer a fence where there can be one."""
        try:
            got = self.recv(quiet_s)
        except Timeout:
            return
        raise AssertionError(f"unexpected {got}")

    # -- conversations

    def pid(self):
        self._next_pid = self._next_pid % 65535 + 1
        return self._next_pid

    def connect(self, *args, expect=0, **kwargs):
        """CONNECT and its CONNACK."""
        self.send(p.connect(*args, **kwargs))
        self.connack = self.expect(p.CONNACK)
        assert self.connack.code == expect, f"CONNACK {self.connack}"
        return self

    def subscribe(self, *filters):
        """filters: "filter" (QoS 0) or (filter, qos). Returns the codes of the SUBACK."""
        pairs = [(f, 0) if isinstance(f, (str, bytes)) else f for f in filters]
        pid = self.pid()
        self.send(p.subscribe(pid, *pairs))
        codes = self.wait_for(p.SUBACK, pid).codes
        assert len(codes) == len(pairs)
        return codes

    def unsubscribe(self, *filters):
        pid = self.pid()
        self.send(p.unsubscribe(pid, *filters))
        self.wait_for(p.UNSUBACK, pid)

    def publish(self, topic, payload=b"", qos=0, retain=False, dup=False, pid=None):
        """PUBLISH and its whole acknowledgement."""
        if qos and pid is None:
            pid = self.pid()
        self.send(p.publish(topic, payload, qos, retain, dup, pid))
        if qos == 1:
            self.wait_for(p.PUBACK, pid)
        elif qos == 2:
            self.wait_for(p.PUBREC, pid)
            self.send(p.ack(p.PUBREL, pid))
            self.wait_for(p.PUBCOMP, pid)

    def publish_many(self, messages):
        """messages: (topic, payload, qos); sent without waiting for one another, 20 at a time, all acknowledged at the end."""
        for start in range(0, len(messages), 20):
            batch = [(t, payload, qos, self.pid() if qos else None) for t, payload, qos in messages[start:start + 20]]
            self.send(b"".join(p.publish(t, payload, qos, pid=pid) for t, payload, qos, pid in batch))
            for _, _, qos, pid in batch:
                if qos == 1:
                    self.wait_for(p.PUBACK, pid)
                elif qos == 2:
                    self.wait_for(p.PUBREC, pid)
                    self.send(p.ack(p.PUBREL, pid))
            for _, _, qos, pid in batch:
                if qos == 2:
                    self.wait_for(p.PUBCOMP, pid)

    def acknowledge(self, message):
        """Whatever this PUBLISH asks for, to the end."""
        if message.qos == 1:
            self.send(p.ack(p.PUBACK, message.pid))
        elif message.qos == 2:
            self.send(p.ack(p.PUBREC, message.pid))
            self.wait_for(p.PUBREL, message.pid)
            self.send(p.ack(p.PUBCOMP, message.pid))

    def recv_publish(self, topic=None, payload=None, qos=None, retain=None, dup=None, ack=True, timeout=None):
        """The next PUBLISH, with the fields wanted, acknowledged unless told otherwise."""
        got = self.wait_for(p.PUBLISH, timeout=timeout)
        for field, want in (("topic", topic), ("payload", payload), ("qos", qos), ("retain", retain), ("dup", dup)):
            if want is not None:
                if field == "payload":
                    want = p.as_bytes(want)
                assert getattr(got, field) == want, f"wanted {field} {want!r}, got {got}"
        if ack:
            self.acknowledge(got)
        return got

    def recv_payloads(self, n, ack=True):
        return [self.recv_publish(ack=ack).payload for _ in range(n)]

    def ping(self, timeout=None):
        """A round trip: what was sent before has been read and judged."""
        self.send(p.pingreq())
        self.wait_for(p.PINGRESP, timeout=timeout)

    def is_alive(self):
        try:
            self.ping()
            return True
        except Closed:
            return False

    # -- endings

    def disconnect(self):
        """DISCONNECT, and wait until the broker has seen it."""
        self.send_quietly(p.disconnect())
        try:
            self.expect_close()
        finally:
            self.drop()

    def drop(self):
        """The network ends: FIN without DISCONNECT (and without close_notify)."""
        self.closed = self.closed or "dropped by the test"
        self.sock.close()

    def reset(self):
        """The network ends: RST."""
        if self.sock.fileno() < 0:
            return
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()
