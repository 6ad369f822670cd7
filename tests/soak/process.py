"""One of a run's processes: it reports what it does, says when it fails, and never outlives the run."""

import logging
import os
import signal
import time
import traceback
from dataclasses import dataclass

# After the end of writing, for what is still to be delivered and read.
OUTLIVES_S = 600


@dataclass(frozen=True)
class Crashed:
    """A process of the harness ended by an error of its own."""

    process: str
    text: str


@dataclass(frozen=True)
class Told:
    """Something that is counted, such as an operation."""

    process: str
    what: str


@dataclass(frozen=True)
class Ended:
    """A process has done its work."""

    process: str


class Process:
    """What a subclass does in `run`; `stopped` says when to end."""

    def __init__(self, name, plan, events, stop):
        self.name, self.plan, self.events, self.stop = name, plan, events, stop

    def run(self):
        raise NotImplementedError

    def report(self, event):
        self.events.put(event)

    def count(self, what):
        self.report(Told(self.name, what))

    @property
    def stopped(self):
        return self.stop.is_set() or os.getppid() != self.plan.parent or time.monotonic() > self.plan.ends + OUTLIVES_S


def main(kind, name, plan, events, stop, *arguments):
    """A process's whole life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it says when to stop
    logging.getLogger("pyiceberg").setLevel(logging.CRITICAL)  # it deletes old metadata files that the catalog has deleted already
    try:
        kind(name, plan, events, stop, *arguments).run()
    except Exception:
        events.put(Crashed(name, traceback.format_exc()))
    events.put(Ended(name))
    if os.getppid() != plan.parent:
        events.cancel_join_thread()  # nobody listens any more
