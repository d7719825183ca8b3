"""The configuration file: what is refused and how it is said, and the file that must load unchanged (docs/design.md 4)."""
import gzip
import pathlib
import re
import subprocess

import pytest

from lib import env, packets as p
from lib.broker import Broker

pytestmark = pytest.mark.sealmqd_only("our errors")


def run(pki, tmp_path, text, *arguments):
    """sealmqd on a file it should judge and refuse (or check): the process, ended."""
    conf = tmp_path / "test.conf"
    conf.write_bytes(text if isinstance(text, bytes) else text.encode())
    return conf, subprocess.run([env.SEALMQD, "-c", conf, *arguments], capture_output=True, text=True, errors="replace",
                                timeout=env.TIMEOUT_S, check=False)


def good(pki, **more):
    keys = {"listener": "1 127.0.0.1", "cafile": pki.ca, "certfile": pki.server.crt, "keyfile": pki.server.key, "require_certificate": "true",
            "use_identity_as_username": "true", "allow_anonymous": "false", "store": "memory", **more}
    return "".join(f"{k} {v}\n" for k, v in keys.items() if v is not None)


def assert_error(conf, got, line, key, *words):
    """Exit status 1 and `FILE:LINE: KEY: …` for that line."""
    assert got.returncode == 1, got
    wanted = [e for e in got.stderr.splitlines() if e.startswith(f"{conf}:{line}: {key}: ")]
    assert len(wanted) == 1, got.stderr
    for word in words:
        assert re.search(word, wanted[0], re.IGNORECASE), wanted[0]


def test_check_config_accepts(pki, tmp_path):
    _, got = run(pki, tmp_path, good(pki), "--check-config")
    assert got.returncode == 0, got.stderr


@pytest.mark.parametrize("arguments", [[], ["--check-config"]], ids=["start", "check"])
def test_unknown_key(pki, tmp_path, arguments):
    text = good(pki) + "\n# a comment\nmax_conections 5\n"
    conf, got = run(pki, tmp_path, text, *arguments)
    assert_error(conf, got, text.count("\n"), "max_conections", "unknown")


@pytest.mark.parametrize("key,value,words", [
    ("max_connections", "many", ["number|integer"]), ("max_connections", "", []), ("max_connections", "99999999999999999999", []),
    ("max_inflight_messages", "-3", []), ("max_inflight_messages", "70000", ["65535|65,535"]), ("max_packet_size", "12k", []),
    ("max_queued_messages", "1.5", []), ("sys_interval", "x", []), ("persistent_client_expiration", "5 parrots", []),
    ("persistent_client_expiration", "h", []), ("threads", "0x2", []), ("threads", "100000", []), ("store", "disc", ["memory"]),
    ("store_memory_delay_ms", "slow", []), ("log_dest", "nowhere", ["stderr"]), ("log_type", "everything", []),
    ("wills_at_shutdown", "yes", ["true"]), ("handshake_timeout", "-1", []), ("require_certificate", "maybe", ["true"])])
def test_bad_value(pki, tmp_path, key, value, words):
    text = good(pki, **{key: None}) + f"{key} {value}\n"
    conf, got = run(pki, tmp_path, text, "--check-config")
    assert_error(conf, got, text.count("\n"), key, *words)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "mqtt", "8883x", ""])
def test_bad_port(pki, tmp_path, port):
    conf, got = run(pki, tmp_path, good(pki, listener=port), "--check-config")
    assert_error(conf, got, 1, "listener")


def test_bad_address(pki, tmp_path):
    """No address of this machine: a start fails and names it."""
    for address in ("300.1.2.3", "192.0.2.1"):
        _, got = run(pki, tmp_path, good(pki, listener="18883 " + address))
        assert got.returncode == 1
        assert address in got.stderr


@pytest.mark.parametrize("key,value", [("allow_anonymous", "true"), ("require_certificate", "false")])
def test_what_weakens_is_refused(pki, tmp_path, key, value):
    text = good(pki, **{key: None}) + f"{key} {value}\n"
    conf, got = run(pki, tmp_path, text, "--check-config")
    assert_error(conf, got, text.count("\n"), key)


