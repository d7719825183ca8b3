"""Certificates in daily operation: files that change, revocation by several issuers, ends that come near, pinned keys, client ids."""
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lib import env, packets as p
from lib.broker import Broker
from lib.client import Closed, RawClient
from lib.pki import SERVER_AUTH, Authority, attribute, der, extension, name as dn, pem, seq

pytestmark = pytest.mark.sealmqd_only("keys of our own")

SECONDS = 1 / 86400
SHORTLY = max(8, 3 * env.SLOW) * SECONDS
INTERMEDIATES_MAX = 3
SAN = (der(0x82, b"localhost"), der(0x87, bytes([127, 0, 0, 1])))


@pytest.fixture
def ca(tmp_path):
    """An authority of this test alone, whose dates and lists it may bend."""
    (tmp_path / "own-ca").mkdir()
    return Authority(tmp_path / "own-ca", "Own CA")


def refused(broker, cert, reason, name):
    """No CONNACK, and one log line that names the reason."""
    mark = broker.log_mark()
    try:
        with broker.raw(cert) as c:
            c.send_quietly(p.connect(name))
            assert c.expect_close() == []
    except Closed:
        pass
    lines = broker.wait_log(reason, mark)
    assert len(lines) == 1, lines
    return lines[0]


def both(path, *parts):
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def sys_value(c, topic):
    full = "$SYS/broker/certificates/" + topic
    c.subscribe(full)
    value = c.recv_publish(full).payload.decode()
    c.unsubscribe(full)
    return value


def sys_becomes(c, topic, wanted):
    """$SYS is brought up to date each second."""
    full, deadline = "$SYS/broker/certificates/" + topic, time.monotonic() + env.TIMEOUT_S
    c.subscribe(full)
    while (got := c.recv_publish(full).payload.decode()) != wanted:
        assert time.monotonic() < deadline, f"{topic} is {got}, not {wanted}"
    c.unsubscribe(full)


# -- reload_on_change

