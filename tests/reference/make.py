#!/usr/bin/env python3
"""Writes what PyTorch makes of each operation, forward and backward, as safetensors beside this file.

Everything is computed in f64, where `gradcheck` holds PyTorch's gradients against central differences first, and
written as f32. A file has the operations as a job writes them (metadata `ops`), what goes in and comes out (`x`, `y`), the
gradient of each (`dx`, `dy`), what comes out in evaluation afterwards (`e`), and of each parameter the value before
(`before.0.weight`), the gradient (`gradient.0.weight`) and, of running values, the value after (`after.0.running_mean`).

Needs torch, numpy and safetensors: python3 tests/reference/make.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Position(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(shape))

    def forward(self, x):
        return x + self.weight


class Embedding(nn.Embedding):
    def forward(self, x):
        # Whole numbers have no gradient; PyTorch is to give zeros.
        return super().forward(x.long()) + 0 * x.unsqueeze(-1)


class Attention(nn.MultiheadAttention):
    """Of a sequence to itself; with `rotary`, after GPT-NeoX, by the formula."""

    def __init__(self, width, heads, causal=False, rotary=False, bias=True):
        super().__init__(width, heads, bias=bias, batch_first=True)
        self.causal, self.rotary = causal, rotary

    def forward(self, x):
        rows, tokens, width = x.shape
        hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1) if self.causal else None
        if not self.rotary:
            return super().forward(x, x, x, attn_mask=hidden, need_weights=False)[0]
        mapped = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = mapped.view(rows, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        rates = 10000.0 ** (-torch.arange(0, self.head_dim, 2) / self.head_dim)
        angles = torch.outer(torch.arange(tokens).double(), rates).repeat(1, 2)

        def turned(x):
            left, right = x.chunk(2, dim=-1)
            return x * angles.cos() + torch.cat((-right, left), dim=-1) * angles.sin()

        gathered = nn.functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=self.causal)
        return self.out_proj(gathered.transpose(1, 2).reshape(rows, tokens, width))


def block(channels):
    return Residual(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
    )


BLOCK = """{ op = "residual", ops = [{ op = "conv2d", out = 4, kernel = 3, padding = 1, bias = false }, \
{ op = "batch_norm" }, { op = "relu" }, { op = "conv2d", out = 4, kernel = 3, padding = 1, bias = false }, \
{ op = "batch_norm" }] }"""

# name, operations, the shape of a sample, PyTorch's modules
CASES = [
    ("linear", '{ op = "linear", out = 5 }', (7,), [nn.Linear(7, 5)]),
    ("linear-plain", '{ op = "linear", out = 5, bias = false }', (7,), [nn.Linear(7, 5, bias=False)]),
    ("linear-tokens", '{ op = "linear", out = 5 }', (4, 6), [nn.Linear(6, 5)]),
    ("linear-image", '{ op = "linear", out = 5 }', (2, 3, 3), [nn.Flatten(), nn.Linear(18, 5)]),
    ("relu", '{ op = "relu" }', (3, 5), [nn.ReLU()]),
    ("leaky_relu", '{ op = "leaky_relu" }', (15,), [nn.LeakyReLU()]),
    ("leaky_relu-slope", '{ op = "leaky_relu", negative_slope = 0.2 }', (15,), [nn.LeakyReLU(0.2)]),
    ("tanh", '{ op = "tanh" }', (40,), [nn.Tanh()]),
    ("sigmoid", '{ op = "sigmoid" }', (40,), [nn.Sigmoid()]),
    ("gelu", '{ op = "gelu" }', (40,), [nn.GELU()]),
    ("gelu-tanh", '{ op = "gelu", approximate = "tanh" }', (40,), [nn.GELU(approximate="tanh")]),
    ("silu", '{ op = "silu" }', (40,), [nn.SiLU()]),
    ("softmax", '{ op = "softmax" }', (3, 7), [nn.Softmax(dim=-1)]),
    ("flatten", '{ op = "flatten" }', (2, 3, 4), [nn.Flatten()]),
    ("reshape", '{ op = "reshape", shape = [2, 3, 2] }', (12,), [nn.Unflatten(1, (2, 3, 2))]),
    ("conv2d", '{ op = "conv2d", out = 4, kernel = 3 }', (2, 6, 5), [nn.Conv2d(2, 4, 3)]),
    ("conv2d-strided", '{ op = "conv2d", out = 6, kernel = [3, 2], stride = [2, 1], padding = [1, 0], groups = 2 }',
     (4, 7, 6), [nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2)]),
    ("conv2d-depthwise", '{ op = "conv2d", out = 3, kernel = 3, stride = 2, padding = 1, groups = 3, bias = false }',
     (3, 6, 6), [nn.Conv2d(3, 3, 3, 2, 1, groups=3, bias=False)]),
    ("conv2d-point", '{ op = "conv2d", out = 5, kernel = 1 }', (3, 4, 4), [nn.Conv2d(3, 5, 1)]),
    ("max_pool", '{ op = "max_pool", kernel = 2 }', (3, 5, 6), [nn.MaxPool2d(2)]),
    ("max_pool-overlapping", '{ op = "max_pool", kernel = [3, 2], stride = [2, 1], padding = [1, 1] }', (2, 6, 5),
     [nn.MaxPool2d((3, 2), (2, 1), (1, 1))]),
    ("avg_pool", '{ op = "avg_pool", kernel = 2 }', (3, 5, 6), [nn.AvgPool2d(2)]),
    ("avg_pool-overlapping", '{ op = "avg_pool", kernel = 3, stride = 2, padding = 1 }', (2, 6, 5),
     [nn.AvgPool2d(3, 2, 1)]),
    ("global_avg_pool", '{ op = "global_avg_pool" }', (3, 5, 4), [nn.AdaptiveAvgPool2d(1)]),
    ("layer_norm", '{ op = "layer_norm" }', (20,), [nn.LayerNorm(20)]),
    ("layer_norm-tokens", '{ op = "layer_norm", eps = 0.001 }', (3, 18), [nn.LayerNorm(18, eps=0.001)]),
    ("layer_norm-image", '{ op = "layer_norm" }', (2, 3, 4), [nn.LayerNorm((2, 3, 4))]),
    ("layer_norm-plain", '{ op = "layer_norm", affine = false }', (20,), [nn.LayerNorm(20, elementwise_affine=False)]),
    ("rms_norm", '{ op = "rms_norm", eps = 1e-6 }', (3, 18), [nn.RMSNorm(18, eps=1e-6)]),
    ("batch_norm", '{ op = "batch_norm" }', (3, 4, 5), [nn.BatchNorm2d(3)]),
    ("batch_norm-vector", '{ op = "batch_norm", momentum = 0.3, eps = 0.01 }', (6,),
     [nn.BatchNorm1d(6, momentum=0.3, eps=0.01)]),
    ("batch_norm-plain", '{ op = "batch_norm", affine = false }', (3, 4, 5), [nn.BatchNorm2d(3, affine=False)]),
    ("group_norm", '{ op = "group_norm", groups = 2 }', (4, 3, 3), [nn.GroupNorm(2, 4)]),
    ("group_norm-vector", '{ op = "group_norm", groups = 3 }', (12,), [nn.GroupNorm(3, 12)]),
    ("residual", BLOCK, (4, 5, 5), [block(4)]),
    ("residual-within", '{ op = "residual", ops = [{ op = "layer_norm" }, { op = "residual", ops = [{ op = "linear", '
     'out = 6 }, { op = "gelu" }] }, { op = "linear", out = 6 }] }', (3, 6),
     [Residual(nn.LayerNorm(6), Residual(nn.Linear(6, 6), nn.GELU()), nn.Linear(6, 6))]),
    ("position", '{ op = "position" }', (3, 4), [Position(3, 4)]),
    ("attention", '{ op = "attention", heads = 1 }', (7, 6), [Attention(6, 1)]),
    ("attention-heads", '{ op = "attention", heads = 4, bias = false }', (5, 12), [Attention(12, 4, bias=False)]),
    ("attention-causal", '{ op = "attention", heads = 4, causal = true }', (7, 12), [Attention(12, 4, causal=True)]),
    ("attention-rotary", '{ op = "attention", heads = 1, rotary = true, bias = false }', (7, 6),
     [Attention(6, 1, rotary=True, bias=False)]),
    ("attention-rotary-causal", '{ op = "attention", heads = 4, causal = true, rotary = true }', (9, 16),
     [Attention(16, 4, causal=True, rotary=True)]),
    # More tokens than are worked out at once.
    ("attention-long", '{ op = "attention", heads = 2, causal = true, rotary = true }', (131, 4),
     [Attention(4, 2, causal=True, rotary=True)]),
    ("attention-long-full", '{ op = "attention", heads = 2 }', (67, 4), [Attention(4, 2)]),
    ("embedding", '{ op = "embedding", vocabulary = 6, width = 4 }', (7,), [Embedding(6, 4)]),
    ("network", '{ op = "conv2d", out = 4, kernel = 3, padding = 1 }, { op = "tanh" }, { op = "max_pool", kernel = 2 }, '
     + BLOCK + ', { op = "silu" }, { op = "global_avg_pool" }, { op = "flatten" }, { op = "linear", out = 3 }',
     (1, 8, 8), [nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), block(4), nn.SiLU(),
                 nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]),
]


def main():
    folder = Path(__file__).parent
    for old in folder.glob("*.safetensors"):
        old.unlink()
    torch.set_default_dtype(torch.float64)
    for name, ops, shape, modules in CASES:
        torch.manual_seed(7)
        # What PyTorch makes in f32 and we are given is the same in f64.
        network = nn.Sequential(*modules).double()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_((parameter + 0.2 * torch.randn_like(parameter)).float())
        x = (1.5 * torch.randn(5, *shape)).float().double()
        if name == "embedding":
            x = torch.randint(0, modules[0].num_embeddings, x.shape).double()
        x.requires_grad_()
        network.eval()
        # Between whole numbers an embedding has steps, which central differences would cross.
        if name != "embedding":
            assert torch.autograd.gradcheck(network, (x.detach()[:2].requires_grad_(),)), name
        network.train()
        tensors = {"x": x}
        running = {k: v for k, v in network.named_buffers() if "running" in k}
        # A file names modules as the job counts operations; `linear-image` flattens on its own.
        rename = (lambda k: k.replace("1.", "0.", 1)) if name == "linear-image" else (lambda k: k)
        for k, v in [*network.named_parameters(), *running.items()]:
            tensors["before." + rename(k)] = v.clone()
        y = network(x)
        dy = torch.randn_like(y).float().double()
        y.backward(dy)
        tensors |= {"y": y, "dy": dy, "dx": x.grad}
        for k, v in network.named_parameters():
            tensors["gradient." + rename(k)] = v.grad
        for k, v in network.named_buffers():
            if "running" in k:
                tensors["after." + rename(k)] = v
        network.eval()
        tensors["e"] = network(x)
        tensors = {k: v.detach().float().contiguous() for k, v in tensors.items()}
        save_file(tensors, folder / f"{name}.safetensors", {"ops": ops})


main()
