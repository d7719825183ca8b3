"""TLS and identity: which certificates come in, which are refused and why, and what the CN then means."""
import socket
import ssl

import pytest

from lib import env, packets as p
from lib.client import Closed, RawClient

STORES = (0,)

# What the one log line of a refusal must name.
REASONS = {
    "expired": r"expired",
    "not yet valid": r"not yet valid",
    "unknown ca": r"unknown CA|not issued by a trusted CA",
    "eku": r"\bEKU\b|key usage",
    "cn": r"common name",
    "unreadable": r"common name|not acceptable",
    "no certificate": r"no (client )?certificate",
    "plain text": r"plain ?text|not TLS",
    "timeout": r"time[d]? ?out|in time",
    "version": r"version",
}

GOOD = ["rsa", "no_eku", "v1", "utf8", "spaces", "printable", "ia5", "more_names", "long_cn", "chained"]
BAD_CHAIN = ["expired", "expired_v1", "not_yet_valid", "other_ca", "other_ca_v1", "same_named_ca", "server_eku"]
BAD_CN = ["cn_plus", "cn_hash", "cn_slash", "cn_nul", "cn_nul_last", "cn_control", "cn_newline", "cn_del", "cn_c1_control",
          "cn_bmp", "cn_teletex", "cn_empty", "cn_none", "cn_two", "cn_two_in_one_rdn", "no_subject"]


@pytest.fixture
def origin(name):
    """An address that no other test comes from: of one origin's refusals only the first few are told each by itself."""
    n = int(name[1:])
    return f"127.1.{n >> 8}.{n & 255}"


def assert_refused(broker, cert, version, client_id, source=None):
    """The handshake, or at the latest the first read behind it, fails: no CONNACK ever."""
    try:
        with broker.raw(cert, version, source=source) as c:
            c.send_quietly(p.connect(client_id))
            assert c.expect_close() == []
    except Closed:
        pass


def one_line(broker, mark, reason, peer="127.0.0.1"):
    """Exactly one line names the reason; it names the peer too."""
    broker.wait_log(REASONS[reason], mark)
    with broker.client("fence"):                    # the log is written by a thread of its own: a second line would be there by now
        broker.wait_log("'fence'.* connected", mark)
        lines = broker.wait_log(REASONS[reason], mark)
    assert len(lines) == 1, lines
    assert peer in lines[0], lines
    return lines[0]


def assert_identity(broker, cert, client_id):
    """The broker knows this certificate by exactly its CN: another certificate of that CN takes the session over, others may not."""
    with broker.client(client_id, cert) as first:
        with broker.raw("device99") as stranger:
            stranger.connect(client_id, expect=2)
            assert stranger.expect_close() == []
        same_cn = broker.pki.authority.issue("same-" + client_id, cert.cn)
        with broker.client(client_id, same_cn) as second:
            first.expect_closed_silently()
            second.ping()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", GOOD)
def test_certificate_comes_in(broker, pki, name, kind, version):
    with broker.client(name, getattr(pki, kind), version) as c:
        assert c.tls.version() == f"TLSv{version}"
        c.subscribe(name)
        c.publish(name, b"x")
        c.recv_publish(name, b"x")


@pytest.mark.sealmqd_only("mosquitto lets any identity take a client id over")
@pytest.mark.parametrize("kind", GOOD)
def test_cn_is_the_identity(broker, pki, name, kind):
    assert_identity(broker, getattr(pki, kind), name)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", BAD_CHAIN)
def test_certificate_is_refused(broker, pki, name, origin, kind, version):
    cert, reason = pki.bad[kind]
    mark = broker.log_mark()
    assert_refused(broker, cert, version, name, origin)
    if not env.MOSQUITTO:
        one_line(broker, mark, reason, origin)


def test_intermediate_that_is_not_sent(start_broker, pki, name):
    """A leaf whose issuer neither side has (a broker of its own: wolfSSL remembers the intermediates that it has verified)."""
    assert_refused(start_broker(), pki.leaf_alone, "1.3", name)


@pytest.mark.sealmqd_only("mosquitto reads the CN less strictly")
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", BAD_CN)
def test_certificate_with_a_bad_cn_is_refused(broker, pki, name, origin, kind, version):
    cert, reason = pki.bad[kind]
    mark = broker.log_mark()
    assert_refused(broker, cert, version, name, origin)
    line = one_line(broker, mark, reason, origin)
    assert not set(line) & {"\0", "\x01", "\x7f", "\x85"}, "control characters of a CN must not reach the log"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_certificate_is_refused(broker, name, version):
    mark = broker.log_mark()
    assert_refused(broker, None, version, name)
    if not env.MOSQUITTO:
        one_line(broker, mark, "no certificate")


