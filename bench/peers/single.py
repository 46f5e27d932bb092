#!/usr/bin/env python3
"""PyTorch in one process: what a user runs today, on the CPU, or on a GPU (--device cuda).

  python3 -m venv venv && venv/bin/pip install -r bench/requirements.txt
  venv/bin/python bench/peers/single.py --mnist data/mnist --batch 64 --threads 2

Times whole epochs: indexing, forward, backward, optimizer. Not timed: start-up, reading the data, warm-up epochs, the test. Prints one line
of JSON.

Two-thread figures were seen to jump between 0.80 and 1.44 s (batch 64) on an otherwise idle virtual machine with two cores, even within one
run; the cause is not known. Repeat, alternate with what you compare to, and look at epoch_seconds.
"""

import copy
import time

import torch
import torch.nn.functional as F
from task import OPTIMIZERS, arguments, epochs, make_layers, make_optimizer, orders, read_data, report
from torch import nn


def train(model, optimizer, images, labels, batches):
    for index in batches:
        optimizer.zero_grad()
        # index_select takes half the time of images[index].
        outputs = model(images.index_select(0, index))
        F.cross_entropy(outputs.flatten(0, -2), labels[index].flatten()).backward()
        optimizer.step()


def settle(args):
    if args.device == "cuda":
        torch.cuda.synchronize()


def fastest_optimizer(args, model, images, labels):
    """Times torch's three implementations of SGD on copies of the model: in turn, best of three rounds each."""
    samples = 16 * args.batch if args.model == "transformer" else max(64 * args.batch, 8192)
    batches = torch.randperm(len(images))[:samples].to(args.device).split(args.batch)
    best = dict.fromkeys(OPTIMIZERS, float("inf"))
    for _ in range(3):
        for kind in OPTIMIZERS:
            trial = copy.deepcopy(model)
            start = time.perf_counter()
            train(trial, make_optimizer(args, trial, kind), images, labels, batches)
            settle(args)
            best[kind] = min(best[kind], time.perf_counter() - start)
    return min(best, key=best.get)


def main():
    p = arguments(__doc__)
    epochs(p)
    p.add_argument("--text", default="jobs/moby-dick.txt", metavar="FILE", help="of 80 different characters")
    p.add_argument("--model", choices=["mlp", "lenet", "transformer"], default="mlp")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    p.add_argument("--optimizer", choices=["auto", *OPTIMIZERS], default="auto", help="torch's implementation of SGD; auto: the fastest")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    # Products do not take TF32, so convolutions do not either.
    torch.backends.cudnn.allow_tf32 = False
    images, labels = (part.to(args.device) for part in read_data(args, "train"))
    model = nn.Sequential(*make_layers(args)).to(args.device)
    kind = args.optimizer if args.optimizer != "auto" else fastest_optimizer(args, model, images, labels)
    optimizer, seconds = make_optimizer(args, model, kind), []
    for order, _ in zip(orders(len(images)), range(args.warmup + args.epochs)):
        start = time.perf_counter()
        train(model, optimizer, images, labels, order.to(args.device).split(args.batch))
        settle(args)
        seconds.append(time.perf_counter() - start)
    report(args, seconds[args.warmup :], model, model=args.model, optimizer=kind,
           device=torch.cuda.get_device_name() if args.device == "cuda" else args.device)


if __name__ == "__main__":
    main()
