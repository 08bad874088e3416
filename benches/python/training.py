"""training.py THREADS INPUTS CODE ROWS EPOCHS BATCH HIDDEN...: samples per second of PyTorch on CPU threads, its version,
what it multiplies matrices with, and the fastest of its Adams.

A mirrored dense autoencoder with ReLU, Adam and mean squared error, rows in memory, shuffled each epoch.
"""

import re
import sys
import time

import torch

threads, inputs, code, rows, epochs, batch, *hidden = map(int, sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(5)
widths = [inputs, *hidden, code, *reversed(hidden), inputs]
layers = []
for index, (from_width, to_width) in enumerate(zip(widths, widths[1:])):
    layers.append(torch.nn.Linear(from_width, to_width))
    if index + 2 < len(widths) and index != len(hidden):
        layers.append(torch.nn.ReLU())
network = torch.nn.Sequential(*layers)
data = torch.rand(rows, inputs)
loss_of = torch.nn.MSELoss()


def epoch(optimiser):
    order = torch.randperm(rows)
    for start in range(0, rows, batch):
        rows_of_batch = data[order[start : start + batch]]
        optimiser.zero_grad(set_to_none=True)
        loss_of(network(rows_of_batch), rows_of_batch).backward()
        optimiser.step()


def seconds(count, optimiser):
    started = time.perf_counter()
    for _ in range(count):
        epoch(optimiser)
    return time.perf_counter() - started


def fastest():
    """Of the ways in which this version can step, that which is fastest here, by a second epoch with each."""
    found = {}
    for name, how in {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}.items():
        try:
            optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, **how)
            epoch(optimiser)
        except (TypeError, RuntimeError):
            continue
        found[name] = (seconds(1, optimiser), optimiser)
    name = min(found, key=lambda name: found[name][0])
    return name, found[name][1]


def multiplier():
    """The library behind its matrix products: what is mapped into memory, else what is built in."""
    with open("/proc/self/maps") as maps:
        shared = re.search(r"libopenblas\w*-?r?([\d.]*\d)?[^/]*\.so", maps.read())
    if shared:
        return f"OpenBLAS {shared[1] or ''}".strip()
    return "MKL" if torch.backends.mkl.is_available() else "its own BLAS"


name, optimiser = fastest()
taken = seconds(epochs, optimiser)
print(rows * epochs / taken, f"{torch.__version__} ({multiplier()}, {name} Adam)")