@pytest.mark.parametrize("data", [p.connect("plain"), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\0" * 100],
                         ids=["mqtt", "http", "zeros"])
def test_plain_text_on_a_tls_port_is_closed(broker, data):
    mark = broker.log_mark()
    with RawClient(broker.address) as c:
        c.send(data)
        assert not c.tcp_until_close().startswith(b"\x20"), "a CONNACK for plain text"      # a TLS alert may come
    if not env.MOSQUITTO:
        one_line(broker, mark, "plain text")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(broker, pki):
    mark = broker.log_mark()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(Closed):
        RawClient(broker.address, context)
    if not env.MOSQUITTO:
        one_line(broker, mark, "version")


def test_server_presents_its_certificate(broker):
    with broker.raw() as c:
        assert c.tls.getpeercert()["subject"] == ((("commonName", "localhost"),),)


@pytest.mark.sealmqd_only("a forward-secret AEAD suite alone is our rule")
@pytest.mark.parametrize("suite,accepted", [("ECDHE-ECDSA-AES128-GCM-SHA256", True), ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
                                            ("ECDHE-ECDSA-AES128-SHA", False), ("ECDHE-ECDSA-AES128-SHA256", False)])
def test_tls_1_2_suites(broker, pki, name, suite, accepted):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca)
    context.load_cert_chain(pki.device(1).crt, pki.device(1).key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    if accepted:
        with RawClient(broker.address, context) as c:
            assert c.tls.cipher()[0] == suite
            c.connect(name)
    else:
        with pytest.raises(Closed):
            RawClient(broker.address, context)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_resumption(broker, name, version):
    """A resumed handshake would skip the certificate: the broker gives no ticket that works."""
    context = broker.context(broker.pki.device(1), version)
    with RawClient(broker.address, context) as c:
        c.connect(name)
        c.ping()  # a ticket of TLS 1.3 comes behind the handshake
        session = c.tls.session
    again = RawClient(broker.address, context, handshake=False)
    with again:
        if session is not None and (session.id or session.has_ticket):
            again.tls.session = session
        again.handshake()
        assert env.MOSQUITTO or not again.tls.session_reused


def test_many_handshakes_cut_short_leave_others_alone(broker, connect, name):
    c = connect()
    for i in range(20):
        one = RawClient(broker.address, broker.context(broker.pki.device(1)), handshake=False)
        try:
            one.tls.do_handshake()
        except ssl.SSLWantReadError:
            hello = one._out.read()
        one.send_tcp(hello[:1 + i * 10])
        one.reset() if i % 2 else one.drop()
    c.ping()


def test_client_hello_byte_by_byte(broker, name):
    """Every byte of the handshake in a TCP segment of its own."""
    one = RawClient(broker.address, broker.context(broker.pki.device(1)), handshake=False)
    whole = one.send_tcp
    one.send_tcp = lambda data, timeout=None: [whole(data[i:i + 1]) for i in range(len(data))]
    with one:
        one.handshake()
        one.connect(name)
        one.ping()


@pytest.mark.sealmqd_only("mosquitto waits longer")
@pytest.mark.parametrize("said", ["nothing", "half a ClientHello", "no CONNECT"])
def test_handshake_timeout(start_broker, said):
    """A peer that does not come to its CONNECT in time is closed, with a line in the log."""
    broker = start_broker({"handshake_timeout": 1})
    mark = broker.log_mark()
    context = broker.context(broker.pki.device(1))
    with RawClient(broker.address, context, handshake=False) as c:
        if said == "half a ClientHello":
            try:
                c.tls.do_handshake()
            except ssl.SSLWantReadError:
                c.send_tcp(c._out.read()[:50])
        elif said == "no CONNECT":
            c.handshake()
        assert c.expect_close() == []
    broker.wait_log(REASONS["timeout"], mark)


@pytest.mark.sealmqd_only("a configuration key of ours")
def test_a_slow_peer_does_not_hold_up_others(broker, name):
    stuck = [socket.create_connection(broker.address) for _ in range(30)]
    with broker.client(name) as c:
        c.ping()
    for s in stuck:
        s.close()
