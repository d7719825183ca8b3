"""QoS 0, 1 and 2 in both directions: handshakes, redelivery, order, the in-flight window."""
import pytest

from lib import packets as p


@pytest.mark.parametrize("sub_qos", [0, 1, 2])
@pytest.mark.parametrize("pub_qos", [0, 1, 2])
def test_delivery_at_the_lower_qos(connect, name, pub_qos, sub_qos):
    sub, pub = connect("s"), connect("p")
    assert sub.subscribe((name, sub_qos)) == [sub_qos]
    pub.publish(name, b"hello", pub_qos)
    sub.recv_publish(name, b"hello", min(pub_qos, sub_qos), retain=False, dup=False)
    sub.ping()
    assert not sub.inbox