def replace(path, data):
    """By rename, as careful writers do."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    os.rename(new, path)


def test_files_that_change_are_read_again(start_broker, name, pki, tmp_path):
    victim = pki.authority.issue("watched", "watched")
    crl = pki.authority.crl(tmp_path / "crl.pem")
    broker = start_broker({"reload_on_change": "true"}, listener={"crlfile": crl})
    good, bad = broker.client(name), broker.client(name + "v", cert=victim)
    mark = broker.log_mark()
    replace(crl, pki.authority.crl(tmp_path / "next.pem", victim).read_bytes())
    bad.expect_close(timeout=env.TIMEOUT_S)
    broker.wait_log("audit: reloaded: reload_on_change", mark)
    assert "ended after a reload: certificate revoked" in broker.log_since(mark)
    good.ping()
    assert broker.log_since(mark).count("reloaded") == 1
    assert broker.notified[:1] == ["READY=1"]


def test_a_link_that_points_elsewhere_is_a_change(start_broker, name, pki, tmp_path):
    """As Kubernetes mounts secrets: tls.crt -> ..data/tls.crt, ..data -> a directory, swapped as one."""
    for version, cert in (("1", pki.server), ("2", pki.authority.issue("swapped-server", "localhost", eku=(SERVER_AUTH,), san=SAN))):
        (tmp_path / version).mkdir()
        shutil.copy(cert.crt, tmp_path / version / "tls.crt")
        shutil.copy(cert.key, tmp_path / version / "tls.key")
    (tmp_path / "..data").symlink_to("1")
    for file in ("tls.crt", "tls.key"):
        (tmp_path / file).symlink_to("..data/" + file)
    broker = start_broker({"reload_on_change": "true"}, listener={"certfile": tmp_path / "tls.crt", "keyfile": tmp_path / "tls.key"})
    old = broker.client(name)
    before, mark = old.tls.getpeercert(True), broker.log_mark()
    (tmp_path / "..next").symlink_to("2")
    os.rename(tmp_path / "..next", tmp_path / "..data")
    broker.wait_log("audit: reloaded: reload_on_change", mark)
    assert broker.client(name + "2").tls.getpeercert(True) != before
    old.ping()


def test_what_is_half_written_changes_nothing_until_it_is_whole(start_broker, name, pki, tmp_path):
    ca_file = both(tmp_path / "ca.pem", pki.ca)
    whole = pki.ca.read_bytes() + pki.other_authority.crt.read_bytes()
    stranger = pki.other_authority.issue("stranger3", "stranger3")
    broker = start_broker({"reload_on_change": "true"}, listener={"cafile": ca_file})
    c, mark = broker.client(name), broker.log_mark()
    ca_file.write_bytes(whole[:len(whole) - 100])
    broker.wait_log("reload_on_change: the files above are not good: nothing has changed", mark)
    assert "is cut short" in broker.log_since(mark)
    c.ping()
    broker.client(name + "2").ping()
    mark = broker.log_mark()
    with open(ca_file, "ab") as f:
        f.write(whole[len(whole) - 100:])
    broker.wait_log("audit: reloaded: reload_on_change", mark)
    c.ping()
    broker.client(name + "s", cert=stranger).ping()


def test_the_configuration_and_what_it_includes_are_watched_too(start_broker, name, tmp_path):
    included = tmp_path / "conf.d"
    included.mkdir()
    broker = start_broker({"reload_on_change": "true", "include_dir": included})
    c = broker.client(name)
    mark = broker.log_mark()
    (included / "acl.conf").write_text(f"acl_file {tmp_path}/acl\n")    # names a file that is not there yet
    broker.wait_log("nothing has changed", mark)
    mark = broker.log_mark()
    (tmp_path / "acl").write_text("pattern readwrite %u/#\n")
    (included / "acl.conf").touch()
    broker.wait_log("audit: reloaded: reload_on_change", mark)
    assert c.subscribe("x", "device1/x") == [0x80, 0]
    mark = broker.log_mark()
    replace(tmp_path / "acl", b"pattern readwrite #\n")                 # now it is one of the watched
    broker.wait_log("audit: reloaded: reload_on_change", mark)
    assert c.subscribe("x") == [0]
    mark = broker.log_mark()
    broker.configure({"reload_on_change": None})
    broker.wait_log("audit: reloaded: reload_on_change", mark)
    mark = broker.log_mark()
    replace(tmp_path / "acl", b"pattern read x\n")
    broker.reload()                                                    # nobody watches any more
    assert broker.log_since(mark).count("audit: reloaded") == 1


# -- revocation

def test_lists_of_several_issuers_in_one_file(start_broker, name, pki, tmp_path):
    (tmp_path / "inter").mkdir()
    inter = Authority(tmp_path / "inter", "Inter CA", parent=pki.authority)
    certs = {}
    for who, issuer in (("root-good", pki.authority), ("root-bad", pki.authority), ("inter-good", inter), ("inter-bad", inter)):
        certs[who] = issuer.issue("crl-" + who, who)
        if issuer is inter:
            certs[who].crt.write_bytes(certs[who].crt.read_bytes() + inter.crt.read_bytes())
    lists = [pki.authority.crl(tmp_path / "root.crl", certs["root-bad"]), inter.crl(tmp_path / "inter.crl", certs["inter-bad"])]
    # Lists are believed when their issuer is trusted, so the intermediate stands in cafile too.
    broker = start_broker(listener={"crlfile": both(tmp_path / "both.crl", *lists), "cafile": both(tmp_path / "cas.pem", pki.ca, inter.crt)})
    for version in ("1.2", "1.3"):
        for who in ("root-good", "inter-good"):
            broker.client(name + who, cert=certs[who], version=version).ping()
    for who in ("root-bad", "inter-bad"):
        assert f"CN '{who}'" in refused(broker, certs[who], "certificate revoked", name)
    live = broker.client(name + "live", cert=certs["inter-good"])
    both(tmp_path / "both.crl", pki.authority.crl(tmp_path / "root.crl", inter), lists[1])   # the intermediate itself
    log = broker.reload()
    live.expect_close(timeout=env.TIMEOUT_S)
    assert "ended after a reload: certificate revoked" in log
    refused(broker, certs["inter-good"], "certificate revoked", name)
    both(tmp_path / "both.crl", pki.authority.crl(tmp_path / "root.crl"))                     # and no list of its own
    broker.reload()
    refused(broker, certs["inter-good"], "no revocation list of the certificate's issuer", name)
    broker.client(name + "end", cert=certs["root-good"]).ping()


def test_what_a_list_names_anew_is_in_the_audit_log(start_broker, name, pki, tmp_path):
    """Each certificate once, at the reload that brings it, also of those who never came; of very many the first, and their number."""
    audit, crl = tmp_path / "audit.log", pki.authority.crl(tmp_path / "list.crl", 0x1001)
    broker = start_broker({"audit_log": audit}, listener={"crlfile": crl})
    for serials in ((0x1001, 0x80fedc, 7), (0x1001, 0x80fedc, 7), (7, 0x1001), range(1, 100_001)):
        pki.authority.crl(crl, *serials)
        broker.reload()
    broker.client(name).ping()
    broker.stop()
    assert "audit: certificate revoked: the revocation list names it (issuer 'Test CA', revoked '80fedc')" in broker.log()
    rounds = [[]]
    for line in map(json.loads, audit.read_text().splitlines()):
        if line["kind"] == "reloaded":
            rounds.append([])
        elif line["kind"] == "certificate-revoked":
            rounds[-1].append(line)
    assert {line["revoked"] for line in rounds[0]} == {"80fedc", "07"} and {line["issuer"] for line in rounds[0]} == {"Test CA"}
    assert rounds[1] == rounds[2] == rounds[4] == []
    many = [line["revoked"] for line in rounds[3] if "revoked" in line]
    assert len(set(many)) == len(many) == 256 and not {"07", "1001"} & set(many)
    assert [line["more"] for line in rounds[3] if "more" in line] == [100_000 - 2 - 256]


def test_a_list_past_its_end_is_told_and_refuses_or_not(start_broker, name, pki, tmp_path, ca):
    """Nobody is locked out without a word: the log says so, and so does $SYS, at the start and after a reload."""
    victim, other = ca.issue("stale-victim", "stale-victim"), ca.issue("stale-other", "stale-other")
    lists = ca.crl(tmp_path / "own.crl", victim, days=(-9, -1.5)), pki.authority.crl(tmp_path / "test.crl", days=(-1, 6.5))
    broker = start_broker(listener={"cafile": both(tmp_path / "cas.pem", pki.ca, ca.crt), "crlfile": both(tmp_path / "lists", *lists)})
    assert "error: listener" in broker.wait_log("the revocation list of 'Own CA' ended on .*every client of that CA is refused")[0]
    refused(broker, other, "revocation list of the certificate's issuer is out of date", name)
    c = broker.client(name)                                            # the other list is good for six days
    assert sys_value(c, f"crl/{broker.port}/days_left") == "-2"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", sys_value(c, f"crl/{broker.port}/next_update"))
    broker.configure(listener={"crl_expired": "warn"})
    broker.reload()
    kept = broker.client(name + "o", cert=other)
    refused(broker, victim, "certificate revoked", name)
    broker.configure(listener={"crl_expired": "fail"})
    broker.reload()
    kept.ping()                                                        # no date ends a connection
    mark = broker.log_mark()
    both(tmp_path / "lists", ca.crl(tmp_path / "own.crl", victim), lists[1])
    broker.reload()
    broker.wait_log("warning: listener .*revocation list of 'Test CA' ends in 6 days", mark)
    broker.client(name + "o", cert=other).ping()
    sys_becomes(c, f"crl/{broker.port}/days_left", "6")


def test_a_list_that_ends_while_the_broker_runs_is_told(start_broker, name, pki, tmp_path):
    crl = pki.authority.crl(tmp_path / "crl.pem", days=(-1, SHORTLY))
    broker = start_broker(listener={"crlfile": crl})
    broker.wait_log("warning: listener .*ends in 0 days")
    c = broker.client(name)
    broker.wait_log("error: listener .*revocation list of 'Test CA' ended on")
    c.ping()
    refused(broker, "device2", "out of date", name)


# -- ends that come near

def own_server(ca, days):
    return ca.issue("dated-server", "localhost", eku=(SERVER_AUTH,), san=SAN, days=days)


@pytest.mark.parametrize("days,line", [(40.5, None), (29.5, "warning: .*'localhost' ends in 29 days"), (6.5, "warning: .*'localhost' ends in 6 days"),
                                       (-0.5, "error: .*'localhost' ended on .*: clients refuse the broker")])
def test_the_brokers_own_certificate(start_broker, name, pki, days, line):
    server = own_server(pki.authority, (-60, days))
    broker = start_broker(listener={"certfile": server.crt, "keyfile": server.key})
    if line:
        broker.wait_log(line)
    if days < 0:
        broker.wait_log("warning: listener .* expired on .*: clients will refuse it")
        return
    c = broker.client(name)
    assert line or "ends in" not in broker.log()
    assert sys_value(c, f"server/{broker.port}/days_left") == str(int(days))
    end = x509.load_pem_x509_certificate(server.crt.read_bytes()).not_valid_after
    assert sys_value(c, f"server/{broker.port}/not_after") == end.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert int(sys_value(c, f"ca/{broker.port}/days_left")) in (363, 364)
    own_server(pki.authority, (-1, 90))     # under the same names
    broker.reload()
    sys_becomes(c, f"server/{broker.port}/days_left", "89")


def test_an_authority_that_ended_is_left_out_and_the_others_go_on(start_broker, name, pki, tmp_path):
    (tmp_path / "old").mkdir()
    old = Authority(tmp_path / "old", "Old CA")
    old.crt.write_bytes(pem_of(old, (-30, -1)))
    broker = start_broker(listener={"cafile": both(tmp_path / "cas.pem", old.crt, pki.ca)})
    broker.wait_log("warning: listener .*the CA 'Old CA' expired on .* and is left out")
    broker.client(name).ping()
    refused(broker, old.issue("of-old", "of-old"), "unknown CA", name)


def pem_of(authority, days):
    """The authority's own certificate with other dates."""
    return pem(authority._certificate(authority.name, authority.key, [   # pylint: disable=protected-access
        extension("2.5.29.19", seq(der(0x01, b"\xff")), critical=True), extension("2.5.29.15", der(0x03, b"\x01\x06"), critical=True)], days))


