"""The table of `run`: `table.py RESULTS RECORDS`. Peers whose counts differ from the others' are an error."""

import json
import statistics
import sys

results = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
records = int(sys.argv[2])
QUERIES = list(dict.fromkeys(result["query"] for result in results))
wrong = False
for query in QUERIES:
    counts = {result["peer"]: tuple(result["counts"]) for result in results if result["query"] == query}
    if len(set(counts.values())) != 1:
        print(f"{query}: counts differ: {counts}")
        wrong = True
if wrong:
    sys.exit(1)
print("| peer | query | records/s, median of runs | slowest, fastest | CPU s | peak MiB | times slower than weir |")
print("|---|---|---|---|---|---|---|")
for query in QUERIES:
    mine = [result for result in results if result["query"] == query]
    weir = next(statistics.median(result["seconds"]) for result in mine if result["peer"] == "weir")
    for result in mine:
        seconds = result["seconds"]
        median = statistics.median(seconds)
        rate = lambda s: f"{records / s:,.0f}"
        cells = [
            result["peer"],
            query,
            rate(median),
            f"{rate(max(seconds))}, {rate(min(seconds))}",
            f"{statistics.median(result['cpu']):.1f}",
            str(result["peak_mib"]),
            f"{median / weir:.1f}",
        ]
        print("| " + " | ".join(cells) + " |")
    print(f"| | {query} | alerts, all alike: {' '.join(map(str, mine[0]['counts']))} | | | | |")
