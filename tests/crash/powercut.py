# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes back what powercut.so noted: the writes to data.mdb that were not synced when the process ended."""
import os
import struct

HEAD = struct.Struct("=QII")                        # powercut.h: struct undo_head


def cut(journal, data, chance, random):
    """Each unsynced write is undone with that chance, the last first. Returns how many were."""
    with open(journal, "rb") as f:
        notes = f.read()
    at, undo = 0, []
    while at + HEAD.size <= len(notes):
        offset, length, had = HEAD.unpack_from(notes, at)
        if at + HEAD.size + had > len(notes):
            break                                   # noted in part: not written then
        undo.append((offset, notes[at + HEAD.size:at + HEAD.size + had].ljust(length, b"\0")))
        at += HEAD.size + had
    undone = 0
    with open(data, "r+b") as f:
        for offset, before in reversed(undo):
            if random.random() < chance:
                f.seek(offset)
                f.write(before)
                undone += 1
    os.truncate(journal, 0)
    return undone
