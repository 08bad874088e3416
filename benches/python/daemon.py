"""daemon.py SERVERS MODEL RECORDS PARTITIONS: the same work as a Python daemon would do it; prints records per second.

Batched consumption, orjson, windows of the last rows per entity, onnxruntime on one thread, mean squared residual,
exponential smoothing per entity, a limit. It publishes nothing, which is in its favour.
"""

import sys
import time

import confluent_kafka
import numpy as np
import onnxruntime
import orjson

servers, model, records, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
BATCH, LIMIT, SPAN = 512, 10.0, 15
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
metadata = orjson.loads(session.get_modelmeta().custom_metadata_map["strayd"])
names = [column["name"] for column in metadata["columns"]]
window, width = metadata["window"], len(names)
consumer = confluent_kafka.Consumer(
    {
        "bootstrap.servers": servers,
        "group.id": "python",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": 100000,
    }
)
beginning = confluent_kafka.OFFSET_BEGINNING
consumer.assign([confluent_kafka.TopicPartition("in", partition, beginning) for partition in range(partitions)])
history, smoothed = {}, {}
seen, anomalies, started = 0, 0, None
while seen < records:
    messages = consumer.consume(BATCH, 0.1)
    if not messages:
        continue
    started = started or time.perf_counter()
    windows, entities = [], []
    for message in messages:
        fields = orjson.loads(message.value())
        row = np.array([fields[name] for name in names], dtype=np.float32)
        entity = message.key()
        rows = history.setdefault(entity, [])
        rows.append(row)
        if len(rows) > window:
            rows.pop(0)
        if len(rows) == window:
            windows.append(np.concatenate(rows))
            entities.append(entity)
    seen += len(messages)
    if windows:
        (residual,) = session.run(["residual"], {"window": np.stack(windows)})
        scores = (residual * residual).mean(axis=1)
        for entity, score in zip(entities, scores):
            last = smoothed.get(entity, score)
            smoothed[entity] = last + 2 / (SPAN + 1) * (score - last)
            anomalies += smoothed[entity] > LIMIT
print(seen / (time.perf_counter() - started))