@pytest.mark.parametrize("line", ["listener 1883", "listener 1883 0.0.0.0", "listener 1883 127.0.0.1", "listener 1883 ::"])
def test_plain_listener_is_refused(pki, tmp_path, line):
    text = good(pki).replace("listener 1 127.0.0.1\n", "") + "listener 1 127.0.0.1\n" + line + "\n"
    keys = "".join(f"{k} {v}\n" for k, v in {"cafile": pki.ca, "certfile": pki.server.crt, "keyfile": pki.server.key}.items())
    text = "allow_anonymous false\nlistener 1 127.0.0.1\n" + keys + line + "\n"
    conf, got = run(pki, tmp_path, text, "--check-config")
    assert_error(conf, got, text.count("\n"), "listener", "plain|certfile|TLS")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_plain_listener_beyond_loopback_is_refused_even_if_allowed(pki, tmp_path, address):
    text = f"allow_plaintext_loopback true\nallow_anonymous false\nlistener 1883 {address}\n"
    conf, got = run(pki, tmp_path, text, "--check-config")
    assert_error(conf, got, 3, "listener", "loopback")


def test_all_errors_are_reported_at_once(pki, tmp_path):
    text = "nonsense 1\n" + good(pki) + "max_connections x\nallow_anonymous true\n"
    conf, got = run(pki, tmp_path, text, "--check-config")
    n = text.count("\n")
    assert_error(conf, got, 1, "nonsense")
    assert_error(conf, got, n - 1, "max_connections")
    assert_error(conf, got, n, "allow_anonymous")


@pytest.mark.parametrize("key", ["cafile", "certfile", "keyfile"])
def test_missing_file_is_named(pki, tmp_path, key):
    _, got = run(pki, tmp_path, good(pki, **{key: tmp_path / "not-there.pem"}))
    assert got.returncode == 1
    assert "not-there.pem" in got.stderr


@pytest.mark.parametrize("key", ["cafile", "certfile", "keyfile"])
def test_garbage_in_a_file_is_named(pki, tmp_path, key):
    bad = tmp_path / "garbage.pem"
    bad.write_text("this is no certificate\n", encoding="ascii")
    _, got = run(pki, tmp_path, good(pki, **{key: bad}))
    assert got.returncode == 1
    assert "garbage.pem" in got.stderr


def test_key_of_another_certificate(pki, tmp_path):
    _, got = run(pki, tmp_path, good(pki, keyfile=pki.device(1).key))
    assert got.returncode == 1
    assert "key" in got.stderr.lower()


