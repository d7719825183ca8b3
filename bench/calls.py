#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a message costs in calls under full load: sends, reads, turns of the loop, allocations, for each of mqload's loads. Where the
figure of messages per send is good and the CPU per message is not, look at the work; where it is bad, at the batching.

    make bench-tools build/count.so && bench/calls.py [LINE OF CONFIGURATION]..."""
import pathlib
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "count"))
import run  # noqa: E402
from count import ALLOCATIONS, RECEIVES, SENDS, Counters  # noqa: E402

LOADS = ("p2p", "p2p --batch 1", "p2p --payload 1024", "p2p --qos 1", "p2p --qos 2", "fanout --subs 500", "fanout --subs 500 --qos 1 --window 4",
         "fanin --pubs 500", "fanin --pubs 500 --qos 1", "p2p --qos 1 --rate 5000")
COLUMNS = (("sends", SENDS), ("reads", RECEIVES), ("turns", ("epoll_wait",)), ("epoll_ctl", ("epoll_ctl",)), ("allocs", ALLOCATIONS),
           ("wakes", ("write.other",)))


def await_connected(counters):
    """Connections came, and none has come for a second: by then the load is running."""
    accepted, since = 0, time.monotonic()
    while not accepted or time.monotonic() - since < 1:
        time.sleep(0.05)
        now = counters.read().get("accept").calls
        if now != accepted:
            accepted, since = now, time.monotonic()


def main():
    run.Broker.OWN[run.OURS] += sys.argv[1:]
    print(f"{'per message':<38} {'msg/s':>10} {'us CPU':>7} {'cores':>6} " + " ".join(f"{name:>9}" for name, _ in COLUMNS))
    with tempfile.TemporaryDirectory(prefix="sealmq-calls.") as temporary:
        directory = pathlib.Path(temporary)
        bench = run.Bench(directory, True, 2)
        for load in LOADS:
            path = directory / "counts"
            path.unlink(missing_ok=True)
            with bench.broker(run.OURS, environ={"LD_PRELOAD": str(run.ROOT / "build" / "count.so"), "SEALMQ_COUNT_FILE": str(path)}) as broker:
                generator = bench.start(broker, load + " --on-signal", duration=600)
                counters = Counters(path)
                await_connected(counters)
                before, began = counters.read(), time.monotonic()
                generator.send_signal(signal.SIGUSR1)
                time.sleep(2)
                cost, took = counters.read() - before, time.monotonic() - began
                got = bench.result(generator, end=True)
            messages = got["msg_s"] * took
            print(f"{load:<38} {got['msg_s']:>10.0f} {got['cpu_us_per_msg']:>7.2f} {got['broker_cores']:>6.2f} "
                  + " ".join(f"{cost.get(*names, without=('log',)).calls / messages:>9.4f}" for _, names in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
