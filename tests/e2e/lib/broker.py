"""A broker process on loopback: its configuration, its readiness, its log and its end."""
import contextlib
import fcntl
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time

from . import env
from .client import RawClient, tls_context

# Keys that mosquitto does not know.
OURS_ALONE = {"audit_log", "store", "store_memory_delay_ms", "threads", "handshake_timeout", "wills_at_shutdown", "will_grace", "publish_wait", "allow_plaintext_loopback"}

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")

_PORT_LOCKS = pathlib.Path(tempfile.gettempdir()) / f"sealmq-test-ports.{os.getuid()}"


class Port:
    """A loopback port of our own: a lock file keeps it from other test runs, since SO_REUSEPORT would let two brokers share it."""

    def __init__(self):
        _PORT_LOCKS.mkdir(exist_ok=True)
        while True:
            self.number = random.randrange(20000, 30000)
            self.lock = open(_PORT_LOCKS / str(self.number), "w", encoding="ascii")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                    with socket.socket(family) as probe:
                        probe.bind((address, self.number))
                return
            except OSError:
                self.lock.close()

    def release(self):
        self.lock.close()


def listener_keys(pki):
    return {"cafile": pki.ca, "certfile": pki.server.crt, "keyfile": pki.server.key, "require_certificate": "true",
            "use_identity_as_username": "true"}


DEFAULTS = {**({"set_tcp_nodelay": "true"} if env.MOSQUITTO else {}), "allow_anonymous": "false", "max_inflight_messages": 20, "max_queued_messages": 10000, "sys_interval": 1,
            "log_type": "all", "store": "memory", "store_memory_delay_ms": 0, "threads": env.THREADS}


def config_text(options, listeners):
    """options: global keys; listeners: [(port, address or None, keys)]. Keys that mosquitto lacks are left out for it."""
    lines = []

    def put(key, value):
        if not (env.MOSQUITTO and key in OURS_ALONE) and value is not None:
            lines.append(f"{key} {value}")
    for key, value in options.items():
        put(key, value)
    for port, address, keys in listeners:
        lines.append(f"listener {port}" + (f" {address}" if address else ""))
        for key, value in keys.items():
            put(key, value)
    return "\n".join(lines) + "\n"


