"""Runs one command and prints what it took as one JSON object: wall time, processor time, peak memory, exit status, output.

A process of its own because the kernel counts a child's peak memory from the size of the process that started it: this one
imports next to nothing, so it stays far below what it measures, which a benchmark with Spark's client in it would not.
"""

import json
import os
import sys
import time


def measured(command):
    read_end, write_end = os.pipe()
    began = time.monotonic()
    process = os.posix_spawn(command[0], command, os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, write_end, 1), (os.POSIX_SPAWN_CLOSE, read_end), (os.POSIX_SPAWN_CLOSE, write_end)])
    os.close(write_end)
    with open(read_end) as pipe:
        output = pipe.read()
    _, status, usage = os.wait4(process, 0)
    return {
        "wall_seconds": time.monotonic() - began,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_bytes": usage.ru_maxrss * 1024,
        "exit_status": os.waitstatus_to_exitcode(status),
        "output": output,
    }


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1:])))
