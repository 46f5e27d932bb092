#!/usr/bin/env python3
"""Writes what PyTorch's optimizers make of a layer in ten steps, as safetensors under optimizers/ beside this file.

A linear layer (5 -> 3) gets the same input and the same gradient of its output in a step as tests/optimizers.rs gives it;
all in f64, written as f32. A file has the keys of [train] as a job writes them (metadata `train`), the parameters `before` and
after each step (`after`, (10, 18)), weight before bias, the inputs `x` (10, 4, 5), the gradients `dy` (10, 4, 3) and the
`rate`.

Needs torch, numpy and safetensors: python3 tests/reference/optimizers.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn, optim

STEPS = 10


def norm(most):
    return lambda parameters: nn.utils.clip_grad_norm_(parameters, most)


def value(most):
    return lambda parameters: nn.utils.clip_grad_value_(parameters, most)


CASES = {
    "sgd": ('optimizer = { kind = "sgd", lr = 0.1 }', lambda p: optim.SGD(p, 0.1), None),
    "sgd-momentum": ('optimizer = { kind = "sgd", lr = 0.1, momentum = 0.9 }', lambda p: optim.SGD(p, 0.1, 0.9), None),
    "sgd-nesterov": ('optimizer = { kind = "sgd", lr = 0.05, momentum = 0.9, nesterov = true, weight_decay = 0.02 }',
                     lambda p: optim.SGD(p, 0.05, 0.9, nesterov=True, weight_decay=0.02), None),
    "sgd-decay": ('optimizer = { kind = "sgd", lr = 0.1, weight_decay = 0.1 }',
                  lambda p: optim.SGD(p, 0.1, weight_decay=0.1), None),
    "adam": ('optimizer = { kind = "adam", lr = 0.01 }', lambda p: optim.Adam(p, 0.01), None),
    "adam-decay": ('optimizer = { kind = "adam", lr = 0.02, betas = [0.8, 0.99], eps = 1e-4, weight_decay = 0.1 }',
                   lambda p: optim.Adam(p, 0.02, (0.8, 0.99), 1e-4, 0.1), None),
    "adamw": ('optimizer = { kind = "adamw", lr = 0.02 }', lambda p: optim.AdamW(p, 0.02), None),
    "adamw-decay": ('optimizer = { kind = "adamw", lr = 0.02, weight_decay = 0.3 }',
                    lambda p: optim.AdamW(p, 0.02, weight_decay=0.3), None),
    "clip-norm": ('optimizer = { kind = "sgd", lr = 0.1, momentum = 0.5 }\nclip = { norm = 8.0 }',
                  lambda p: optim.SGD(p, 0.1, 0.5), norm(8.0)),
    "clip-value": ('optimizer = { kind = "adam", lr = 0.01 }\nclip = { value = 0.7 }',
                   lambda p: optim.Adam(p, 0.01), value(0.7)),
}


def main():
    folder = Path(__file__).parent / "optimizers"
    folder.mkdir(exist_ok=True)
    for name, (train, optimizer, clip) in CASES.items():
        torch.manual_seed(7)
        layer = nn.Linear(5, 3).double()
        x, dy = (torch.randn(STEPS, 4, n).float() for n in (5, 3))
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(parameter.float())

        def flat():
            return torch.cat([parameter.detach().flatten() for parameter in layer.parameters()]).float()

        tensors = {"before": flat(), "x": x, "dy": dy}
        following = optimizer(layer.parameters())
        after, norms = [], []
        for step in range(STEPS):
            following.zero_grad()
            layer(x[step].double()).backward(dy[step].double())
            norms.append(torch.cat([p.grad.flatten() for p in layer.parameters()]).norm().item())
            if clip:
                clip(list(layer.parameters()))
            following.step()
            after.append(flat())
        tensors["after"] = torch.stack(after)
        rate = torch.tensor([following.param_groups[0]["lr"]])
        save_file({**tensors, "rate": rate.float()}, folder / f"{name}.safetensors", {"train": train})
        print(name, f"norms {min(norms):.1f} to {max(norms):.1f}")


if __name__ == "__main__":
    main()
