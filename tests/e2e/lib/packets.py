"""MQTT 3.1.1 packets as bytes: an encoder that can be told to write nonsense, and a strict decoder of what a broker sends."""
import collections
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
NAMES = ["RESERVED0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
         "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "RESERVED15"]

# The flag bits that each type must carry (PUBLISH: any) [MQTT-2.2.2-1].
FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}

Will = collections.namedtuple("Will", "topic payload qos retain", defaults=(b"", 0, False))


def as_bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def string(text):
    """A length-prefixed field; bytes are taken as they are, well-formed or not."""
    data = as_bytes(text)
    return struct.pack("!H", len(data)) + data


def remaining_length(n):
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def packet(ptype, body=b"", flags=None, remaining=None):
    """Fixed header and body; `remaining` overrides the encoded remaining length (an int, or the bytes themselves)."""
    if flags is None:
        flags = FLAGS.get(ptype, 0)
    if remaining is None:
        remaining = len(body)
    if isinstance(remaining, int):
        remaining = remaining_length(remaining)
    return bytes([ptype << 4 | flags]) + remaining + body


def connect(client_id="", clean=True, keepalive=60, username=None, password=None, will=None,
            name="MQTT", level=4, connect_flags=None, header_flags=None, tail=b""):
    bits = 0x02 if clean else 0
    payload = string(client_id)
    if will is not None:
        will = Will(*will)
        bits |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        payload += string(will.topic) + string(will.payload)
    if username is not None:
        bits |= 0x80
        payload += string(username)
    if password is not None:
        bits |= 0x40
        payload += string(password)
    if connect_flags is not None:
        bits = connect_flags
    body = string(name) + bytes([level, bits]) + struct.pack("!H", keepalive) + payload + tail
    return packet(CONNECT, body, flags=header_flags)


def publish(topic, payload=b"", qos=0, retain=False, dup=False, pid=None):
    body = string(topic)
    if pid is not None:
        body += struct.pack("!H", pid)
    return packet(PUBLISH, body + as_bytes(payload), flags=(8 if dup else 0) | qos << 1 | (1 if retain else 0))


def ack(ptype, pid, flags=None):
    return packet(ptype, struct.pack("!H", pid), flags=flags)


def subscribe(pid, *filters, flags=None):
    """filters: (filter, qos) pairs; qos goes out as the whole options byte."""
    return packet(SUBSCRIBE, struct.pack("!H", pid) + b"".join(string(f) + bytes([q]) for f, q in filters), flags=flags)


def unsubscribe(pid, *filters, flags=None):
    return packet(UNSUBSCRIBE, struct.pack("!H", pid) + b"".join(string(f) for f in filters), flags=flags)


def pingreq():
    return packet(PINGREQ)


def disconnect():
    return packet(DISCONNECT)


class Malformed(Exception):
    """The broker sent what the specification does not allow."""


class Packet:
    """One packet of the broker. Fields that its type does not have are None."""

    def __init__(self, ptype, flags, body):
        self.type, self.flags, self.body = ptype, flags, body
        self.pid = self.topic = self.payload = self.qos = self.codes = self.session_present = self.code = None
        self.dup = self.retain = None
        check = {CONNACK: self._connack, PUBLISH: self._publish, SUBACK: self._suback, PINGRESP: self._empty,
                 PUBACK: self._ack, PUBREC: self._ack, PUBREL: self._ack, PUBCOMP: self._ack, UNSUBACK: self._ack}
        if ptype not in check:
            raise Malformed(f"a server never sends {NAMES[ptype]}")
        if ptype != PUBLISH and flags != FLAGS.get(ptype, 0):
            raise Malformed(f"{NAMES[ptype]} with flags {flags}")
        check[ptype]()

    def _length(self, n):
        if len(self.body) != n:
            raise Malformed(f"{NAMES[self.type]} of {len(self.body)} bytes")

    def _empty(self):
        self._length(0)

    def _ack(self):
        self._length(2)
        self.pid, = struct.unpack("!H", self.body)
        if self.pid == 0:
            raise Malformed(f"{NAMES[self.type]} with packet identifier 0")

    def _connack(self):
        self._length(2)
        if self.body[0] > 1 or self.body[1] > 5:
            raise Malformed(f"CONNACK {self.body.hex()}")
        self.session_present, self.code = self.body[0], self.body[1]

    def _suback(self):
        self.pid, = struct.unpack("!H", self.body[:2])
        self.codes = list(self.body[2:])
        if not self.codes or any(c not in (0, 1, 2, 0x80) for c in self.codes):
            raise Malformed(f"SUBACK codes {self.codes}")

    def _publish(self):
        self.dup, self.qos, self.retain = bool(self.flags & 8), self.flags >> 1 & 3, bool(self.flags & 1)
        if self.qos == 3 or (self.dup and self.qos == 0):
            raise Malformed(f"PUBLISH with flags {self.flags}")
        n, = struct.unpack("!H", self.body[:2])
        topic, rest = self.body[2:2 + n], self.body[2 + n:]
        if len(topic) != n or n == 0:
            raise Malformed("PUBLISH topic")
        self.topic = topic.decode()
        if self.qos:
            self.pid, = struct.unpack("!H", rest[:2])
            rest = rest[2:]
            if self.pid == 0:
                raise Malformed("PUBLISH with packet identifier 0")
        self.payload = rest

    def __repr__(self):
        shown = {k: v for k, v in vars(self).items() if v is not None and k not in ("type", "flags", "body")}
        if self.payload is not None and len(self.payload) > 40:
            shown["payload"] = f"{len(self.payload)} bytes"
        return f"{NAMES[self.type]}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


class Parser:
    """Bytes in, packets out."""

    def __init__(self):
        self._buf = bytearray()

    def feed(self, data):
        self._buf += data
        out = []
        while (one := self._next()) is not None:
            out.append(one)
        return out

    def _next(self):
        length, shift, at = 0, 0, 1
        while True:
            if at >= len(self._buf):
                return None
            byte = self._buf[at]
            length |= (byte & 0x7f) << shift
            at, shift = at + 1, shift + 7
            if not byte & 0x80:
                break
            if at > 4:
                raise Malformed("remaining length of more than four bytes")
        if len(self._buf) - at < length:
            return None
        head, body = self._buf[0], bytes(self._buf[at:at + length])
        del self._buf[:at + length]
        return Packet(head >> 4, head & 15, body)
