"""figures.py FOLDER: the figures of a backtest, computed from what `strayd score` wrote.

FOLDER holds scores.csv, labels.txt (a line of 0 or 1 per row) and quiet_rows (rows without anomaly that end an incident).
Prints one JSON object with the names of the backtest's own. AUROC, precision and recall follow their definitions pair by
pair and threshold by threshold; VUS-PR is computed in another way than the backtest does, and was checked against its authors' program.
"""

import csv
import datetime
import json
import pathlib
import statistics
import sys

import numpy as np

BUFFER, THRESHOLDS = 100, 250


def ranking(labels, scores):
    """By the definitions. Rows without a score are the lowest, and no limit makes alarms of them."""
    high, low = scores[labels], scores[~labels]
    above = (high[:, None] > low[None, :]).sum() + (high[:, None] == low[None, :]).sum() / 2
    figures = {"auroc": above / (len(high) * len(low)), "aucpr": 0.0, "best_f1": -1.0}
    before = 0.0
    for limit in np.unique(scores)[::-1]:
        taken = scores >= limit
        precision, recall = labels[taken].mean(), labels[taken].sum() / labels.sum()
        figures["aucpr"] += (recall - before) * precision
        before = recall
        f1 = 2 * precision * recall / (precision + recall) if precision else 0.0
        if np.isfinite(limit) and f1 > figures["best_f1"]:
            figures.update(best_f1=f1, best_f1_limit=limit)
    return figures


def runs(labels):
    """[first, last] of every run of labelled rows."""
    found = []
    for row in np.flatnonzero(labels):
        if found and found[-1][1] == row - 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return found


def volume(labels, scores):
    """VUS-PR. Each event gets soft borders of half the buffer's length w, which fall as sqrt(1 - distance / w); recall
    is weighted by the share of bordered events that hold an alarm."""
    rows, events = len(scores), runs(labels)
    cuts = np.sort(scores)[::-1][np.linspace(0, rows - 1, THRESHOLDS).astype(int)]
    since = THRESHOLDS - np.searchsorted(cuts[::-1], scores, side="right")

    def upto(at, weights=None):
        return np.cumsum(np.bincount(at, weights, minlength=THRESHOLDS + 1)[:THRESHOLDS]).astype(float)

    alarms, core, total = upto(since), upto(since[labels == 1]), 0.0
    for width in range(BUFFER + 1):
        half = width // 2
        soft, groups = np.zeros(rows), []
        for first, last in events:
            left, right = max(first - half, 0), min(last + half, rows - 1)
            if half:
                after, before = np.arange(last + 1, right + 1), np.arange(left, first)
                soft[after] += np.sqrt(1 - (after - last) / width)
                soft[before] += np.sqrt(1 - (first - before) / width)
            if groups and left <= groups[-1][1]:
                groups[-1][1] = right
            else:
                groups.append([left, right])
        border = np.flatnonzero((soft > 0) & (labels == 0))
        true = core + upto(since[border], np.minimum(soft[border], 1.0))
        seen = upto(np.array([since[left : right + 1].min() for left, right in groups])) / len(groups)
        recall = np.minimum(true / (labels.sum() + (true - core) / 2), 1.0) * seen
        total += np.sum(np.diff(np.concatenate(([0.0], recall))) * true / alarms)
    return total / (BUFFER + 1)


def incidents(anomalies, judged, quiet_rows):
    """Rows of the anomalies of each incident."""
    found, quiet = [], None
    for row in np.flatnonzero(judged):
        if anomalies[row]:
            if quiet is None:
                found.append([])
            found[-1].append(row)
            quiet = 0
        elif quiet is not None:
            quiet = quiet + 1 if quiet < quiet_rows else None
    return found


def main(folder):
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    labels = np.array([line == "1" for line in (folder / "labels.txt").read_text().split()])
    scores = np.array([float(row["score"]) if row["score"] else -np.inf for row in rows])
    anomalies = np.array([row["verdict"] == "anomalous" for row in rows])
    times = [datetime.datetime.fromisoformat(row["timestamp"]) for row in rows]
    step = statistics.median((after - before).total_seconds() for before, after in zip(times, times[1:]))
    figures = ranking(labels, scores)
    figures["vus_pr"] = volume(labels.astype(int), np.where(np.isfinite(scores), scores, -1e300))
    figures["precision"] = labels[anomalies].mean()
    figures["recall"] = anomalies[labels].mean()
    events = runs(labels)
    hits = [first + np.flatnonzero(anomalies[first : last + 1])[:1] for first, last in events]
    delays = [(times[hit[0]] - times[first]).total_seconds() for (first, _), hit in zip(events, hits) if len(hit)]
    raised = incidents(anomalies, np.isfinite(scores), int((folder / "quiet_rows").read_text()))
    false = sum(not labels[incident].any() for incident in raised)
    figures.update(events=len(events), events_found=len(delays), false_alarms=false)
    figures["event_recall"] = len(delays) / len(events)
    figures["event_precision"] = len(delays) / (len(delays) + false)
    figures["median_delay_seconds"] = statistics.median(delays)
    figures["longest_delay_seconds"] = max(delays)
    figures["false_alarms_per_entity_and_day"] = false / ((~labels).sum() * step / 86400)
    figures["incidents"] = len(raised)
    print(json.dumps({name: float(figure) for name, figure in figures.items()}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
