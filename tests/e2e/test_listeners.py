"""Several listeners, IPv6, a plain listener on loopback."""
import socket

import pytest

from lib import env, packets as p
from lib.broker import listener_keys


def test_several_listeners_are_one_broker(start_broker, pki, name, port):
    broker = start_broker(extra=[(port, "127.0.0.1", listener_keys(pki))])
    with broker.client(name + "1") as a, broker.client(name + "2", address=("127.0.0.1", port)) as b:
        b.subscribe((name, 1))
        a.publish(name, b"x", 1)
        b.recv_publish(name, b"x")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(start_broker, pki, name, port):
    broker = start_broker(extra=[(port, "::1", listener_keys(pki))])
    with broker.client(name, address=("::1", port)) as c:
        c.subscribe((name, 1))
        c.publish(name, b"x", 1)
        c.recv_publish(name, b"x")
    with pytest.raises(OSError):
        broker.plain(("127.0.0.1", port))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_without_an_address_both_families_are_served(start_broker, pki, name, port, address):
    broker = start_broker(extra=[(port, None, listener_keys(pki))])
    with broker.client(name, address=(address, port)) as c:
        c.ping()


def test_a_client_id_is_one_session_over_all_listeners(start_broker, pki, name, port):
    broker = start_broker(extra=[(port, "127.0.0.1", listener_keys(pki))])
    first = broker.client(name, clean=False)
    with broker.client(name, address=("127.0.0.1", port), clean=False) as second:
        assert second.connack.session_present
        first.expect_close()
        second.ping()


@pytest.mark.sealmqd_only("listener keys before a listener are its defaults")
def test_keys_before_the_listeners_are_their_defaults(start_broker, pki, name, port):
    keys = listener_keys(pki)
    config = "allow_anonymous false\nstore memory\n" + "".join(f"{k} {v}\n" for k, v in keys.items())
    broker = start_broker(config=config + f"listener @PORT@ 127.0.0.1\nlistener {port} 127.0.0.1\n")
    for address in (broker.address, ("127.0.0.1", port)):
        with broker.client(name, address=address) as c:
            c.ping()


@pytest.mark.sealmqd_only("listener keys of several listeners")
def test_each_listener_has_its_own_ca(start_broker, pki, name, port):
    """A listener's cafile counts for it alone."""
    other = pki.other_authority
    keys = {**listener_keys(pki), "cafile": other.crt}
    broker = start_broker(extra=[(port, "127.0.0.1", keys)])
    stranger = other.issue("of-the-other-ca", "device7")
    with broker.client(name, cert=stranger, address=("127.0.0.1", port)) as c:
        c.ping()
    for address, cert in ((broker.address, stranger), (("127.0.0.1", port), pki.device(1))):
        with pytest.raises(Exception):              # noqa: B017,PT011 - the handshake, or the read behind it
            with broker.raw(cert, address=address) as c:
                c.connect(name)


@pytest.mark.sealmqd_only("allow_plaintext_loopback is ours")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_plain_loopback_listener(start_broker, pki, name, port, address):
    broker = start_broker({"allow_plaintext_loopback": "true"}, extra=[(port, address, {})])
    with broker.plain((address, port)) as a, broker.client(name + "tls") as b:
        a.connect(name + "plain")
        for c in (a, b):
            c.subscribe((name, 2))
        for c in (a, b):
            c.publish(name, b"x" * 20000, 2)
        for c in (a, b):
            assert [len(x) for x in c.recv_payloads(2)] == [20000, 20000]


@pytest.mark.sealmqd_only("allow_plaintext_loopback is ours")
def test_plain_pipelining_split_at_every_byte(start_broker, pki, name, port):
    broker = start_broker({"allow_plaintext_loopback": "true", "threads": max(3, env.THREADS)}, extra=[(port, "127.0.0.1", {})])
    for i in range(1, 70):
        data = p.connect(f"{name}-{i:03}") + p.subscribe(1, (name, 1)) + p.publish(name, b"x", 1, pid=2)
        if i >= len(data):
            break
        with broker.plain(("127.0.0.1", port)) as c:
            c.send_tcp(data[:i])
            c.send_tcp(data[i:])
            assert c.expect(p.CONNACK).code == 0
            c.recv_publish(name, b"x")


@pytest.mark.sealmqd_only("allow_plaintext_loopback is ours")
def test_a_plain_identity_is_no_certificate(start_broker, pki, name, port):
    """Whatever user name a plain client writes, it does not get a session of a certificate's identity."""
    broker = start_broker({"allow_plaintext_loopback": "true"}, extra=[(port, "127.0.0.1", {})])
    owner = broker.client(name, clean=False)
    for username in (None, "device1"):
        with broker.plain(("127.0.0.1", port)) as c:
            c.connect(name, clean=False, username=username, expect=2)
    owner.ping()


@pytest.mark.sealmqd_only("our log")
def test_tls_on_a_plain_port(start_broker, pki, name, port):
    broker = start_broker({"allow_plaintext_loopback": "true"}, extra=[(port, "127.0.0.1", {})])
    with pytest.raises(Exception):                  # noqa: B017,PT011
        broker.raw(address=("127.0.0.1", port))
    with broker.client(name) as c:
        c.ping()


def test_port_in_use(start_broker, pki):
    """Someone else's port is an error at the start, with the port named."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    number = taken.getsockname()[1]
    broker = start_broker(wait=False, extra=[(number, "127.0.0.1", listener_keys(pki))])
    assert broker.process.wait(env.TIMEOUT_S) != 0
    if not env.MOSQUITTO:
        assert str(number) in broker.log()
    taken.close()
