"""What the environment decides about a test run.

SEALMQD         path of the broker under test (default build/sealmqd of this tree)
SEALMQ          path of the command line under test (default: beside the broker)
BROKER          "mosquitto" runs the tests against Debian's mosquitto, the reference
SEALMQ_THREADS  event loops of the broker under test (default 2)
SEALMQ_SLOW     factor on every timeout (default 1; 5 where BUILD_DIR ends in asan or tsan)
BUILD_DIR       where helper programs are built (default build/ of this tree)
"""
import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[3]
MOSQUITTO = os.environ.get("BROKER", "") == "mosquitto"
SEALMQD = pathlib.Path(os.environ.get("SEALMQD", ROOT / "build" / "sealmqd")).absolute()
SEALMQ = pathlib.Path(os.environ.get("SEALMQ", SEALMQD.resolve().parent / "sealmq")).absolute()
MOSQUITTO_PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
THREADS = int(os.environ.get("SEALMQ_THREADS", "2"))
SLOW = float(os.environ.get("SEALMQ_SLOW", "5" if os.environ.get("BUILD_DIR", "").endswith(("asan", "tsan")) else "1"))
BUILD_DIR = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build")).absolute()

# Waits end when what they wait for happens; these bounds are reached only by a failing test.
TIMEOUT_S = 10 * SLOW
# How long "nothing more arrives" is watched where no later message can serve as a fence.
QUIET_S = 0.15 * SLOW
