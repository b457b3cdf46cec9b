"""What weir's runs gave, in the form of the other peers: `weir_peer.py FOLDER RUNS`, over the files that `run` left."""

import json
import os
import sys

folder, runs = sys.argv[1], int(sys.argv[2])


def lines(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


for query in ["q1", "q2", "q3"]:
    alerts = lines(f"{folder}/{query}-alerts.ndjson")
    counts = []
    if query != "q2":
        counts.append(sum(alert["rule"].startswith("q1-") for alert in alerts))
    if query != "q1":
        entered = [alert["rule"] for alert in alerts if alert.get("change") == "enter"]
        counts += [entered.count("q2-count"), entered.count("q2-distinct")]
    summaries = [json.load(open(f"{folder}/{query}-summary-{run}.json", encoding="utf-8")) for run in range(1, runs + 1)]
    seconds = [round(sum(source["received"] for source in summary["sources"].values()) / summary["records_per_s"], 3) for summary in summaries]
    print(json.dumps({"peer": "weir", "query": query, "counts": counts, "seconds": seconds}))