def test_no_such_configuration_file(tmp_path):
    got = subprocess.run([env.SEALMQD, "-c", tmp_path / "none.conf"], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    assert got.returncode == 1
    assert "none.conf" in got.stderr


@pytest.mark.parametrize("data", [b"\0\0\0\0\n", b"listener 8883\0x\n", b"\xff\xfe\n", b"x" * 100000 + b"\n", b"listener", b" \t \n\r\n#\n"],
                         ids=["zeros", "nul", "not utf-8", "long line", "cut short", "nothing"])
def test_odd_bytes(pki, tmp_path, data):
    """No crash, whatever is in the file."""
    _, got = run(pki, tmp_path, data, "--check-config")
    assert got.returncode in (0, 1), got
    assert "Sanitizer" not in got.stderr


SEED = """\
listener @PORT@                    # MQTT over TLS port
cafile {ca}      # the CA
certfile {crt}\t# the broker
keyfile {key}
require_certificate true
use_identity_as_username true
allow_anonymous false
"""


def test_seed_file_loads_unchanged(pki, tmp_path, name):
    """The file of docs/design.md 4, trailing comments included (only a store in memory is added, on the command line of a test)."""
    text = "# seed\n\n" + SEED.format(ca=pki.ca, crt=pki.server.crt, key=pki.server.key) + "\nstore memory   # for tests\n"
    broker = Broker(tmp_path, pki, config=text).start()
    try:
        with broker.client(name) as c:
            c.subscribe((name, 1))
            c.publish(name, b"x", 1)
            c.recv_publish(name, b"x")
        broker.stop()
    finally:
        broker.kill()


def test_crlf_and_white_space(pki, tmp_path, name):
    text = "".join("  " + line.replace(" ", "\t ", 1) + "  \r\n" for line in (good(pki, listener="@PORT@ 127.0.0.1")).splitlines())
    broker = Broker(tmp_path, pki, config=text).start()
    try:
        broker.client(name).ping()
        broker.stop()
    finally:
        broker.kill()


@pytest.mark.parametrize("line", ["persistence true", "autosave_interval 1800", "set_tcp_nodelay true", "log_timestamp true",
                                  "allow_zero_length_clientid true", "max_keepalive 65535", "queue_qos0_messages false"])
def test_mosquittos_keys_load(pki, tmp_path, line):
    """Supported or harmless keys of mosquitto: no error."""
    _, got = run(pki, tmp_path, good(pki) + line + "\n", "--check-config")
    assert got.returncode == 0, got.stderr


# mosquitto 2.1's keys; those of 2.0 come from its man page, where that is installed.
MOSQUITTO_2_1 = """accept_protocol_versions acl_file allow_anonymous allow_zero_length_clientid auto_id_prefix autosave_interval autosave_on_changes
bind_address bind_interface bridge_attempt_unsubscribe bridge_bind_address bridge_receive_maximum bridge_reload_type bridge_session_expiry_interval
bridge_tcp_keepalive bridge_tcp_user_timeout bridge_tls_use_os_certs cafile capath certfile check_retain_source ciphers ciphers_tls1.3 cleansession
clientid clientid_prefixes connection connection_messages crlfile dhparamfile disable_client_cert_date_checks enable_control_api
enable_proxy_protocol global_max_clients global_max_connections global_plugin http_dir idle_timeout include_dir keepalive_interval keyfile listener
listener_allow_anonymous listener_auto_id_prefix local_cleansession local_clientid local_password local_username log_dest log_facility log_timestamp
log_timestamp_format log_type max_connections max_inflight_bytes max_inflight_messages max_keepalive max_packet_size max_qos max_queued_bytes
max_queued_messages max_topic_alias max_topic_alias_broker maximum_qos memory_limit message_size_limit mount_point notification_topic notifications
notifications_local_only packet_buffer_size password password_file per_listener_settings persistence persistence_file persistence_location
persistent_client_expiration pid_file plugin plugin_load plugin_opt_x plugin_use port protocol proxy_protocol_v2_require_tls psk_file psk_hint
queue_qos0_messages remote_clientid remote_password remote_username require_certificate restart_timeout retain_available retain_expiry_interval
retry_interval round_robin set_tcp_nodelay socket_domain start_type store_clean_interval sys_interval threshold tls_engine tls_engine_kpass_sha1
tls_keyform tls_version topic try_private upgrade_outgoing_qos use_identity_as_username use_subject_as_username use_username_as_clientid user
username websockets_headers_size websockets_log_level websockets_origin""".split()
MAN_PAGE = pathlib.Path("/usr/share/man/man5/mosquitto.conf.5.gz")


def test_every_key_of_mosquitto_is_known(pki, tmp_path):
    """Supported, fixed, harmless or refused with a reason, but never unknown."""
    keys = set(MOSQUITTO_2_1)
    if MAN_PAGE.exists():
        page = gzip.decompress(MAN_PAGE.read_bytes()).decode()
        found = re.findall(r"^\.PP\n\\fB([a-z][a-z_0-9.\\&*]+)\\fR.*\n\.RS", page, re.M)
        assert len(found) > 80
        keys |= {k.replace("\\&", "").replace("*", "x") for k in found}
    _, got = run(pki, tmp_path, good(pki) + "".join(f"{k} x\n" for k in sorted(keys)), "--check-config")
    assert got.returncode != 0
    assert [line for line in got.stderr.splitlines() if "unknown key" in line] == []
    assert "global_plugin: refused" in got.stderr


def test_help_and_wrong_arguments():
    got = subprocess.run([env.SEALMQD, "-h"], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    assert got.returncode == 0 and "-c" in got.stdout + got.stderr
    got = subprocess.run([env.SEALMQD, "--no-such-option"], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    assert got.returncode not in (0, -6, -11)


def test_allow_zero_length_clientid_false(start_broker):
    broker = start_broker({"allow_zero_length_clientid": "false"})
    with broker.raw() as c:
        c.connect("", expect=2)
        c.expect_close()


def test_tls_1_3_alone(start_broker, name):
    broker = start_broker(listener={"tls_version": "tlsv1.3"})
    broker.client(name, version="1.3").ping()
    with pytest.raises(Exception):                  # noqa: B017,PT011
        broker.raw(version="1.2").connect(name)


def test_require_matching_username(start_broker, name):
    broker = start_broker(listener={"require_matching_username": "true"})
    for username in (None, "device1"):
        with broker.client(name, username=username) as c:
            c.ping()
            c.disconnect()
    with broker.raw() as c:
        c.connect(name, username="device2", expect=5)
        c.expect_close()


def test_set_log_file(start_broker, tmp_path, name):
    log = tmp_path / "sealmqd.log"
    broker = start_broker({"log_dest": f"file {log}"})
    broker.client(name).disconnect()
    broker.stop()
    assert name in log.read_text(encoding="utf-8")


def test_retain_available_false(start_broker, name):
    broker = start_broker({"retain_available": "false"})
    c = broker.client(name)
    c.send(p.publish(name, b"x", 1, retain=True, pid=1))
    before = []
    try:
        before = c.expect_close(0.5)
    except AssertionError:
        pass
    with broker.client(name + "s") as late:
        late.subscribe((name, 1))
        late.ping()
        assert not late.inbox, before
