"""The reference workload in DataFusion: `datafusion_peer.py FOLDER RUNS`, two partitions. One JSON line a query.

Lists are loaded before the clock starts, as weir loads them. Only the columns that a query needs are declared. A window of
60 s that ends every 5 s is twelve rows for each record (DataFusion has no hopping window).
"""

import sys

import datafusion
import pyarrow as pa
from datafusion import SessionConfig, SessionContext
from peer import FULL, MANY, from_columns, measure

folder, runs = sys.argv[1], int(sys.argv[2])
SCREENED = ["kind", "plate", "doc_number", "status"]
LATER = ", ".join(f"INTERVAL '{5 * step} seconds'" for step in range(1, 13))
CROWD = ["kind", "ts", "zone", "person_id"]

context = SessionContext(SessionConfig().with_target_partitions(2))
for table, file, column in [("plates", "stolen_plates", "plate"), ("documents", "lost_documents", "doc_number")]:
    context.register_csv("file", f"{folder}/lists/{file}.csv")
    rows = context.sql(f"SELECT {column} FROM file").collect()
    context.deregister_table("file")
    context.register_record_batches(table, [rows])


EVERY = list(dict.fromkeys(SCREENED + CROWD))


def source(name, columns):
    schema = pa.schema([(column, pa.string()) for column in columns])
    context.register_json(name, f"{folder}/records.ndjson", schema=schema, file_extension=".ndjson")


source("screened", SCREENED)
source("people", CROWD)
source("every", EVERY)
context.register_parquet("columns", f"{folder}/records.parquet")


def first(sql):
    return tuple(context.sql(sql).to_arrow_table().to_pylist()[0].values())


def screening(records):
    return first(f"""SELECT count(*) FROM {records} r
        LEFT JOIN plates p ON r.plate = p.plate AND r.kind = 'vehicle'
        LEFT JOIN documents d ON r.doc_number = d.doc_number AND r.kind = 'id'
        WHERE p.plate IS NOT NULL OR d.doc_number IS NOT NULL OR (r.kind = 'code' AND r.status = 'red')""")


def crowd(records):
    return first(f"""WITH panes AS (
            SELECT zone, person_id, date_bin(INTERVAL '5 seconds', CAST(ts AS TIMESTAMP)) AS pane
            FROM {records} WHERE kind = 'person'),
        seen AS (SELECT zone, person_id, pane + unnest([{LATER}]) AS ends FROM panes),
        windows AS (SELECT zone, ends, count(*) AS people, count(DISTINCT person_id) AS persons FROM seen GROUP BY zone, ends),
        told AS (SELECT people, persons, lag(people, 1, 0) OVER z AS people_before, lag(persons, 1, 0) OVER z AS persons_before
            FROM windows WINDOW z AS (PARTITION BY zone ORDER BY ends))
        SELECT count(*) FILTER (WHERE people >= {MANY} AND people_before < {MANY}) AS many,
            count(*) FILTER (WHERE persons >= {FULL} AND persons_before < {FULL}) AS full_ FROM told""")


def both(records):
    # One scan of the file for both: the records are read once into memory.
    context.register_record_batches("r", [context.sql(f"SELECT {', '.join(EVERY)} FROM {records}").collect()])
    counts = screening("r") + crowd("r")
    context.deregister_table("r")
    return counts


def queries(screened, people, every):
    return {"q1": lambda: screening(screened), "q2": lambda: crowd(people), "q3": lambda: both(every)}


measure(f"DataFusion {datafusion.__version__}", queries("screened", "people", "every"), runs)
measure(f"DataFusion {datafusion.__version__}", from_columns(queries("columns", "columns", "columns")), runs)
