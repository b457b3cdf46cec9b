"""The reference workload in DuckDB: `duckdb_peer.py FOLDER RUNS`, two threads. One JSON line a query.

Lists are loaded before the clock starts, as weir loads them. Only the columns that a query needs are declared, so that the
reader skips the others. A window of 60 s that ends every 5 s is twelve rows for each record (DuckDB has no
hopping window); an alert is a window above its level whose predecessor was not.
"""

import sys

import duckdb
from peer import FULL, MANY, from_columns, measure

folder, runs = sys.argv[1], int(sys.argv[2])

base = duckdb.connect()
base.execute("SET threads = 2")
base.execute(f"CREATE TABLE plates AS SELECT plate FROM read_csv('{folder}/lists/stolen_plates.csv', all_varchar = true)")
base.execute(f"CREATE TABLE documents AS SELECT doc_number FROM read_csv('{folder}/lists/lost_documents.csv', all_varchar = true)")


def source(columns, columnar):
    if columnar:
        return f"read_parquet('{folder}/records.parquet')"
    declared = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    return f"read_json('{folder}/records.ndjson', format = 'newline_delimited', columns = {{{declared}}})"


SCREENED = {"kind": "VARCHAR", "plate": "VARCHAR", "doc_number": "VARCHAR", "status": "VARCHAR"}
CROWD = {"kind": "VARCHAR", "ts": "TIMESTAMP", "zone": "VARCHAR", "person_id": "VARCHAR"}


def screening(records):
    return f"""SELECT count(*) FROM {records} r WHERE
        (kind = 'vehicle' AND plate IN (SELECT plate FROM plates)) OR
        (kind = 'id' AND doc_number IN (SELECT doc_number FROM documents)) OR
        (kind = 'code' AND status = 'red')"""


def crowd(records):
    return f"""WITH seen AS (
            SELECT zone, person_id, time_bucket(INTERVAL 5 SECOND, ts) + INTERVAL 5 SECOND * unnest(range(1, 13)) AS ends
            FROM {records} r WHERE kind = 'person'),
        windows AS (SELECT zone, ends, count(*) AS people, count(DISTINCT person_id) AS persons FROM seen GROUP BY zone, ends),
        told AS (SELECT people, persons, lag(people, 1, 0) OVER z AS people_before, lag(persons, 1, 0) OVER z AS persons_before
            FROM windows WINDOW z AS (PARTITION BY zone ORDER BY ends))
        SELECT count(*) FILTER (people >= {MANY} AND people_before < {MANY}),
            count(*) FILTER (persons >= {FULL} AND persons_before < {FULL}) FROM told"""


def both(columnar):
    # One scan of the file for both: the records are read once into a table.
    every = {**SCREENED, **CROWD}
    base.execute(f"CREATE OR REPLACE TEMP TABLE r AS SELECT {', '.join(every)} FROM {source(every, columnar)}")
    return base.execute(screening("r")).fetchone() + base.execute(crowd("r")).fetchone()


def queries(columnar):
    return {
        "q1": lambda: base.execute(screening(source(SCREENED, columnar))).fetchone(),
        "q2": lambda: base.execute(crowd(source(CROWD, columnar))).fetchone(),
        "q3": lambda: both(columnar),
    }


measure(f"DuckDB {duckdb.__version__}", queries(False), runs)
measure(f"DuckDB {duckdb.__version__}", from_columns(queries(True)), runs)
