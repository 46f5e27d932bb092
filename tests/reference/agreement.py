#!/usr/bin/env python3
"""Writes the losses of PyTorch's first steps with three networks, agreement.json beside this file, for tests/agreement.rs.

Both sides make weights and data of the same numbers: word i of a tensor is the index i + 1, times 0x9E3779B1, plus the FNV-1a hash
of the tensor's name, mixed (`words` below). A weight is uniform within 1 / sqrt(fan-in, at least 64), one for a norm's weight, 0 for its
bias. All steps are on the same batch; f64.

Needs torch and numpy: python3 tests/reference/agreement.py
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

STEPS = 20
ROWS = 64
TOKENS, VOCABULARY = 32, 40


def words(name, count):
    name_hash = 0x811C9DC5
    for byte in name.encode():
        name_hash = ((name_hash ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (np.arange(1, count + 1, dtype=np.uint64) * 0x9E3779B1 + name_hash).astype(np.uint32)
    x ^= x >> 15
    x *= np.uint32(0x2C1B3C6D)
    x ^= x >> 12
    x *= np.uint32(0x297A2D39)
    return x ^ (x >> 15)


def unit(name, count):
    return (words(name, count) >> 8).astype(np.float64) / (1 << 24)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Attention(nn.MultiheadAttention):
    def __init__(self, width, heads):
        super().__init__(width, heads, batch_first=True)

    def forward(self, x):
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        return super().forward(x, x, x, attn_mask=mask, need_weights=False)[0]


class Position(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tokens, width))

    def forward(self, x):
        return x + self.weight


def block(width):
    return [
        Residual(nn.LayerNorm(width), Attention(width, 4)),
        Residual(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)),
    ]


def images():
    pixels = (words("images", ROWS * 784) % 256).reshape(ROWS, 1, 28, 28)
    return torch.from_numpy(pixels.astype(np.float64)) / 255, labels(ROWS, 10)


def labels(count, classes):
    return torch.from_numpy((words("labels", count) % classes).astype(np.int64))


def tokens():
    inputs = torch.from_numpy((words("tokens", ROWS * TOKENS) % VOCABULARY).astype(np.int64))
    return inputs.view(ROWS, TOKENS), labels(ROWS * TOKENS, VOCABULARY)


NETWORKS = {
    "mlp": (images, [nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)]),
    "lenet": (images, [
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ]),
    "transformer": (tokens, [
        nn.Embedding(VOCABULARY, 64), Position(TOKENS, 64), *block(64), *block(64), nn.LayerNorm(64),
        nn.Linear(64, VOCABULARY),
    ]),
}


def main():
    losses = {}
    for name, (data, layers) in NETWORKS.items():
        model = nn.Sequential(*layers).double()
        norms = [f"{at}." for at, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if any(key.startswith(norm) for norm in norms):
                    parameter.fill_(1.0 if key.endswith("weight") else 0.0)
                    continue
                fan_in = max(parameter[0].numel(), 64)
                bound = np.float32(1 / np.sqrt(fan_in))
                values = ((2 * unit(key, parameter.numel()) - 1) * bound).astype(np.float32)
                parameter.copy_(torch.from_numpy(values.astype(np.float64)).view(parameter.shape))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        inputs, wanted = data()
        losses[name] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs).flatten(0, -2), wanted)
            losses[name].append(loss.item())
            loss.backward()
            optimizer.step()
    path = Path(__file__).parent / "agreement.json"
    path.write_text(json.dumps(losses, indent=1) + "\n")


main()
