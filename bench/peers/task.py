"""The task that all peers train on, as mixnn has it: data, networks, plain SGD, and the line that says what came of it.

  mlp          784-256-128-10 unless --hidden says otherwise, ReLU.
  lenet        LeNet-5 with ReLU and max pooling, that of jobs/lenet-mnist.toml.
  transformer  embedding, one block (width 256, 4 heads, causal), linear layer: that of bench/transformer.toml. Its samples are
               the first four fifths of the sequences of 128 characters of --text, instead of MNIST.

All training samples of MNIST, shuffled once an epoch, the last partial batch kept, float32, scaled to 0..1 beforehand. Cross entropy. All
peers draw the same initial weights and the same order of samples, so that what they get right agrees up to rounding.
"""

import argparse
import json
import os
import statistics
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SEED = 1
CONTEXT = 128
OPTIMIZERS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def arguments(about):
    """A parser with what all peers take. `about` is the head of the script."""
    p = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mnist", default="data/mnist", metavar="DIR", help="the folder of the four unpacked IDX files")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--threads", type=int, default=1, help="of each process")
    p.add_argument("--hidden", type=lambda text: [int(n) for n in text.split(",")], default=[256, 128])
    p.add_argument("--lr", type=float, default=0.1)
    return p


def epochs(p):
    """Adds what peers take that train whole epochs."""
    p.add_argument("--epochs", type=int, default=2, help="timed epochs")
    p.add_argument("--warmup", type=int, default=1, help="epochs before those")


def read_idx(folder, name):
    raw = np.fromfile(os.path.join(folder, name), dtype=np.uint8)
    dims = raw[4 : 4 + 4 * raw[3]].view(">u4").astype(int)
    return torch.from_numpy(raw[4 + 4 * raw[3] :].reshape(dims))


def read_images(folder, part):
    """(samples, 784), of the part "train" or "t10k"."""
    images = read_idx(folder, f"{part}-images-idx3-ubyte")
    return images.reshape(len(images), -1).float() / 255


def read_labels(folder, part):
    """(samples,)"""
    return read_idx(folder, f"{part}-labels-idx1-ubyte").long()


def read_text(path):
    """Sequences of the text and what follows each of their characters: those to train on, and those to test on."""
    text = np.fromfile(path, dtype=np.uint8)
    tokens = torch.from_numpy(np.unique(text, return_inverse=True)[1].astype(np.int64))
    windows = (len(tokens) - 1) // CONTEXT
    inputs, labels = (tokens[at : at + windows * CONTEXT].view(windows, CONTEXT) for at in (0, 1))
    cut = windows - round(windows / 5)
    return (inputs[:cut], labels[:cut]), (inputs[cut:], labels[cut:])


def read_data(args, part):
    """Inputs and labels, of the part "train" or "t10k"."""
    model = getattr(args, "model", "mlp")
    if model == "transformer":
        return read_text(args.text)[0 if part == "train" else 1]
    images = read_images(args.mnist, part)
    return (images.view(-1, 1, 28, 28) if model == "lenet" else images), read_labels(args.mnist, part)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.take, self.give = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        rows, tokens, width = x.shape
        q, k, v = self.take(x).view(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.give(y.transpose(1, 2).reshape(rows, tokens, width))


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Position(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x):
        return x + self.weight


def make_layers(args):
    """The network as a list of layers, with the initial weights that all peers draw."""
    torch.manual_seed(SEED)
    model = getattr(args, "model", "mlp")
    if model == "lenet":
        return [
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        ]
    if model == "transformer":
        width = 256
        within = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        return [
            nn.Embedding(80, width), Position(CONTEXT, width), Residual(nn.LayerNorm(width), Attention(width, 4)),
            Residual(*within), nn.Linear(width, 80),
        ]
    sizes = [784, *args.hidden, 10]
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in zip(sizes, sizes[1:-1])]
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


def make_optimizer(args, model, kind="fused"):
    return torch.optim.SGD(model.parameters(), lr=args.lr, **OPTIMIZERS[kind])


def orders(samples):
    """The order of an epoch's samples, epoch after epoch."""
    generator = torch.Generator().manual_seed(SEED)
    while True:
        yield torch.randperm(samples, generator=generator)


def tested(args, model):
    """What share of the test samples the model gets right, and its mean loss there."""
    device = getattr(args, "device", "cpu")
    images, labels = (part.to(device) for part in read_data(args, "t10k"))
    right, loss = 0.0, 0.0
    with torch.no_grad():
        for x, y in zip(images.split(500), labels.split(500)):
            outputs = model(x)
            right += (outputs.argmax(-1) == y).float().mean().item() * len(y)
            loss += F.cross_entropy(outputs.flatten(0, -2), y.flatten()).item() * len(y)
    return right / len(labels), loss / len(labels)


def report(args, seconds, network, **more):
    """Prints the line: the seconds of an epoch (the median), those of each timed epoch, and what the test says after all of them."""
    right, loss = tested(args, network)
    print(json.dumps({
        "seconds": round(statistics.median(seconds), 4), "epoch_seconds": [round(s, 4) for s in seconds],
        "test_accuracy": round(right, 4), "test_loss": round(loss, 4), "batch": args.batch, "threads": args.threads,
        "torch": torch.__version__, **more,
    }), flush=True)


def together(rank, args, ranks):
    """Starts `ranks` processes, each of which calls `rank` with its number, `args` and a file by which they find each other."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank, (args, os.path.join(folder, "rendezvous")), nprocs=ranks)
