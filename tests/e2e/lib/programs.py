"""Client programs of others: where they are, how they are built, and how a mosquitto_sub is waited for."""
import os
import shutil
import subprocess
import threading

import pytest

from . import env


def need(program):
    path = shutil.which(program)
    if not path:
        pytest.fail(f"{program} is not installed (scripts/install-deps.sh test)")
    return path


def paho_c():
    """Builds paho_c, once, under BUILD_DIR."""
    source = env.ROOT / "tests" / "e2e" / "paho_c" / "paho_c.c"
    target = env.BUILD_DIR / "e2e" / "paho_c"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-O1", "-o", target, source, "-lpaho-mqtt3cs"], check=True)
    return target


def node_environment():
    """NODE_PATH of the environment, or where `make` puts it: build/node beside build/<mode>."""
    candidates = [os.environ.get("NODE_PATH", ""), str(env.BUILD_DIR.parent / "node" / "node_modules"), str(env.BUILD_DIR / "node" / "node_modules")]
    for path in candidates:
        if path and os.path.isdir(os.path.join(path, "mqtt")):
            return {**os.environ, "NODE_PATH": path}
    return pytest.fail("MQTT.js is not installed: make build/node/.stamp, or NODE_PATH=")


class Mosquitto:
    """mosquitto_pub and mosquitto_sub towards one broker."""

    def __init__(self, broker, cert):
        self.broker, self.cert, self.running = broker, cert, []

    def _command(self, program, arguments):
        return [need(program), "-h", "127.0.0.1", "-p", str(self.broker.port), "--cafile", str(self.broker.pki.ca),
                "--cert", str(self.cert.crt), "--key", str(self.cert.key), *map(str, arguments)]

    def pub(self, *arguments, stdin=None, check=True):
        return subprocess.run(self._command("mosquitto_pub", arguments), input=stdin, capture_output=True, text=True,
                              timeout=2 * env.TIMEOUT_S, check=check)

    def sub(self, *arguments):
        """A mosquitto_sub that has its SUBACK (or has ended already, with what it wanted from its queue)."""
        one = Subscriber(["stdbuf", "-oL", *self._command("mosquitto_sub", [*arguments, "-d"])])
        self.running.append(one)
        one.wait_subscribed()
        return one

    def close(self):
        for one in self.running:
            one.close()


class Subscriber:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines, self.ended, self._changed = [], False, threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_subscribed(self):
        with self._changed:
            assert self._changed.wait_for(lambda: self.ended or any(x.startswith("Subscribed") for x in self.lines), env.TIMEOUT_S), self.lines

    def finish(self):
        """Its output lines, without those of -d, after it has ended by itself (-C)."""
        self.process.wait(2 * env.TIMEOUT_S)
        self._thread.join(env.TIMEOUT_S)
        assert self.process.returncode == 0, self.lines
        return [x for x in self.lines if not x.startswith(("Client ", "Subscribed"))]

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()


class Sealmq:
    """The sealmq program towards one broker, as one identity. Its home is a folder of the test's own: no file of the user's is read."""

    def __init__(self, broker, cert, home, environ=None):
        self.broker, self.cert, self.running = broker, cert, []
        self.environ = {**{k: v for k, v in os.environ.items() if not k.startswith("SEALMQ_")}, "HOME": str(home), "XDG_CONFIG_HOME": str(home),
                        "XDG_STATE_HOME": str(home), "XDG_DATA_HOME": str(home / "share")}
        if broker is not None:
            self.environ.update(SEALMQ_HOST="127.0.0.1", SEALMQ_PORT=str(broker.port), SEALMQ_CAFILE=str(broker.pki.ca))
        if cert is not None:
            self.environ.update(SEALMQ_CERT=str(cert.crt), SEALMQ_KEY=str(cert.key))
        self.environ.update(environ or {})

    def run(self, *arguments, stdin=None, status=0, timeout=None):
        """Runs it to its end; stdout and stderr as text. The exit status must be `status` (None: any)."""
        done = subprocess.run([str(env.SEALMQ), *map(str, arguments)], input=stdin, capture_output=True, text=True, env=self.environ,
                              timeout=timeout or 3 * env.TIMEOUT_S, check=False)
        assert status is None or done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done

    def pub(self, *arguments, **more):
        return self.run("pub", *arguments, **more)

    def start(self, *arguments, stdin=None):
        """Starts it; stdin: None for none, or subprocess.PIPE."""
        one = Running([str(env.SEALMQ), *map(str, arguments)], self.environ, stdin)
        self.running.append(one)
        return one

    def sub(self, *arguments):
        """A `sealmq sub` that has its SUBACKs."""
        one = self.start("sub", "-d", *arguments)
        one.wait(lambda: "Subscribed" in one.lines)
        return one

    def close(self):
        for one in self.running:
            one.close()


class Running:
    """A process whose output lines are collected: `lines` of both, `out` and `err` apart."""

    def __init__(self, command, environ, stdin=None):
        self.process = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
        self.lines, self.out, self.err, self._changed = [], [], [], threading.Condition()
        self._threads = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in
                         ((self.process.stdout, self.out), (self.process.stderr, self.err))]
        for thread in self._threads:
            thread.start()

    def _read(self, stream, target):
        for line in stream:
            with self._changed:
                for one in (self.lines, target):
                    one.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait(self, condition, timeout=None):
        with self._changed:
            assert self._changed.wait_for(lambda: condition() or self.process.poll() is not None, timeout or 2 * env.TIMEOUT_S), self.lines
            assert condition() or self.process.poll() is not None, self.lines

    def messages(self):
        """Its output lines, without those of -d."""
        return [x for x in self.out if not x.startswith("Client ") and x != "Subscribed"]

    def wait_messages(self, n):
        self.wait(lambda: len(self.messages()) >= n)
        assert len(self.messages()) >= n, (self.messages(), self.err)
        return self.messages()

    def finish(self, status=0):
        """Its output once it has ended by itself."""
        try:
            self.process.wait(3 * env.TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.process.args} did not end; its last lines: {self.lines[-20:]}")
        for thread in self._threads:
            thread.join(env.TIMEOUT_S)
        assert status is None or self.process.returncode == status, (self.process.returncode, self.lines)
        return self.messages()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