def test_an_authority_that_ends_while_the_broker_runs(start_broker, name, pki, tmp_path, ca):
    ca.crt.write_bytes(pem_of(ca, (-1, SHORTLY)))
    client = ca.issue("outlives", "outlives")
    broker = start_broker(listener={"cafile": both(tmp_path / "cas.pem", pki.ca, ca.crt)})
    c = broker.client(name, cert=client)
    broker.wait_log("error: listener .*the certificate of the CA 'Own CA' ended on .*: its clients are refused")
    c.ping()
    refused(broker, client, "the certificate's CA has expired", name)
    broker.client(name + "2").ping()


def test_clients_whose_certificates_end_are_counted_and_told(start_broker, name, pki):
    broker = start_broker()
    watcher, mark = broker.client(name), broker.log_mark()
    month, week = (broker.client(f"{name}-{days}", cert=pki.authority.issue(f"ends-{days}", f"ends-{days}", days=(-1, days))) for days in (20.5, 3.5))
    broker.wait_log("CN 'ends-20.5' .*its certificate ends in 20 days", mark)
    broker.wait_log("warning: CN 'ends-3.5' .*its certificate ends in 3 days", mark)
    assert "CN 'device1'" not in "".join(broker.wait_log("certificate ends"))
    sys_becomes(watcher, "clients/expiring_30d", "2")
    sys_becomes(watcher, "clients/expiring_7d", "1")
    week.disconnect()
    sys_becomes(watcher, "clients/expiring_30d", "1")
    sys_becomes(watcher, "clients/expiring_7d", "0")
    month.drop()
    sys_becomes(watcher, "clients/expiring_30d", "0")


