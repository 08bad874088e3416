"""training.py INPUTS CODE ROWS EPOCHS BATCH HIDDEN...: samples per second of PyTorch on one CPU thread, and its version.

A mirrored dense autoencoder with ReLU, Adam and mean squared error, rows in memory, shuffled each epoch.
"""

import sys
import time

import torch

inputs, code, rows, epochs, batch, *hidden = map(int, sys.argv[1:])
torch.set_num_threads(1)
torch.manual_seed(5)
widths = [inputs, *hidden, code, *reversed(hidden), inputs]
layers = []
for index, (from_width, to_width) in enumerate(zip(widths, widths[1:])):
    layers.append(torch.nn.Linear(from_width, to_width))
    if index + 2 < len(widths):
        layers.append(torch.nn.ReLU())
network = torch.nn.Sequential(*layers)
data = torch.rand(rows, inputs)
optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
loss_of = torch.nn.MSELoss()


def epoch():
    order = torch.randperm(rows)
    for start in range(0, rows, batch):
        rows_of_batch = data[order[start : start + batch]]
        optimiser.zero_grad(set_to_none=True)
        loss_of(network(rows_of_batch), rows_of_batch).backward()
        optimiser.step()


epoch()
started = time.perf_counter()
for _ in range(epochs):
    epoch()
print(rows * epochs / (time.perf_counter() - started), torch.__version__)
