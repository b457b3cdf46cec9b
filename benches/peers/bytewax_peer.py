"""The reference workload in Bytewax: `bytewax_peer.py FOLDER RUNS`, one worker. One JSON line a query.

One worker, since there is no watermark over several readers of one stream: the one that is behind would be late. Lists are
sets, loaded before the clock starts. The clock of event time is not moved by the system's (`now_getter`): with the usual one
records become late as soon as the machine is slower than the event time. A minute is put together from panes of five seconds.
"""

import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import windowing
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from peer import FULL, MANY, measure, minutes, read_list

folder, runs = sys.argv[1], int(sys.argv[2])
LISTED = {"vehicle": ("plate", read_list(folder, "stolen_plates")), "id": ("doc_number", read_list(folder, "lost_documents"))}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def hits(record):
    kind = record["kind"]
    if kind == "code":
        return record["status"] == "red"
    listed = LISTED.get(kind)
    return listed is not None and record.get(listed[0]) in listed[1]


class Count(DynamicSink, StatelessSinkPartition):
    """Counts what comes."""

    def __init__(self):
        self.items = 0

    def build(self, step_id, worker_index, worker_count):
        return self

    def write_batch(self, items):
        self.items += len(items)


class Windows(Count):
    """Keeps the panes of each zone that come."""

    def __init__(self):
        self.panes = {}

    def write_batch(self, items):
        for zone, (pane, (people, persons)) in items:
            self.panes.setdefault(zone, {})[pane] = (people, persons)

    def counts(self):
        return minutes(self.panes)


def note(pane, person):
    people, persons = pane
    persons.add(person[1])
    return (people + 1, persons)


def crowd(flow, records):
    people = op.filter_map(
        "people",
        records,
        lambda r: (r["zone"], (datetime.fromisoformat(r["ts"]), r["person_id"])) if r["kind"] == "person" else None,
    )
    clock = windowing.EventClock(
        ts_getter=lambda person: person[0],
        wait_for_system_duration=timedelta(seconds=5),
        now_getter=lambda: EPOCH,
        to_system_utc=lambda _: None,
    )
    panes = windowing.fold_window(
        "panes",
        people,
        clock,
        windowing.TumblingWindower(length=timedelta(seconds=5), align_to=EPOCH),
        builder=lambda: (0, set()),
        folder=note,
        merger=lambda one, other: (one[0] + other[0], one[1] | other[1]),
        ordered=False,
    )
    windows = Windows()
    op.output("windows", panes.down, windows)
    return windows


def query(screening, together):
    flow = Dataflow("reference")
    lines = op.input("lines", flow, FileSource(f"{folder}/records.ndjson", batch_size=1000))
    records = op.map("records", lines, orjson.loads)
    hit, windows = Count(), None
    if screening:
        op.output("hits", op.filter("screening", records, hits), hit)
    if together:
        windows = crowd(flow, records)
    run_main(flow)
    return ((hit.items,) if screening else ()) + (windows.counts() if windows else ())


queries = {"q1": lambda: query(True, False), "q2": lambda: query(False, True), "q3": lambda: query(True, True)}

measure(f"Bytewax {version('bytewax')}", queries, runs)