@pytest.mark.parametrize("what", ["disconnect", "keep"])
def test_a_connection_that_outlives_its_certificate(start_broker, name, pki, what):
    broker = start_broker({"certificate_expired": what})
    watcher = broker.client(name)
    watcher.subscribe(name + "/will")
    cert = pki.authority.issue("short-" + what, "short", days=(-1, SHORTLY))
    c = broker.client(name + "s", cert=cert, will=(name + "/will", b"gone"), keepalive=0)
    if what == "disconnect":
        broker.wait_log("audit: CN 'short' client .*certificate expired: the connection ends")
        c.expect_close(timeout=env.TIMEOUT_S)
        broker.wait_log("info: CN 'short' client .*: certificate expired")  # not the refusal that follows
        watcher.recv_publish(name + "/will", b"gone")
    else:
        time.sleep(max(0, x509.load_pem_x509_certificate(cert.crt.read_bytes()).not_valid_after.timestamp() - time.timezone - time.time() + 1.5))
        c.ping()
        broker.reload()      # judges all connections now, which else is done once a minute
        broker.wait_log("audit: CN 'short' client .*certificate expired: the connection goes on")
        sys_becomes(watcher, "clients/expired", "1")
        c.ping()
    refused(broker, cert, "certificate expired", name)


# -- pinned keys, client ids

