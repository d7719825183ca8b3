# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that fail under the broker, with errors from a write or a sync (full ones: test_store_full.py). Nothing is acknowledged that is not on
disk, QoS 0 goes on, log and $SYS say what is wrong, and it recovers when the disk does."""
import errno

import pytest

from lib import packets as p

pytestmark = pytest.mark.sealmqd_only("the durable store")

STORE = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M", "publish_wait": 120, "sys_interval": 1}


def sys_value(broker, name, topic, wanted):
    c = broker.client(name)
    c.subscribe(f"$SYS/broker/store/{topic}")
    for _ in range(30):
        if c.recv_publish().payload == wanted:
            return
    raise AssertionError(f"{topic} does not become {wanted}")


@pytest.mark.parametrize("kind, error", [("write", errno.EIO), ("sync", errno.EIO), ("write", errno.ENOSPC)])
def test_disk_with_errors(start_broker, name, tmp_path, faultdisk, kind, error):
    control = tmp_path / "fault"
    broker = start_broker(STORE, environ={**faultdisk, "FAULTDISK": str(control)})
    away = broker.client(name, clean=False)
    away.subscribe((name, 1))
    away.disconnect()
    clean = broker.client(name + "clean")
    clean.subscribe((name, 1))
    pub = broker.client(name + "p")
    for i in range(10):
        pub.publish(name, str(i), 1)
    assert clean.recv_payloads(10) == [b"%d" % i for i in range(10)]

    control.write_text(f"{kind} {error}", encoding="ascii")
    first = broker.client(name + "first")  # notices
    first.send(p.publish(name + "/first", b"", 1, retain=True, pid=1))
    broker.wait_log(f"client '{name}first'.* waits, its message cannot be kept")
    pub.send(p.publish(name, b"10", 1, pid=100))
    broker.wait_log(f"client '{name}p'.* waits, its message cannot be kept")
    broker.qos0_goes_on(name)
    if error == errno.EIO:
        broker.wait_log(r"store: a write or sync of .*data\.mdb failed")
        sys_value(broker, name + "s", "failing", b"1")
        clean.ping()
        assert not [m for m in clean.inbox if m.type == p.PUBLISH], "while the disk fails nobody gets what is not acknowledged"
    assert not first.inbox and not pub.inbox
    clean.inbox.clear()

    control.unlink()
    pub.wait_for(p.PUBACK, 100)
    first.wait_for(p.PUBACK, 1)
    sys_value(broker, name + "s2", "failing", b"0")
    pub.publish(name, b"11", 1)
    broker.process.kill()
    broker.process.wait()
    broker.start()
    away = broker.client(name, clean=False)
    assert away.recv_payloads(12) == [b"%d" % i for i in range(12)]
    away.ping()
    assert not [m for m in away.inbox if m.type == p.PUBLISH]
