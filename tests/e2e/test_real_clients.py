"""Real clients over mutual TLS: mosquitto_pub and mosquitto_sub, paho-mqtt (Python), Paho C, MQTT.js."""
import json
import subprocess
import threading

import paho.mqtt.client as paho
import pytest

from lib import env, programs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:paho")


@pytest.fixture
def mosquitto(broker, pki):
    one = programs.Mosquitto(broker, pki.rsa)
    yield one
    one.close()


# -- mosquitto_pub, mosquitto_sub

@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_pub_to_mosquitto_sub(mosquitto, name, qos):
    sub = mosquitto.sub("-t", f"{name}/#", "-q", qos, "-C", 2, "-F", "%t %q %r %p")
    for i in range(2):
        mosquitto.pub("-t", f"{name}/{i}", "-q", qos, "-m", f"hello {i}")
    assert sub.finish() == [f"{name}/0 {qos} 0 hello 0", f"{name}/1 {qos} 0 hello 1"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_pub_lines(mosquitto, name, qos):
    """-l: each line of standard input is a message."""
    n = 300
    sub = mosquitto.sub("-t", name, "-q", qos, "-C", n)
    mosquitto.pub("-t", name, "-q", qos, "-l", stdin="".join(f"line {i}\n" for i in range(n)))
    assert sub.finish() == [f"line {i}" for i in range(n)]


def test_mosquitto_retained(mosquitto, name):
    mosquitto.pub("-t", name, "-q", 1, "-r", "-m", "kept")
    assert mosquitto.sub("-t", name, "-q", 1, "-C", 1, "-F", "%r %p").finish() == ["1 kept"]
    mosquitto.pub("-t", name, "-q", 1, "-r", "-n")
    sub = mosquitto.sub("-t", name, "-C", 1, "-F", "%r %p")
    mosquitto.pub("-t", name, "-m", "live")
    assert sub.finish() == ["0 live"]


def test_mosquitto_will(mosquitto, name):
    sub = mosquitto.sub("-t", f"{name}/will", "-C", 1, "-F", "%q %p", "-q", 1)
    victim = mosquitto.sub("-t", f"{name}/x", "--will-topic", f"{name}/will", "--will-payload", "gone", "--will-qos", 1)
    victim.process.kill()
    assert sub.finish() == ["1 gone"]


def test_mosquitto_persistent_session(mosquitto, name):
    first = mosquitto.sub("-i", name, "-c", "-t", name, "-q", 1, "-C", 1)
    mosquitto.pub("-t", name, "-q", 1, "-m", "one")
    assert first.finish() == ["one"]
    for text in ("two", "three"):
        mosquitto.pub("-t", name, "-q", 1, "-m", text)
    assert mosquitto.sub("-i", name, "-c", "-t", name, "-q", 1, "-C", 2).finish() == ["two", "three"]


def test_mosquitto_big_file(mosquitto, name, tmp_path):
    data = bytes(range(32, 127)) * 11000
    file = tmp_path / "big"
    file.write_bytes(data)
    sub = mosquitto.sub("-t", name, "-q", 2, "-C", 1)
    mosquitto.pub("-t", name, "-q", 2, "-f", file)
    assert sub.finish() == [data.decode()]


def test_mosquitto_shared(mosquitto, name):
    subs = [mosquitto.sub("-t", f"$share/g/{name}", "-q", 1, "-C", 10) for _ in range(2)]
    mosquitto.pub("-t", name, "-q", 1, "-l", stdin="".join(f"{i}\n" for i in range(20)))
    assert sorted(int(x) for s in subs for x in s.finish()) == list(range(20))


def test_mosquitto_refused(broker, pki, name):
    got = programs.Mosquitto(broker, pki.bad["expired"][0]).pub("-t", name, "-m", "x", check=False)
    assert got.returncode != 0


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311"])
def test_mosquitto_protocol_versions(mosquitto, name, version):
    sub = mosquitto.sub("-V", version, "-t", name, "-C", 1, "-q", 1)
    mosquitto.pub("-V", version, "-t", name, "-q", 1, "-m", "x")
    assert sub.finish() == ["x"]


@pytest.mark.parametrize("kind", ["v1", "device"])
def test_mosquitto_with_other_certificates(broker, pki, name, kind):
    one = programs.Mosquitto(broker, pki.v1 if kind == "v1" else pki.device(3))
    try:
        sub = one.sub("-t", name, "-C", 1)
        one.pub("-t", name, "-m", "x")
        assert sub.finish() == ["x"]
    finally:
        one.close()


# -- paho-mqtt

class PahoClient:
    """paho-mqtt in its own thread; what arrives is waited for."""

    def __init__(self, broker, cert, client_id, clean=True, will=None):
        self.messages, self.flags, self._changed, self._subscribed = [], None, threading.Condition(), set()
        self.client = paho.Client(client_id, clean_session=clean, protocol=paho.MQTTv311)
        self.client.tls_set(str(broker.pki.ca), str(cert.crt), str(cert.key))
        if will:
            self.client.will_set(*will)
        self.client.on_connect = lambda c, u, flags, rc: self._note(lambda: setattr(self, "flags", (flags, rc)))
        self.client.on_subscribe = lambda c, u, mid, qos: self._note(lambda: self._subscribed.add(mid))
        self.client.on_message = lambda c, u, m: self._note(lambda: self.messages.append(m))
        self.client.connect("127.0.0.1", broker.port, 20)
        self.client.loop_start()
        self.wait(lambda: self.flags is not None)
        assert self.flags[1] == 0

    def _note(self, change):
        with self._changed:
            change()
            self._changed.notify_all()

    def wait(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, 2 * env.TIMEOUT_S), f"{len(self.messages)} messages came"

    def subscribe(self, topic, qos):
        _, mid = self.client.subscribe(topic, qos)
        self.wait(lambda: mid in self._subscribed)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_python(broker, pki, name, qos):
    sub, pub = (PahoClient(broker, pki.rsa, name + x) for x in ("s", "p"))
    sub.subscribe(name, qos)
    n = 300
    for i in range(n):
        info = pub.client.publish(name, str(i), qos)
    info.wait_for_publish(2 * env.TIMEOUT_S)
    sub.wait(lambda: len(sub.messages) >= n)
    assert [int(m.payload) for m in sub.messages] == list(range(n))
    assert {(m.qos, m.retain) for m in sub.messages} == {(qos, 0)}
    sub.close()
    pub.close()


def test_paho_python_persistent_session_and_will(broker, pki, name):
    first = PahoClient(broker, pki.rsa, name, clean=False)
    first.subscribe(name + "/#", 2)
    first.close()
    victim = PahoClient(broker, pki.device(2), name + "v", will=(name + "/will", "gone", 2, False))
    for i in range(50):
        victim.client.publish(f"{name}/{i % 3}", str(i), i % 2 + 1).wait_for_publish(env.TIMEOUT_S)
    victim.client.loop_stop()
    victim.client.socket().close()
    watcher = PahoClient(broker, pki.rsa, name + "w")
    watcher.subscribe(name + "/will", 0)
    again = PahoClient(broker, pki.rsa, name, clean=False)
    assert again.flags[0]["session present"] == 1
    again.wait(lambda: len(again.messages) >= 51)
    for qos in (1, 2):                  # paho hands QoS 2 over at PUBREL, so order is seen within one QoS
        assert [int(m.payload) for m in again.messages if m.qos == qos and m.topic != name + "/will"] == list(range(qos - 1, 50, 2))
    assert [m.payload for m in again.messages if m.topic == name + "/will"] == [b"gone"]
    for one in (again, watcher):
        one.close()


# -- Paho C

def test_paho_c(broker, pki, name):
    got = subprocess.run([programs.paho_c(), f"ssl://127.0.0.1:{broker.port}", pki.ca, pki.rsa.crt, pki.rsa.key, name],
                         capture_output=True, text=True, timeout=6 * env.TIMEOUT_S, check=False)
    assert got.returncode == 0, got.stderr
    assert got.stdout.split("\n") == ["qos 0", "qos 1", "qos 2", "retained", "session", ""]


# -- MQTT.js

def test_mqtt_js(broker, pki, name):
    script = env.ROOT / "tests" / "e2e" / "node" / "client.js"
    got = subprocess.run([programs.need("node"), script, str(broker.port), pki.ca, pki.rsa.crt, pki.rsa.key, name], env=programs.node_environment(),
                         capture_output=True, text=True, timeout=6 * env.TIMEOUT_S, check=False)
    assert got.returncode == 0, got.stdout + got.stderr
    steps = [json.loads(line) for line in got.stdout.splitlines()]
    assert [s["step"] for s in steps] == ["qos"] * 3 + ["retained", "will", "session"]
    assert steps[3]["got"] == [{"topic": name + "/kept", "payload": "kept", "qos": 1, "retain": True}]
    assert steps[4]["got"] == [{"topic": name + "/will", "payload": "gone", "qos": 1, "retain": False}]
    assert steps[5]["present"] and {m["payload"] for m in steps[5]["got"]} == {"while away", ""}