def spki_hash(cert):
    key = x509.load_pem_x509_certificate(cert.crt.read_bytes()).public_key()
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def test_the_documented_command_computes_a_pin(pki):
    got = subprocess.run(f"openssl x509 -in {pki.rsa.crt} -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256", shell=True,
                         capture_output=True, text=True, check=True)
    assert got.stdout.split()[-1] == spki_hash(pki.rsa)
    with open(env.ROOT / "docs" / "configuration.md", encoding="utf-8") as f:
        assert "openssl x509 -in pump7.crt -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256" in f.read()


def test_a_pinned_name_needs_its_key(start_broker, name, pki):
    right, spare, wrong = (pki.authority.issue(f"pin-{k}", "pump 7 (pinned)") for k in ("right", "spare", "wrong"))
    broker = start_broker()
    live_right, live_wrong = broker.client(name + "r", cert=right), broker.client(name + "w", cert=wrong)
    with open(broker.config_path, "a", encoding="utf-8") as f:
        f.write(f"pin pump 7 (pinned) {spki_hash(spare)}\npin pump 7 (pinned) {spki_hash(right).upper()}\n")
    log = broker.reload()
    live_wrong.expect_close(timeout=env.TIMEOUT_S)
    assert "ended after a reload: certificate's key is not one that is pinned for its name" in log
    live_right.ping()
    assert "CN 'pump 7 (pinned)'" in refused(broker, wrong, "handshake refused: certificate's key is not one that is pinned for its name", name)
    for cert in (right, spare, "device1"):
        broker.client(name, cert=cert).disconnect()


def test_a_client_id_has_to_fit_its_identity(start_broker, name, tmp_path):
    log = tmp_path / "audit.log"
    broker = start_broker({"clientid_pattern": "%u-*", "audit_log": log})
    with broker.client("device1-" + name) as c:
        c.ping()
    with broker.client("") as c:           # the broker's own choice
        c.ping()
    for client_id in ("device1", "device2-" + name, name):
        mark = broker.log_mark()
        with broker.raw() as c:
            c.connect(client_id, expect=2)
            assert c.expect_close() == []
        line = broker.wait_log("CONNECT refused", mark)
        assert len(line) == 1 and "CN 'device1'" in line[0] and "clientid_pattern" in line[0]
    broker.stop()
    events = [e for e in map(json.loads, log.read_text(encoding="utf-8").splitlines()) if e["kind"] == "connect-refused"]
    assert [(e["cn"], e["client"]) for e in events] == [("device1", i) for i in ("device1", "device2-" + name, name)]


# -- TLS

@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_faults_of_a_certificate_have_their_cause(start_broker, name, pki, tmp_path, version):
    broker = start_broker()

    def is_refused(cert, reason):
        mark = broker.log_mark()
        try:
            with broker.raw(cert, version) as c:
                c.send_quietly(p.connect(name))
                assert c.expect_close() == []
        except Closed:
            pass
        lines = broker.wait_log("handshake refused", mark)
        assert len(lines) == 1 and re.search(reason, lines[0]), lines
    authority, chain = pki.authority, b""
    for i in range(5):
        (tmp_path / str(i)).mkdir()
        authority = Authority(tmp_path / str(i), f"Step {i}", parent=authority)
        chain = authority.crt.read_bytes() + chain
        if i in (1, 2, 3, 4):
            leaf = authority.issue(f"step-{version}-{i}", f"step-{i}")
            leaf.crt.write_bytes(leaf.crt.read_bytes() + chain)
            if i <= INTERMEDIATES_MAX - 1:
                broker.client(name, cert=leaf, version=version).ping()   # the client sends what the broker does not have
            else:
                is_refused(leaf, "certificate chain is longer than allowed")
    impostor = pki.device(1)
    below = authority_of(impostor, tmp_path).issue(f"below-{version}", "below")
    below.crt.write_bytes(below.crt.read_bytes() + impostor.crt.read_bytes())
    is_refused(below, "unknown CA|no CA")    # a client's certificate signs for another
    is_refused(pki.authority.issue(f"any-{version}", dn(attribute("wrong-use")), cn="wrong-use", eku=(SERVER_AUTH,)), "extended key usage")


