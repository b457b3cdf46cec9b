"""The reference workload in Spark Structured Streaming: `spark_peer.py FOLDER RUNS`, two threads. One JSON line a query.

Lists are broadcast, and cached before the clock starts. The file is read in ten parts, each a micro-batch of the trigger
"available now". Exact different persons: a set for each pane of five seconds, and the sets of a minute together. Windows
leave when the watermark has passed them, so that a record far ahead (of a zone of its own) has to end the stream.
"""

import os
import shutil
import subprocess
import sys
import tempfile

from peer import FULL, MANY, measure, of_process
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

folder, runs = os.path.abspath(sys.argv[1]), int(sys.argv[2])
PARTS = f"{folder}/spark"
SCREENED = ["kind", "plate", "doc_number", "status"]
CROWD = ["kind", "ts", "zone", "person_id"]

if not os.path.exists(PARTS):
    os.makedirs(PARTS)
    subprocess.run(["split", "-n", "l/10", f"{folder}/records.ndjson", f"{PARTS}/a"], check=True)
    with open(f"{PARTS}/z", "w", encoding="utf-8") as last:
        last.write('{"kind":"person","ts":"2100-01-01T00:00:00.000Z","zone":"the end","person_id":"the end"}\n')

spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.memory", "8g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.autoBroadcastJoinThreshold", str(1 << 30))
    .config("spark.sql.streaming.metricsEnabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def listed(name, column):
    rows = spark.read.csv(f"{folder}/lists/{name}.csv", header=True).select(f.col(column).alias(f"listed_{column}"))
    rows = rows.distinct().cache()
    rows.count()
    return f.broadcast(rows)


plates, documents = listed("stolen_plates", "plate"), listed("lost_documents", "doc_number")


def source(columns):
    schema = ", ".join(f"{column} string" for column in columns)
    return spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).option("latestFirst", "false").json(PARTS)


def screening(records):
    """The records that are hits, one row each."""
    plate = (f.col("kind") == "vehicle") & (f.col("plate") == f.col("listed_plate"))
    document = (f.col("kind") == "id") & (f.col("doc_number") == f.col("listed_doc_number"))
    hit = f.col("listed_plate").isNotNull() | f.col("listed_doc_number").isNotNull()
    joined = records.join(plates, plate, "left").join(documents, document, "left")
    return joined.where(hit | ((f.col("kind") == "code") & (f.col("status") == "red"))).select("kind")


def crowd(records):
    """The minutes that are above a level."""
    people = records.where("kind = 'person'").select("zone", "person_id", f.to_timestamp("ts").alias("ts"))
    panes = (
        people.withWatermark("ts", "5 seconds")
        .groupBy("zone", f.window("ts", "5 seconds"))
        .agg(f.count("*").alias("people"), f.collect_set("person_id").alias("persons"))
    )
    minutes = panes.groupBy("zone", f.window(f.window_time("window"), "60 seconds", "5 seconds")).agg(
        f.sum("people").alias("people"), f.size(f.array_distinct(f.flatten(f.collect_list("persons")))).alias("persons")
    )
    above = (f.col("people") >= MANY) | (f.col("persons") >= FULL)
    return minutes.where(above).select("zone", f.unix_timestamp("window.end").alias("ends"), "people", "persons")


def passed(windows, column, level):
    above = {(row.zone, row.ends) for row in windows if row[column] >= level}
    return sum((zone, ends - 5) not in above for zone, ends in above)


def run(*streams):
    """Runs each to its end, all at once, and gives what came out."""
    results = [[] for _ in streams]
    kept = tempfile.mkdtemp(dir=folder)
    queries = [
        stream.writeStream.foreachBatch(lambda rows, _, result=result: result.extend(rows.collect()))
        .option("checkpointLocation", f"{kept}/{number}")
        .trigger(availableNow=True)
        .start()
        for number, (stream, result) in enumerate(zip(streams, results))
    ]
    for query in queries:
        query.awaitTermination()
    # Its keeper of snapshots may still be at work in there.
    shutil.rmtree(kept, ignore_errors=True)
    return results


def q1():
    (hits,) = run(screening(source(SCREENED)))
    return (len(hits),)


def q2():
    (windows,) = run(crowd(source(CROWD)))
    return (passed(windows, "people", MANY), passed(windows, "persons", FULL))


def q3():
    # Structured Streaming has no stream with two outputs of different kinds: each reads the file.
    hits, windows = run(screening(source(SCREENED)), crowd(source(CROWD)))
    return (len(hits), passed(windows, "people", MANY), passed(windows, "persons", FULL))


jvm = spark._jvm.java.lang.ProcessHandle.current().pid()
measure(f"Spark {spark.version}", {"q1": q1, "q2": q2, "q3": q3}, runs, lambda: of_process(jvm))
