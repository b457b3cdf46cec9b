"""What all peers do alike: run each query so many times and tell what it took, one JSON line a query."""

import json
import resource
import time


def peak_mib(who=resource.RUSAGE_SELF):
    return resource.getrusage(who).ru_maxrss // 1024


def cpu(who=resource.RUSAGE_SELF):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def tell(peer, query, counts, seconds, cpu_seconds, peak):
    line = {"peer": peer, "query": query, "counts": counts, "seconds": seconds, "cpu": cpu_seconds, "peak_mib": peak}
    print(json.dumps(line), flush=True)


def measure(peer, queries, runs):
    """`queries` by name: functions that run one and give its counts. Peak memory is that of the process so far."""
    for name, query in queries.items():
        seconds, cpu_seconds = [], []
        for _ in range(runs):
            started, before = time.perf_counter(), cpu()
            counts = query()
            seconds.append(round(time.perf_counter() - started, 3))
            cpu_seconds.append(round(cpu() - before, 2))
        tell(peer, name, counts, seconds, cpu_seconds, peak_mib())