def authority_of(cert, directory):
    """Signs with a client's key, as only a thief of that key would."""
    (directory / "thief").mkdir()
    one = Authority(directory / "thief", cert.cn)
    one.key = serialization.load_pem_private_key(cert.key.read_bytes(), None)
    return one


def test_a_weak_key_is_refused_with_its_cause(broker, name, pki):
    """OpenSSL, at its default level, sends no certificate of 1024 bits; where it does, the broker says why it refuses."""
    weak = pki.authority.issue("weak", "weak", kind="rsa1024")
    context = ssl.create_default_context(cafile=str(pki.ca))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(weak.crt, weak.key)
    mark = broker.log_mark()
    with pytest.raises(Closed):
        with RawClient(broker.address, context) as c:
            c.send_quietly(p.connect(name))
            c.expect_close()
            raise Closed
    broker.wait_log("handshake refused: certificate's key is too weak", mark)


# -- --check-config

@pytest.mark.parametrize("fault,wanted", [
    ("key of another certificate", "keyfile .*does not belong to the certificate in"),
    ("key for all to read", "warning: listener .*keyfile .*every user of this machine may read"),
    ("no ca", r"cafile .*certificate 2 \('device1'\) is not a CA's"),
    ("list of a stranger", "crlfile .*list 2 is signed by an authority that is not in cafile"),
    ("list cut short", "crlfile .*block 1 is cut short"),
    ("no list", "crlfile .*holds no PEM revocation list"),
    ("no san", "warning: listener .*certfile .*has no subjectAltName"),
    ("client's certificate", "warning: listener .*certfile .*is not meant for TLS servers"),
    ("weak own key", "keyfile|certfile"),
])
def test_check_config_names_file_and_fault(pki, tmp_path, fault, wanted):
    keys, bad = {}, tmp_path / "bad"
    crl = pki.authority.crl(tmp_path / "crl.pem").read_bytes()
    if fault == "key of another certificate":
        keys["keyfile"] = pki.device(1).key
    elif fault == "key for all to read":
        keys["keyfile"] = shutil.copy(pki.server.key, bad)
        bad.chmod(0o644)
    elif fault == "no ca":
        keys["cafile"] = both(bad, pki.ca, pki.device(1).crt)
    elif fault == "list of a stranger":
        bad.write_bytes(crl + pki.other_authority.crl(tmp_path / "other.pem").read_bytes())
        keys["crlfile"] = bad
    elif fault == "list cut short":
        bad.write_bytes(crl[:-40])
        keys["crlfile"] = bad
    elif fault == "no list":
        keys["crlfile"] = pki.ca
    else:
        cert = {"no san": lambda: pki.authority.issue("no-san", "localhost", eku=(SERVER_AUTH,)), "client's certificate": lambda: pki.device(1),
                "weak own key": lambda: pki.authority.issue("weak-own", "localhost", kind="rsa1024", eku=(SERVER_AUTH,), san=SAN)}[fault]()
        keys.update(certfile=cert.crt, keyfile=cert.key)
    one = Broker(tmp_path, pki, listener=keys)
    try:
        got = subprocess.run([env.SEALMQD, "-c", one.config_path, "--check-config"], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    finally:
        one.kill()
    assert re.search(wanted, got.stderr), got.stderr
    assert got.stderr.startswith(f"{one.config_path}:") and f"listener {one.port}: " in got.stderr
    assert got.returncode == (0 if wanted.startswith("warning") else 1)
