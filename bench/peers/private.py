#!/usr/bin/env python3
"""CrypTen: two parties train on data and with weights that are shared secrets, so that neither sees them.

  venv/bin/python bench/peers/private.py --mnist data/mnist --batch 64 --batches 12

One party has the images, the other one the labels. Random triples come from CrypTen's default, a dealer who is trusted and costs nothing.
An epoch takes minutes: so a few batches are timed, behind one that warms up, and `seconds` is the median batch times the batches of an
epoch. Not timed: sharing the data. The test is made in the clear, with the weights after these batches. Prints one line of JSON.
"""

import logging
import os
import statistics
import sys
import time
import types

import torch
import torch.nn.functional as F
from task import arguments, make_layers, orders, read_images, read_labels, report, together
from torch import nn


def import_crypten():
    """CrypTen 0.4.1 without what reads models of other programs, which wants parts of PyTorch that are no longer there."""
    reader = types.ModuleType("crypten.nn.onnx_converter")
    reader.from_onnx = reader.from_pytorch = reader.from_tensorflow = None
    reader.TF_AND_TF2ONNX = False
    sys.modules[reader.__name__] = reader
    # It says that torchvision is not there. Nothing here needs that.
    logging.disable(logging.WARNING)
    import crypten

    return crypten


def process(rank, args, rendezvous):
    os.environ.update(DISTRIBUTED_BACKEND="gloo", RENDEZVOUS=f"file://{rendezvous}", WORLD_SIZE="2", RANK=str(rank))
    crypten = import_crypten()
    torch.set_num_threads(args.threads)
    crypten.init()
    layers, shared = make_layers(args), []
    for layer in layers:
        linear = layer[0] if isinstance(layer, nn.Sequential) else layer
        shared.append(crypten.nn.Linear(linear.in_features, linear.out_features))
        # What PyTorch's peers start from.
        for name, value in linear.named_parameters():
            shared[-1].set_parameter(name, nn.Parameter(value.detach().clone()))
        if linear is not layer:
            shared.append(crypten.nn.ReLU())
    model = crypten.nn.Sequential(*shared).encrypt()
    model.train()
    loss = crypten.nn.CrossEntropyLoss()
    images, labels = read_images(args.mnist, "train"), read_labels(args.mnist, "train")
    order = next(orders(len(images))).split(args.batch)
    seconds = []
    for index in order[: args.batches + 1]:
        inputs = crypten.cryptensor(images[index], src=0)
        targets = crypten.cryptensor(F.one_hot(labels[index], 10), src=1)
        start = time.perf_counter()
        model.zero_grad()
        loss(model(inputs), targets).backward()
        model.update_parameters(args.lr)
        seconds.append(time.perf_counter() - start)
    timed = seconds[1:]
    values = [value.get_plain_text() for value in model.parameters()]
    if rank == 0:
        trained = nn.Sequential(*layers)
        with torch.no_grad():
            for parameter, value in zip(trained.parameters(), values):
                parameter.copy_(value)
        report(args, [statistics.median(timed) * len(labels) / args.batch], trained, batches=len(timed), crypten=crypten.__version__)


def main():
    p = arguments(__doc__)
    p.add_argument("--batches", type=int, default=12, help="how many are timed")
    args = p.parse_args()
    together(process, args, 2)


if __name__ == "__main__":
    main()
