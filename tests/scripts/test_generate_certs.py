# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/generate-certs.sh, judged by openssl and by Python's cryptography: never by the script's own words alone."""
import datetime
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate-certs.sh"


def certs(out, *args, ok=True):
    run = subprocess.run([SCRIPT, "--out", out, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert (run.returncode == 0) == ok, run.stdout + run.stderr
    return run.stdout if ok else run.stderr


def openssl(*args, cwd=None, ok=True):
    run = subprocess.run(["openssl", *args], capture_output=True, text=True, cwd=cwd, timeout=60)
    assert (run.returncode == 0) == ok, run.stdout + run.stderr
    return run.stdout


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def key_of(path):
    return serialization.load_pem_private_key(path.read_bytes(), None)


def public_bytes(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def extension(cert, kind):
    return cert.extensions.get_extension_for_class(kind).value


def days(cert):
    return (cert.not_valid_after - cert.not_valid_before).days


def content(out):
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}


def revoked(out):
    crl = x509.load_pem_x509_crl((out / "ca.crl").read_bytes())
    assert crl.is_signature_valid(load(out / "ca.crt").public_key())
    return {entry.serial_number for entry in crl}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The default set, for the tests that only read it."""
    out = tmp_path_factory.mktemp("made") / "certs"
    certs(out)
    return out


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    directory = tmp_path_factory.mktemp("template") / "certs"
    certs(directory, "--algo", "ec")
    return directory


@pytest.fixture
def out(template, tmp_path):
    """A set with EC keys (quick to make), for the tests that change it."""
    return shutil.copytree(template, tmp_path / "certs")


def test_default_set_has_the_files_and_only_their_owner_reads_keys(made):
    names = {p.name for p in made.iterdir()}
    assert names == {"ca.crt", "ca.key", "server.crt", "server.key", "client.crt", "client.key", "ca.db"}
    for name in ("ca", "server", "client"):
        assert stat.S_IMODE((made / f"{name}.key").stat().st_mode) == 0o600
        assert stat.S_IMODE((made / f"{name}.crt").stat().st_mode) == 0o644
    assert stat.S_IMODE((made / "ca.db").stat().st_mode) == 0o700


def test_default_keys_are_rsa_3072_ca_p256_broker_rsa_2048_client(made):
    ca, server, client = (key_of(made / f"{n}.key") for n in ("ca", "server", "client"))
    assert isinstance(ca, rsa.RSAPrivateKey) and ca.key_size == 3072
    assert isinstance(server, ec.EllipticCurvePrivateKey) and server.curve.name == "secp256r1"
    assert isinstance(client, rsa.RSAPrivateKey) and client.key_size == 2048
    for name, key in (("ca", ca), ("server", server), ("client", client)):
        assert public_bytes(load(made / f"{name}.crt").public_key()) == public_bytes(key.public_key())


def test_default_validity_is_ten_years_and_one_year(made):
    assert days(load(made / "ca.crt")) == 3650
    assert days(load(made / "server.crt")) == days(load(made / "client.crt")) == 365


def test_chain_and_purposes_verify(made):
    for name, purpose, other in (("server", "sslserver", "sslclient"), ("client", "sslclient", "sslserver")):
        openssl("verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", purpose, f"{name}.crt", cwd=made)
        openssl("verify", "-CAfile", "ca.crt", "-purpose", other, f"{name}.crt", cwd=made, ok=False)


def test_broker_names_cover_localhost_and_this_machine(made):
    san = extension(load(made / "server.crt"), x509.SubjectAlternativeName)
    assert {str(a) for a in san.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert {"localhost", os.uname().nodename} <= set(san.get_values_for_type(x509.DNSName))


def test_extensions_of_leaves(made):
    ca = load(made / "ca.crt")
    ca_id = extension(ca, x509.SubjectKeyIdentifier).digest
    assert extension(ca, x509.BasicConstraints).ca and extension(ca, x509.KeyUsage).crl_sign
    for name, usage in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        cert = load(made / f"{name}.crt")
        assert cert.version == x509.Version.v3
        assert list(extension(cert, x509.ExtendedKeyUsage)) == [usage]
        assert extension(cert, x509.AuthorityKeyIdentifier).key_identifier == ca_id
        own = x509.SubjectKeyIdentifier.from_public_key(cert.public_key())
        assert extension(cert, x509.SubjectKeyIdentifier).digest == own.digest
        assert not extension(cert, x509.BasicConstraints).ca
    assert extension(load(made / "client.crt"), x509.KeyUsage).key_encipherment  # RSA: it unwraps envelopes
    assert not extension(load(made / "server.crt"), x509.KeyUsage).key_encipherment


def test_identity_is_the_only_cn_and_utf8(made):
    names = load(made / "client.crt").subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [n.value for n in names] == ["client"]


def test_second_run_changes_nothing(made):
    before = content(made)
    assert certs(made).count("kept") == 3
    assert content(made) == before


def test_client_makes_one_per_name_and_keeps_what_exists(out):
    certs(out, "client", "dev1", "dev2", "--days", "7")
    before = content(out)
    assert days(load(out / "dev1.crt")) == 7
    assert isinstance(key_of(out / "dev2.key"), rsa.RSAPrivateKey)
    certs(out, "client", "dev1", "dev2")
    assert content(out) == before


def test_force_replaces_key_and_certificate_of_that_name_alone(out):
    certs(out, "client", "dev1", "--algo", "ec")
    before = content(out)
    certs(out, "client", "dev1", "--algo", "ec", "--force")
    after = content(out)
    assert {n for n in before if before[n] != after[n]} == {"dev1.key", "dev1.crt"}
    assert public_bytes(load(out / "dev1.crt").public_key()) == public_bytes(key_of(out / "dev1.key").public_key())


def test_force_alone_makes_a_new_authority(out):
    before = content(out)
    certs(out, "--force", "--algo", "ec")
    after = content(out)
    assert all(before[n] != after[n] for n in ("ca.key", "ca.crt", "server.key", "server.crt", "client.key", "client.crt"))
    openssl("verify", "-CAfile", "ca.crt", "server.crt", "client.crt", cwd=out)


def test_missing_certificate_is_made_for_the_key_that_is_there(out):
    key = (out / "client.key").read_bytes()
    (out / "client.crt").unlink()
    certs(out)
    assert (out / "client.key").read_bytes() == key
    assert public_bytes(load(out / "client.crt").public_key()) == public_bytes(key_of(out / "client.key").public_key())


def test_existing_authority_with_its_key_elsewhere_is_kept(out):
    (out / "ca.key").rename(out.parent / "ca.key")
    certs(out)  # all three exist: nothing to sign
    assert "ca.key" in certs(out, "client", "dev1", ok=False)
    assert not (out / "dev1.key").exists() and not (out / "ca.key").exists()


def test_server_hosts_become_alternative_names(out):
    certs(out, "server", "mqtt.example.com", "10.0.0.5", "fd00::1", "--san", "broker.local")
    for host, kind, value in (("mqtt.example.com", x509.DNSName, "mqtt.example.com"), ("10.0.0.5", x509.IPAddress, "10.0.0.5"),
                              ("fd00::1", x509.IPAddress, "fd00::1")):
        san = extension(load(out / f"{host}.crt"), x509.SubjectAlternativeName)
        assert value in [str(v) for v in san.get_values_for_type(kind)]
        assert "broker.local" in san.get_values_for_type(x509.DNSName)
        openssl("verify", "-CAfile", "ca.crt", "-purpose", "sslserver", f"./{host}.crt", cwd=out)


def test_algo_rules_every_new_key(out):
    assert isinstance(key_of(out / "ca.key"), ec.EllipticCurvePrivateKey)
    assert isinstance(key_of(out / "client.key"), ec.EllipticCurvePrivateKey)
    certs(out, "server", "h", "--algo", "rsa")
    assert isinstance(key_of(out / "h.key"), rsa.RSAPrivateKey)


def test_renew_keeps_key_subject_and_names_and_moves_the_end(out):
    certs(out, "client", "dev1", "--days", "2")
    for name in ("dev1", "server"):
        old, key = load(out / f"{name}.crt"), (out / f"{name}.key").read_bytes()
        certs(out, "renew", name, "--days", "400")
        new = load(out / f"{name}.crt")
        assert (out / f"{name}.key").read_bytes() == key
        assert public_bytes(new.public_key()) == public_bytes(old.public_key())
        assert new.subject == old.subject and new.serial_number != old.serial_number and days(new) == 400
        assert {e.oid: e.value for e in new.extensions} == {e.oid: e.value for e in old.extensions}


def test_renew_works_without_the_devices_key(out):
    (out / "client.key").unlink()
    old = load(out / "client.crt")
    certs(out, "renew", "client")
    assert public_bytes(load(out / "client.crt").public_key()) == public_bytes(old.public_key())
    assert not (out / "client.key").exists()


def test_renewed_authority_still_verifies_what_it_signed(out):
    before = load(out / "ca.crt")
    certs(out, "renew", "ca")
    after = load(out / "ca.crt")
    assert after.serial_number != before.serial_number and after.subject == before.subject
    assert extension(after, x509.BasicConstraints).ca
    openssl("verify", "-CAfile", "ca.crt", "server.crt", "client.crt", cwd=out)


def test_revoke_lists_every_certificate_of_the_name(out):
    certs(out, "client", "dev1", "dev2")
    first = load(out / "dev1.crt").serial_number
    certs(out, "renew", "dev1")
    second = load(out / "dev1.crt").serial_number
    certs(out, "revoke", "dev1")
    assert revoked(out) == {first, second}
    openssl("verify", "-crl_check", "-CAfile", "ca.crt", "-CRLfile", "ca.crl", "dev1.crt", cwd=out, ok=False)
    openssl("verify", "-crl_check", "-CAfile", "ca.crt", "-CRLfile", "ca.crl", "dev2.crt", cwd=out)
    certs(out, "revoke", "dev1")  # twice does no harm
    assert revoked(out) == {first, second}


def test_revoke_works_by_name_when_the_file_is_gone(out):
    certs(out, "client", "dev1")
    serial = load(out / "dev1.crt").serial_number
    (out / "dev1.crt").unlink()
    certs(out, "revoke", "dev1")
    assert revoked(out) == {serial}
    assert "nobody" in certs(out, "revoke", "nobody", ok=False)


def test_revoked_certificate_is_neither_renewed_nor_silently_kept(out):
    certs(out, "revoke", "client")
    assert "revoked" in certs(out, "renew", "client", ok=False)
    assert "revoked" in certs(out, "client", "client")
    certs(out, "client", "client", "--force", "--algo", "ec")
    openssl("verify", "-crl_check", "-CAfile", "ca.crt", "-CRLfile", "ca.crl", "client.crt", cwd=out)


def test_crl_is_fresh_for_30_days_or_as_told_and_its_number_grows(out):
    seen = []
    for args, wanted in (((), 30), (("--crl-days", "3"), 3)):
        certs(out, "crl", *args)
        crl = x509.load_pem_x509_crl((out / "ca.crl").read_bytes())
        assert crl.next_update - crl.last_update == datetime.timedelta(days=wanted)
        seen.append(extension(crl, x509.CRLNumber).crl_number)
    assert seen[1] > seen[0]


def by_hand(out, name="client2"):
    """The recipe of the README: no extensions, so X.509 version 1."""
    openssl("genrsa", "-out", f"{name}.key", "2048", cwd=out)
    openssl("req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=out)
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt",
            "-days", "365", "-sha256", cwd=out)


def test_certificate_made_by_hand_verifies_is_listed_and_can_be_revoked(out):
    by_hand(out)
    assert load(out / "client2.crt").version == x509.Version.v1
    openssl("verify", "-CAfile", "ca.crt", "client2.crt", cwd=out)
    assert any(line.split()[:2] == ["client2", "client,v1"] for line in certs(out, "list").splitlines())
    certs(out, "revoke", "client2")
    assert revoked(out) == {load(out / "client2.crt").serial_number}


def test_certificate_made_by_hand_can_be_renewed_and_its_first_form_still_be_revoked(out):
    by_hand(out)
    first = load(out / "client2.crt")
    certs(out, "renew", "client2")
    second = load(out / "client2.crt")
    assert second.version == x509.Version.v3 and public_bytes(second.public_key()) == public_bytes(first.public_key())
    assert list(extension(second, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    certs(out, "revoke", "client2")
    assert revoked(out) == {first.serial_number, second.serial_number}


def test_revoke_takes_a_file_from_elsewhere(out, tmp_path):
    by_hand(out)
    (out / "client2.crt").rename(tmp_path / "x.crt")
    certs(out, "revoke", str(tmp_path / "x.crt"))
    assert revoked(out) == {load(tmp_path / "x.crt").serial_number}


def test_certificate_of_another_authority_is_not_revoked_or_renewed(out, tmp_path):
    certs(tmp_path / "other", "--algo", "ec")
    (out / "alien.crt").write_bytes((tmp_path / "other" / "client.crt").read_bytes())
    assert "not a certificate of this authority" in certs(out, "revoke", "alien", ok=False)
    assert "not a certificate of this authority" in certs(out, "renew", "alien", ok=False)


def test_leaf_does_not_outlive_the_authority(out):
    assert "shortened" in certs(out, "client", "dev1", "--days", "9999")
    assert load(out / "dev1.crt").not_valid_after <= load(out / "ca.crt").not_valid_after


def test_list_shows_days_left_and_state(out):
    certs(out, "client", "dev1", "--days", "7")
    certs(out, "revoke", "client")
    rows = {line.split()[0]: line.split() for line in certs(out, "list").splitlines()}
    # Whole days that are left: one less, unless the list is made within the certificate's first second.
    assert rows["dev1"][1] == "client" and rows["dev1"][2] in ("6", "7")
    assert rows["ca"][1] == "authority"
    assert rows["server"][1] == "broker" and rows["server"][2] in ("364", "365")
    assert rows["client"][-1] == "revoked" and rows["dev1"][-2:] == ["ends", "soon"]


@pytest.mark.parametrize("name", ["a/b", "../a", "a+b", "a#", "a\nb", "a\x7f", "a\u0085b", "", ".", "..", ".a", " a", "a ", "ca", "ca.db",
                                  "server", "x" * 65])
def test_bad_names_are_refused_before_anything_is_made(out, name):
    before = content(out)
    assert "error" in certs(out, "client", "good", name, ok=False)
    assert content(out) == before


def test_invalid_utf8_name_is_refused(out):
    run = subprocess.run([os.fsencode(SCRIPT), b"--out", os.fsencode(out), b"client", b"a\xff"], capture_output=True)
    assert run.returncode == 1 and b"UTF-8" in run.stderr


@pytest.mark.parametrize("name", ["Pumpe 7", "größe", "a=b,c\\d\"e'$f*", "x" * 64, "温度"])
def test_unusual_names_arrive_whole_in_the_cn(out, name):
    certs(out, "client", name, "--algo", "ec")
    cns = load(out / f"{name}.crt").subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [c.value for c in cns] == [name]
    certs(out, "revoke", name)
    assert revoked(out) == {load(out / f"{name}.crt").serial_number}


@pytest.mark.parametrize("host", ["a_b", "a..b", "-a", "1.2.3", "1.2.3.256", "g::1", "a b", "*.example.com"])
def test_bad_hosts_are_refused(out, host):
    before = content(out)
    certs(out, "server", "good", "--", host, ok=False)
    assert content(out) == before


@pytest.mark.parametrize("args", [("--days", "0"), ("--days", "x"), ("--days", "-1"), ("--days", ""), ("--algo", "dsa"), ("--days",),
                                  ("--frobnicate",), ("frobnicate",), ("client",), ("revoke",), ("renew",), ("list", "x"), ("--san", "a b")])
def test_bad_arguments_are_refused_and_make_nothing(tmp_path, args):
    assert "error" in certs(tmp_path / "new", *args, ok=False)
    assert not (tmp_path / "new").exists()


def test_a_broker_and_a_client_never_share_a_name(out):
    certs(out, "client", "dev1", "--algo", "ec")
    certs(out, "server", "host1")
    before = content(out)
    assert "another name" in certs(out, "server", "dev1", "--force", ok=False)
    assert "another name" in certs(out, "client", "host1", "--force", ok=False)
    assert content(out) == before


def test_nothing_is_left_behind_by_a_failing_or_killed_run(out):
    (out / ".new.killed").mkdir()
    certs(out, "client", "dev1", "--algo", "ec")
    key = (out / "ca.key").read_bytes()
    (out / "ca.key").write_text("not a key")
    certs(out, "client", "dev2", ok=False)
    (out / "ca.key").write_bytes(key)
    assert not [p.name for p in out.iterdir() if p.name.startswith(".") or p.name.startswith("dev2")]


def test_two_runs_at_once_record_both(out):
    runs = [subprocess.Popen([SCRIPT, "--out", out, "client", f"d{i}", "--algo", "ec"], stdout=subprocess.DEVNULL) for i in range(6)]
    assert [r.wait(timeout=120) for r in runs] == [0] * 6
    index = (out / "ca.db" / "index.txt").read_text()
    assert all(f"/CN=d{i}\n" in index for i in range(6))


def test_path_with_spaces_and_relative_path(tmp_path):
    run = subprocess.run([SCRIPT, "--algo=ec", "--out=my certs $x"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    openssl("verify", "-CAfile", "ca.crt", "client.crt", cwd=tmp_path / "my certs $x")
