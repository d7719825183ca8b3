"""make demo: every step does what it says, and nothing is left behind."""
import glob
import os
import subprocess

import pytest

from lib import env
from lib.broker import Port

pytestmark = pytest.mark.sealmqd_only("the demonstration is ours")


def test_demo(tmp_path):
    port = Port()
    try:
        done = subprocess.run([env.ROOT / "scripts" / "demo.sh"], capture_output=True, text=True, timeout=10 * env.TIMEOUT_S, check=False,
                              env={**os.environ, "SEALMQD": str(env.SEALMQD), "SEALMQ": str(env.SEALMQ), "DEMO_PORT": str(port.number), "TMPDIR": str(tmp_path)})
    finally:
        port.release()
    assert done.returncode == 0 and done.stdout.rstrip().endswith("# done"), done.stdout[-2000:] + done.stderr[-2000:]
    said = done.stdout + done.stderr
    for text in ("plant/line1/temperature  alice  live  22.0 degrees", "plant/line1/temperature  alice  past  21.5 degrees", "done, epoch 2", '"payload":"23.5 degrees"',
                 "there is no such key space", "filter plant/line1/#", "live\talice\tat noon", "new\talice\tthe code is 4711",
                 "board  alice  past  nobody but members reads this", "board: done, epoch 2"):
        assert text in said, said
    assert said.count("the broker refuses the subscription") == 3 and said.count("no member any more") == 1
    assert not glob.glob(str(tmp_path / "sealmq-demo.*"))
