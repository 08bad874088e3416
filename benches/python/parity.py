"""parity.py WIDTH TRAINING-ROWS EPOCHS BATCH RATE SEEDS ACTIVATION FOLDER CODE [HIDDEN...] <MATRIX: what benches/parity.rs
does, in PyTorch: the best validation loss of each seed as JSON.

The same mirrored network with a linear code and output, Adam, the best epoch counts; first weights and batches are those that
benches/parity.rs left in FOLDER, so that both sides differ by their arithmetic alone.
"""

import json
import math
import pathlib
import sys

import torch

width, training, epochs, batch = map(int, sys.argv[1:5])
rate, seeds, activation, folder = float(sys.argv[5]), int(sys.argv[6]), sys.argv[7], pathlib.Path(sys.argv[8])
code, *hidden = map(int, sys.argv[9:])
torch.set_num_threads(1)
matrix = torch.frombuffer(bytearray(sys.stdin.buffer.read()), dtype=torch.float32).reshape(-1, width)
rows, held_out = matrix[:training], matrix[training:]
widths = [width, *hidden, code, *reversed(hidden), width]
linear = {len(hidden), len(widths) - 2}


def numbers(seed, what, kind):
    return torch.frombuffer(bytearray((folder / f"{seed}.{what}").read_bytes()), dtype=kind)


def layer(index, weights):
    """A layer with the next of these weights, and the weights that are left."""
    inputs, outputs = widths[index : index + 2]
    made = torch.nn.Linear(inputs, outputs)
    weight, bias, rest = weights.split([inputs * outputs, outputs, len(weights) - (inputs + 1) * outputs])
    with torch.no_grad():
        made.weight.copy_(weight.reshape(inputs, outputs).T)
        made.bias.copy_(bias)
    if index in linear:
        return [made], rest
    return [made, torch.nn.ReLU() if activation == "relu" else torch.nn.Tanh()], rest


def best(seed):
    parts, weights = [], numbers(seed, "weights", torch.float32)
    for index in range(len(widths) - 1):
        more, weights = layer(index, weights)
        parts += more
    network = torch.nn.Sequential(*parts)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    loss_of = torch.nn.MSELoss()
    smallest = math.inf
    for order in numbers(seed, "rows", torch.int32).long().reshape(epochs, training):
        for chosen in order.split(batch):
            given = rows[chosen]
            optimiser.zero_grad(set_to_none=True)
            loss_of(network(given), given).backward()
            optimiser.step()
        with torch.no_grad():
            smallest = min(smallest, loss_of(network(held_out), held_out).item())
    return smallest


print(json.dumps([best(seed) for seed in range(1, seeds + 1)]))
