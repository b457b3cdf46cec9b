"""What all peers do alike: run each query so many times and tell seconds and alert counts, one JSON line a query."""

import json
import time


def measure(peer, queries, runs):
    """`queries` by name: functions that run one and give its counts."""
    for name, query in queries.items():
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            counts = query()
            seconds.append(round(time.perf_counter() - started, 3))
        print(json.dumps({"peer": peer, "query": name, "counts": counts, "seconds": seconds}), flush=True)
