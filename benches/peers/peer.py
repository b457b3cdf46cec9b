"""What all peers do alike: run each query so many times and tell what it took, one JSON line a query."""

import csv
import json
import os
import resource
import time

MANY, FULL = 500, 300  # levels of q2.yaml
PANES = 12  # of five seconds, a minute


def read_list(folder, name):
    """The keys of a list, which stand in its first column."""
    with open(f"{folder}/lists/{name}.csv", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return {row[0] for row in rows}


def minutes(panes):
    """How often a minute of a zone passed each level: `panes` are `(people, persons)` of each zone by number."""
    passed_many = passed_full = 0
    for of_zone in panes.values():
        was_many = was_full = False
        for last in range(min(of_zone), max(of_zone) + PANES):
            minute = [of_zone[pane] for pane in range(last - PANES + 1, last + 1) if pane in of_zone]
            people = sum(count for count, _ in minute)
            many = people >= MANY
            full = people >= FULL and len(set().union(*(persons for _, persons in minute))) >= FULL
            passed_many += many and not was_many
            passed_full += full and not was_full
            was_many, was_full = many, full
    return (passed_many, passed_full)


def from_columns(queries):
    """The same queries under the names they have where their input is columns and not lines."""
    return {f"{name} of columns": query for name, query in queries.items()}


def peak_mib(who=resource.RUSAGE_SELF):
    return resource.getrusage(who).ru_maxrss // 1024


def cpu(who=resource.RUSAGE_SELF):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def of_process(pid):
    """CPU seconds and peak memory in MiB of another process so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        user, system = file.read().rsplit(") ", 1)[1].split()[11:13]
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), peak // 1024


def tell(peer, query, counts, seconds, cpu_seconds, peak):
    line = {"peer": peer, "query": query, "counts": counts, "seconds": seconds, "cpu": cpu_seconds, "peak_mib": peak}
    print(json.dumps(line), flush=True)


def measure(peer, queries, runs, spent=lambda: (cpu(), peak_mib())):
    """`queries` by name: functions that run one and give its counts. Peak memory is that of the process so far.

    `spent` gives CPU seconds and peak memory where it is not this process that does the work.
    """
    for name, query in queries.items():
        seconds, cpu_seconds = [], []
        for _ in range(runs):
            started, before = time.perf_counter(), spent()[0]
            counts = query()
            seconds.append(round(time.perf_counter() - started, 3))
            cpu_seconds.append(round(spent()[0] - before, 2))
        tell(peer, name, counts, seconds, cpu_seconds, spent()[1])