class Broker:
    """One process. `options` are added to DEFAULTS; `extra` are further listeners as config_text takes them.
    `prefix` (words before the program) and `environ` are for tools that look into it."""

    def __init__(self, directory, pki, options=None, listener=None, extra=(), config=None, pass_fds=(), prefix=(), environ=None):
        self.dir, self.pki, self._prefix, self._environ = pathlib.Path(directory), pki, prefix, environ or {}
        self.options = {**DEFAULTS, **(options or {})}
        self._ports = [Port()]
        self.port = self._ports[0].number
        self.address = ("127.0.0.1", self.port)
        if os.getuid() == 0:
            self.options.setdefault("user", "root")
        self.config = config or config_text(self.options, [(self.port, "127.0.0.1", {**listener_keys(pki), **(listener or {})}), *extra])
        self.config = self.config.replace("@PORT@", str(self.port))
        self.config_path, self.log_path = self.dir / "broker.conf", self.dir / "broker.log"
        self.config_path.write_text(self.config, encoding="utf-8")
        self.process = self.notify = None
        self.notified = []
        self._contexts, self._listener = {}, listener or {}

    # -- life

    def start(self, wait=True, program_args=()):
        notify_path = self.dir / "notify"
        with contextlib.suppress(FileNotFoundError):
            notify_path.unlink()
        self.notified.clear()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(notify_path))
        program = env.MOSQUITTO_PROGRAM if env.MOSQUITTO else str(env.SEALMQD)
        assert os.access(program, os.X_OK), f"no broker at {program}: set SEALMQD, or BROKER=mosquitto"
        with open(self.log_path, "ab") as log:
            self._started = log.tell()
            self.process = subprocess.Popen([*self._prefix, program, "-c", str(self.config_path), *program_args], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.dir, env={**os.environ, "NOTIFY_SOCKET": str(notify_path), **self._environ})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + env.TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"broker ended at its start with {self.process.returncode}:\n{self.config}\n{self.log()[-3000:]}")
            if self._ready():
                return
        raise AssertionError(f"broker is not ready:\n{self.log()[-3000:]}")

    def _ready(self):
        if env.MOSQUITTO:
            time.sleep(0.01)
            return re.search(r"mosquitto version \S+ running", self.log_since(self._started)) is not None
        self.notify.settimeout(0.1)
        with contextlib.suppress(socket.timeout):
            self.notified.append(self.notify.recv(4096).decode())
        return any("READY=1" in n.split("\n") for n in self.notified)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def terminate(self, timeout=None):
        """SIGTERM; returns the exit status."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout or env.TIMEOUT_S)
        finally:
            self._clean()

    def stop(self):
        """SIGTERM, and nothing in its log that a sanitizer or a crash leaves."""
        if self.process is None:
            return self._clean()
        status = self.terminate()
        self.check_log()
        assert status == 0, f"broker ended with {status}:\n{self.log()[-4000:]}"
        return None

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._clean()

    def _clean(self):
        if self.notify is not None:
            self.notify.close()
        for port in self._ports:
            port.release()

    def check_log(self):
        found = SANITIZER.search(self.log())
        assert not found, f"sanitizer report:\n{self.log()[max(0, found.start() - 500):found.start() + 6000]}"

    def configure(self, options=None, listener=None, extra=()):
        """Writes the configuration anew; nobody reads it before reload(). None removes a key."""
        self.options = {**self.options, **(options or {})}
        self._listener = {**self._listener, **(listener or {})}
        self.config_path.write_text(config_text(self.options, [(self.port, "127.0.0.1", {**listener_keys(self.pki), **self._listener}), *extra]),
                                    encoding="utf-8")

    def reload(self, good=True):
        """SIGHUP; returns the log's lines about it once it is through."""
        mark = self.log_mark()
        self.process.send_signal(signal.SIGHUP)
        self.wait_log("audit: reloaded" if good else "nothing has changed", mark)
        log = self.log_since(mark)
        self.notified.clear()
        self.wait_ready()
        return log

    # -- log

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def log_mark(self):
        """A place in the log, for log_since and wait_log."""
        return self.log_path.stat().st_size

    def log_since(self, mark):
        with open(self.log_path, "rb") as f:
            f.seek(mark)
            return f.read().decode(errors="replace")

    def wait_log(self, pattern, mark=0, timeout=None):
        """The lines since mark that match, as soon as there is one."""
        deadline = time.monotonic() + (timeout or env.TIMEOUT_S)
        expression = re.compile(pattern, re.IGNORECASE)
        while True:
            lines = [line for line in self.log_since(mark).splitlines() if expression.search(line)]
            if lines:
                return lines
            assert time.monotonic() < deadline, f"no log line matches {pattern!r}; since the mark:\n{self.log_since(mark)[-3000:]}"
            time.sleep(0.01)

    def memory(self):
        """Anonymous resident memory in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024

    # -- clients

    def qos0_goes_on(self, name):
        """Whatever the store does."""
        c = self.client(name + "q0")
        c.subscribe((name + "/q0", 0))
        c.publish(name + "/q0", b"goes on", 0)
        c.recv_publish(name + "/q0", b"goes on")

    def context(self, cert=None, version=None):
        key = (cert and cert.crt, version)
        if key not in self._contexts:
            self._contexts[key] = tls_context(self.pki.ca, cert and cert.crt, cert and cert.key, version)
        return self._contexts[key]

    def raw(self, cert="device1", version=None, handshake=True, address=None, source=None):
        """A TLS connection that has said nothing yet. cert: a Cert, the number in "device<n>", or None for no certificate. source: its own address."""
        if isinstance(cert, str):
            cert = self.pki.device(int(cert.removeprefix("device")))
        return RawClient(address or self.address, self.context(cert, version), handshake, source=source)

    def plain(self, address=None):
        return RawClient(address or self.address)

    def client(self, client_id="", cert="device1", version=None, address=None, **connect):
        """A connection whose CONNECT was accepted."""
        return self.raw(cert, version, address=address).connect(client_id, **connect)
