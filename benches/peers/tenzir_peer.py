"""The reference workload in Tenzir: `tenzir_peer.py FOLDER RUNS`, parallelism 2. One JSON line a query.

Lists are lookup tables of a node, loaded before the clock starts; pipelines run in processes of their own. A minute is put
together from panes of five seconds, which are summarized at the end of the input. CPU seconds and peak memory are those of
node and pipeline together.
"""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from peer import cpu, measure, minutes, of_process, peak_mib

folder, runs = os.path.abspath(sys.argv[1]), int(sys.argv[2])
programs = os.path.dirname(sys.executable)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    endpoint = f"127.0.0.1:{free.getsockname()[1]}"

RECORDS = f"""from_file "{folder}/records.ndjson" {{ read_ndjson }}\n"""
SCREENING = """where kind in ["vehicle", "id", "code"]
context_enrich "plates", key=plate?, into=stolen
context_enrich "documents", key=doc_number?, into=lost
where (kind == "vehicle" and stolen != null) or (kind == "id" and lost != null) or (kind == "code" and status? == "red")
summarize n=count()
"""
CROWD = """where kind == "person"
pane = (ts.floor(5s) - 1970-01-01T00:00:00Z).count_seconds() / 5
summarize zone, pane, people=count(), persons=distinct(person_id)
"""


def pipeline(text, parallel=True):
    """What a pipeline prints, line by line."""
    options = ["-e", endpoint] + (["--parallelism=2"] if parallel else [])
    run = subprocess.run([f"{programs}/tenzir", *options, text], capture_output=True, check=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def passed(lines):
    panes = {}
    for line in lines:
        panes.setdefault(line["zone"], {})[int(line["pane"])] = (line["people"], frozenset(line["persons"]))
    return minutes(panes)


def q1():
    return (pipeline(RECORDS + SCREENING + "write_ndjson")[0]["n"],)


def q2():
    return passed(pipeline(RECORDS + CROWD + "write_ndjson"))


def q3():
    hits = f"{folder}/tenzir-hits.ndjson"
    fork = f"""fork {{ {SCREENING} to_file "{hits}" {{ write_ndjson }} }}\n"""
    crowd = passed(pipeline(RECORDS + fork + CROWD + "write_ndjson"))
    with open(hits, encoding="utf-8") as file:
        return (json.load(file)["n"],) + crowd


def spent():
    (node_cpu, node_peak), others = of_process(node.pid), resource.RUSAGE_CHILDREN
    return node_cpu + cpu(others), node_peak + peak_mib(others)


def ready():
    for _ in range(300):
        try:
            socket.create_connection(endpoint.split(":"), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the node of Tenzir does not answer")


state = tempfile.mkdtemp(dir=folder)
node = subprocess.Popen([f"{programs}/tenzir-node", "-e", endpoint, "-d", state], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    ready()
    for table, file, key in [("plates", "stolen_plates", "plate"), ("documents", "lost_documents", "doc_number")]:
        pipeline(f'context_create_lookup_table "{table}"', parallel=False)
        load = f'from_file "{folder}/lists/{file}.csv" {{ read_csv }}\ncontext_update "{table}", key={key}, value={key}'
        pipeline(load, parallel=False)
    version = pipeline("version\nselect version\nwrite_ndjson", parallel=False)[0]["version"]
    measure(f"Tenzir {version}", {"q1": q1, "q2": q2, "q3": q3}, runs, spent)
finally:
    node.terminate()
    node.wait()
    shutil.rmtree(state)
