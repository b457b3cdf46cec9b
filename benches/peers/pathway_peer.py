"""The reference workload in Pathway: `pathway_peer.py FOLDER RUNS`, two threads. One JSON line a query.

The file is read as a whole ("static"), which costs least. Lists are sets, loaded before the clock starts. A minute is put
together from panes of five seconds.
"""

import os
import sys
from datetime import datetime

os.environ["PATHWAY_THREADS"] = "2"

import pathway as pw  # noqa: E402  (the number of threads is read when it is imported)
from pathway.internals.parse_graph import G  # noqa: E402
from peer import measure, minutes, read_list  # noqa: E402

folder, runs = sys.argv[1], int(sys.argv[2])
PLATES, DOCUMENTS = read_list(folder, "stolen_plates"), read_list(folder, "lost_documents")


def absent(kind=str | None):
    return pw.column_definition(dtype=kind, default_value=None)


class Screened(pw.Schema):
    kind: str
    plate: str | None = absent()
    doc_number: str | None = absent()
    status: str | None = absent()


class Crowd(pw.Schema):
    kind: str
    ts: str
    zone: str | None = absent()
    person_id: str | None = absent()


class Both(Screened):
    ts: str
    zone: str | None = absent()
    person_id: str | None = absent()


def hits(kind, plate, doc_number, status) -> bool:
    if kind == "vehicle":
        return plate in PLATES
    if kind == "id":
        return doc_number in DOCUMENTS
    return kind == "code" and status == "red"


def pane(ts) -> int:
    return int(datetime.fromisoformat(ts).timestamp()) // 5


def query(schema, screening, crowd):
    G.clear()
    records = pw.io.jsonlines.read(f"{folder}/records.ndjson", schema=schema, mode="static")
    counted, panes = [0], {}
    if screening:
        r = pw.this
        hit = records.filter(pw.apply_with_type(hits, bool, r.kind, r.plate, r.doc_number, r.status))
        count = hit.reduce(count=pw.reducers.count())
        pw.io.subscribe(count, on_change=lambda key, row, time, is_addition: counted.append(row["count"]))
    if crowd:
        people = records.filter(pw.this.kind == "person")
        people = people.select(pw.this.zone, pw.this.person_id, pane=pw.apply_with_type(pane, int, pw.this.ts))
        of_zone = people.groupby(pw.this.zone, pw.this.pane).reduce(
            pw.this.zone, pw.this.pane, people=pw.reducers.count(), persons=pw.reducers.tuple(pw.this.person_id)
        )

        def note(key, row, time, is_addition):
            if is_addition:
                panes.setdefault(row["zone"], {})[row["pane"]] = (row["people"], frozenset(row["persons"]))

        pw.io.subscribe(of_zone, on_change=note)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    return ((counted[-1],) if screening else ()) + (minutes(panes) if crowd else ())


queries = {
    "q1": lambda: query(Screened, True, False),
    "q2": lambda: query(Crowd, False, True),
    "q3": lambda: query(Both, True, True),
}
measure(f"Pathway {pw.__version__}", queries, runs)
