"""The reference workload in Polars: `polars_peer.py FOLDER RUNS`, two threads, streaming engine. One JSON line a query.

Lists are loaded before the clock starts, as weir loads them. Only the columns that a query needs are declared.
"""

import os
import sys

os.environ["POLARS_MAX_THREADS"] = "2"

import polars as pl  # noqa: E402  (the number of threads is read when it is imported)
from peer import FULL, MANY, from_columns, measure  # noqa: E402

folder, runs = sys.argv[1], int(sys.argv[2])

plates = pl.read_csv(f"{folder}/lists/stolen_plates.csv", infer_schema=False).select("plate")
documents = pl.read_csv(f"{folder}/lists/lost_documents.csv", infer_schema=False).select("doc_number")
SCREENED = ["kind", "plate", "doc_number", "status"]
CROWD = ["kind", "ts", "zone", "person_id"]


def source(columns, columnar):
    if columnar:
        return pl.scan_parquet(f"{folder}/records.parquet").select(columns)
    records = pl.scan_ndjson(f"{folder}/records.ndjson", schema={name: pl.String for name in columns})
    ts = pl.col("^ts$").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ms")
    return records.with_columns(ts)


def screening(records):
    kind = pl.col("kind")
    listed = [
        records.filter(kind == "vehicle").join(plates.lazy(), on="plate", how="semi").select(pl.len()),
        records.filter(kind == "id").join(documents.lazy(), on="doc_number", how="semi").select(pl.len()),
        records.filter((kind == "code") & (pl.col("status") == "red")).select(pl.len()),
    ]
    return pl.concat(listed).sum()


def crowd(records):
    ends = pl.concat_list([pl.col("pane") + pl.duration(seconds=5 * step) for step in range(1, 13)])
    windows = (
        records.filter(pl.col("kind") == "person")
        .select("zone", "person_id", pl.col("ts").dt.truncate("5s").alias("pane"))
        .with_columns(ends.alias("ends"))
        .explode("ends")
        .group_by("zone", "ends")
        .agg(pl.len().alias("people"), pl.col("person_id").n_unique().alias("persons"))
    )
    def entered(column, level):
        before = pl.col(column).shift(1, fill_value=0).over("zone")
        return ((pl.col(column) >= level) & (before < level)).sum()

    return windows.sort("zone", "ends").select(entered("people", MANY), entered("persons", FULL))


def both(columnar):
    # One scan of the file for both.
    records = source(list(dict.fromkeys(SCREENED + CROWD)), columnar).collect(engine="streaming").lazy()
    return screening(records).collect(engine="streaming").row(0) + crowd(records).collect(engine="streaming").row(0)


def queries(columnar):
    return {
        "q1": lambda: screening(source(SCREENED, columnar)).collect(engine="streaming").row(0),
        "q2": lambda: crowd(source(CROWD, columnar)).collect(engine="streaming").row(0),
        "q3": lambda: both(columnar),
    }


measure(f"Polars {pl.__version__}", queries(False), runs)
measure(f"Polars {pl.__version__}", from_columns(queries(True)), runs)
