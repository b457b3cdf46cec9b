"""The reference workload in weir: `weir_peer.py FOLDER RUNS WEIR`, two shards. One JSON line a query.

Seconds are those of the run without the loading of lists, as for the other peers; CPU seconds hold the loading too, since
they are those of the process.
"""

import json
import os
import resource
import subprocess
import sys

from peer import cpu, peak_mib, tell

folder, runs, weir = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def alerts(name):
    path = f"{folder}/{name}-alerts.ndjson"
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def measure(query, columnar):
    name = f"{query}-columns" if columnar else query
    seconds, cpu_seconds = [], []
    for _ in range(runs):
        if os.path.exists(f"{folder}/{name}-alerts.ndjson"):
            os.remove(f"{folder}/{name}-alerts.ndjson")
        before = cpu(resource.RUSAGE_CHILDREN)
        run = [weir, "run", "--json", "--shards", "2", f"{name}-run.yaml"]
        summary = json.loads(subprocess.run(run, cwd=folder, capture_output=True, check=True).stdout)
        cpu_seconds.append(round(cpu(resource.RUSAGE_CHILDREN) - before, 2))
        received = sum(source["received"] for source in summary["sources"].values())
        seconds.append(round(received / summary["records_per_s"], 3))
    told = alerts(name)
    counts = []
    if query != "q2":
        counts.append(sum(alert["rule"].startswith("q1-") for alert in told))
    if query != "q1":
        entered = [alert["rule"] for alert in told if alert.get("change") == "enter"]
        counts += [entered.count("q2-count"), entered.count("q2-distinct")]
    tell("weir", f"{query} of columns" if columnar else query, counts, seconds, cpu_seconds, peak_mib(resource.RUSAGE_CHILDREN))


for columnar in [False, True]:
    for query in ["q1", "q2", "q3"]:
        measure(query, columnar)
