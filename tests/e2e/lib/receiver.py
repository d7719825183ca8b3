"""A client's side of QoS 1 and 2 that outlives its connections: what it has taken, and the packet identifiers that wait for PUBREL."""
from . import packets as p


class Receiver:
    """take(client) handles its next packet. `messages` are those handed to the application: QoS 2 once [MQTT-4.3.3-2], QoS 1 as they come."""

    def __init__(self):
        self.messages, self._held, self.others = [], set(), []

    def take(self, client, timeout=None):
        got = client.recv(timeout)
        if got.type == p.PUBREL:
            self._held.discard(got.pid)
            client.send(p.ack(p.PUBCOMP, got.pid))
        elif got.type != p.PUBLISH:
            self.others.append(got)
        elif got.qos == 2 and got.pid in self._held:
            client.send(p.ack(p.PUBREC, got.pid))
        else:
            self.messages.append(got)
            if got.qos == 1:
                client.send(p.ack(p.PUBACK, got.pid))
            elif got.qos == 2:
                self._held.add(got.pid)
                client.send(p.ack(p.PUBREC, got.pid))
        return got

    def payloads(self):
        return [m.payload.decode() for m in self.messages]
