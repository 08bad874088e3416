"""parity.py WIDTH TRAINING-ROWS EPOCHS BATCH RATE SEEDS ACTIVATION CODE [HIDDEN...] <MATRIX: what benches/parity.rs does, in
PyTorch: the best validation loss of each seed as JSON.

The same mirrored network with a linear code and output, the same bounds of its first weights, biases of 0, Adam, batches
shuffled each epoch, the best epoch counts. Random numbers are PyTorch's own, so single seeds differ.
"""

import json
import math
import sys

import torch

width, training, epochs, batch = map(int, sys.argv[1:5])
rate, seeds, activation, code = float(sys.argv[5]), int(sys.argv[6]), sys.argv[7], int(sys.argv[8])
hidden = [int(argument) for argument in sys.argv[9:]]
torch.set_num_threads(1)
matrix = torch.frombuffer(bytearray(sys.stdin.buffer.read()), dtype=torch.float32).reshape(-1, width)
rows, held_out = matrix[:training], matrix[training:]
widths = [width, *hidden, code, *reversed(hidden), width]
linear = {len(hidden), len(widths) - 2}


def layer(index):
    inputs, outputs = widths[index : index + 2]
    made = torch.nn.Linear(inputs, outputs)
    he = activation == "relu" and index not in linear
    bound = math.sqrt(6 / inputs if he else 6 / (inputs + outputs))
    torch.nn.init.uniform_(made.weight, -bound, bound)
    torch.nn.init.zeros_(made.bias)
    return [made] if index in linear else [made, torch.nn.ReLU() if activation == "relu" else torch.nn.Tanh()]


def best(seed):
    torch.manual_seed(seed)
    network = torch.nn.Sequential(*(part for index in range(len(widths) - 1) for part in layer(index)))
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    loss_of = torch.nn.MSELoss()
    smallest = math.inf
    for _ in range(epochs):
        for chosen in torch.randperm(training).split(batch):
            given = rows[chosen]
            optimiser.zero_grad(set_to_none=True)
            loss_of(network(given), given).backward()
            optimiser.step()
        with torch.no_grad():
            smallest = min(smallest, loss_of(network(held_out), held_out).item())
    return smallest


print(json.dumps([best(seed) for seed in range(1, seeds + 1)]))
