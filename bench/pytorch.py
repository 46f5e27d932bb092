#!/usr/bin/env python3
"""What the same training costs in PyTorch on the CPU, or on a GPU (--device cuda), without mixnn and without any protection.

Trains a network (cross entropy, SGD) on all 60,000 MNIST training images, shuffled once an epoch, last partial batch kept,
and times whole epochs: indexing, forward, backward, optimizer. Not timed: start-up, reading the data (float32, scaled to 0..1
beforehand), warm-up epochs, the test. --model says which:

  mlp          784-256-128-10 unless --hidden says otherwise, ReLU.
  lenet        LeNet-5 with ReLU and max pooling, that of jobs/lenet-mnist.toml.
  transformer  embedding, one block (width 256, 4 heads, causal), linear layer: that of bench/transformer.toml. Its samples are
               the first four fifths of the sequences of 128 characters of --text, instead of MNIST.

  single   one process, --threads threads: what a user runs today.
  split    an owner process (data, loss) and one process for each Linear(+ReLU) layer, --threads threads each
           (default 1); activations and gradients travel in the clear with torch.distributed (gloo) send/recv.
           --micro-batch cuts each batch into micro-batches, all sent before the first gradient is used (GPipe).
           The owner sends the inputs of one batch ahead, as those do not depend on the weights.

Both modes draw the same initial weights and the same order of samples, so accuracies agree up to rounding.

  python3 -m venv venv && venv/bin/pip install -r bench/requirements.txt
  venv/bin/python bench/pytorch.py --mnist DIR --mode single --batch 64 --threads 2
  venv/bin/python bench/pytorch.py --mnist DIR --mode split --batch 512

DIR holds the four unpacked IDX files. Prints one JSON line on stdout; test_accuracy is that after all epochs_trained
epochs, warm-up included.

Two-thread figures were seen to jump between 0.80 and 1.44 s (batch 64) on an otherwise idle 2-CPU virtual machine,
even within one run; the cause is not known. Repeat, alternate with what you compare to, and look at epoch_seconds.
With 4 processes on 2 CPUs smaller micro-batches (512: 256, 128; 64: 32) were never faster than the whole batch.
"""
import argparse
import copy
import json
import os
import statistics
import tempfile
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

SEED = 1
CONTEXT = 128
OPTIMIZERS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def read_idx(folder, name):
    raw = np.fromfile(os.path.join(folder, name), dtype=np.uint8)
    dims = raw[4 : 4 + 4 * raw[3]].view(">u4").astype(int)
    return torch.from_numpy(raw[4 + 4 * raw[3] :].reshape(dims))


def read_set(folder, prefix):
    images = read_idx(folder, f"{prefix}-images-idx3-ubyte")
    labels = read_idx(folder, f"{prefix}-labels-idx1-ubyte")
    return images.reshape(len(images), -1).float() / 255, labels.long()


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


def read_text(args):
    text = np.fromfile(args.text, dtype=np.uint8)
    tokens = torch.from_numpy(np.unique(text, return_inverse=True)[1].astype(np.int64))
    windows = (len(tokens) - 1) // CONTEXT
    inputs, labels = (tokens[at : at + windows * CONTEXT].view(windows, CONTEXT) for at in (0, 1))
    cut = windows - round(windows / 5)
    return (inputs[:cut], labels[:cut]), (inputs[cut:], labels[cut:])


def read_data(args, part):
    if args.model == "transformer":
        return read_text(args)[0 if part == "train" else 1]
    images, labels = read_set(args.mnist, part)
    return (images.view(-1, 1, 28, 28) if args.model == "lenet" else images), labels


def make_layers(args):
    torch.manual_seed(SEED)
    if args.model == "lenet":
        return [
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        ]
    if args.model == "transformer":
        width = 256
        within = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        return [
            nn.Embedding(80, width), Position(CONTEXT, width), Residual(nn.LayerNorm(width), Attention(width, 4)),
            Residual(*within), nn.Linear(width, 80),
        ]
    sizes = [784, *args.hidden, 10]
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in zip(sizes, sizes[1:-1])]
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


def make_optimizer(args, model, kind):
    return torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum, **OPTIMIZERS[kind])


def accuracy(args, model):
    images, labels = (part.to(args.device) for part in read_data(args, "t10k"))
    with torch.no_grad():
        right = [(model(x).argmax(-1) == y).float().mean().item() * len(y) for x, y in zip(images.split(500), labels.split(500))]
    return sum(right) / len(labels)


def report(args, seconds, correct, optimizer, samples):
    median = statistics.median(seconds)
    print(json.dumps({
        "mode": args.mode, "batch": args.batch, "micro_batch": args.micro_batch, "threads": args.threads,
        "epoch_seconds": [round(s, 4) for s in seconds], "median_seconds": round(median, 4),
        "samples_per_second": round(samples / median), "test_accuracy": round(correct, 4),
        "epochs_trained": args.warmup + args.epochs, "model": args.model, "hidden": args.hidden, "momentum": args.momentum,
        "optimizer": optimizer, "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else args.device,
    }), flush=True)


# ---- single: one process ----

def train(model, optimizer, images, labels, batches):  # index_select: half the time of images[index]
    for index in batches:
        optimizer.zero_grad()
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


def single(args):
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.allow_tf32 = False  # as products are
    images, labels = (part.to(args.device) for part in read_data(args, "train"))
    model = nn.Sequential(*make_layers(args)).to(args.device)
    kind = args.optimizer if args.optimizer != "auto" else fastest_optimizer(args, model, images, labels)
    optimizer = make_optimizer(args, model, kind)
    order = torch.Generator().manual_seed(SEED)
    seconds = []
    for _ in range(args.warmup + args.epochs):
        start = time.perf_counter()
        train(model, optimizer, images, labels, torch.randperm(len(images), generator=order).to(args.device).split(args.batch))
        settle(args)
        seconds.append(time.perf_counter() - start)
    report(args, seconds[args.warmup :], accuracy(args, model), kind, len(images))


# ---- split: rank 0 is the owner, rank r hosts layer r ----

def micro_sizes(args, samples):
    """For each batch of an epoch, the sizes of its micro-batches. Every rank derives the same schedule."""
    chop = lambda n, size: [min(size, n - at) for at in range(0, n, size)]
    return [chop(batch, args.micro_batch) for batch in chop(samples, args.batch)]


def recv_ahead(sizes, width, source):
    """Posts the receives of all micro-batches at once; yields the tensors in order as they arrive."""
    tensors = [torch.empty(n, width) for n in sizes]
    requests = [dist.irecv(tensor, source) for tensor in tensors]
    for tensor, request in zip(tensors, requests):
        request.wait()
        yield tensor


def wait_all(requests):
    for request in requests:
        request.wait()


def owner_epoch(images, labels, order, schedule, last):
    def send_inputs(index, sizes):
        inputs = images.index_select(0, index).split(sizes)
        return [(dist.isend(x, 1), x) for x in inputs]  # a tensor must outlive its send

    batches = list(zip(order.split([sum(sizes) for sizes in schedule]), schedule))
    ahead = send_inputs(*batches[0])
    for at, (index, sizes) in enumerate(batches):
        inputs, ahead = ahead, send_inputs(*batches[at + 1]) if at + 1 < len(batches) else []
        sends, gradients = [], []
        for logits, target in zip(recv_ahead(sizes, 10, last), labels[index].split(sizes)):
            logits.requires_grad_()
            (F.cross_entropy(logits, target, reduction="sum") / len(index)).backward()
            gradients.append(logits.grad)
            sends.append(dist.isend(logits.grad, last))
        wait_all([request for request, _ in inputs] + sends)


def stage_epoch(rank, last, layer, optimizer, schedule):
    linear = layer if rank == last else layer[0]
    after = 0 if rank == last else rank + 1
    for sizes in schedule:
        sends, saved = [], []
        optimizer.zero_grad()
        for x in recv_ahead(sizes, linear.in_features, rank - 1):
            y = layer(x.requires_grad_(rank > 1))
            saved.append((x, y))
            sends.append(dist.isend(y.detach(), after))
        for (x, y), gradient in zip(saved, recv_ahead(sizes, linear.out_features, after)):
            y.backward(gradient)
            if rank > 1:
                sends.append(dist.isend(x.grad, rank - 1))
        optimizer.step()
        wait_all(sends)


def split_rank(rank, args, rendezvous):
    torch.set_num_threads(args.threads)
    layers = make_layers(args)
    last = len(layers)
    # Before init_process_group: the first optimizer imports modules that would otherwise keep the group (and its
    # threads) alive past destroy_process_group, and the process then aborts now and then at exit.
    optimizer = make_optimizer(args, layers[rank - 1], args.optimizer) if rank else None
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=last + 1)
    if rank == 0:
        images, labels = read_set(args.mnist, "train")
    count = torch.tensor([len(images) if rank == 0 else 0])
    dist.broadcast(count, 0)
    schedule = micro_sizes(args, count.item())
    order = torch.Generator().manual_seed(SEED)
    seconds = []
    for _ in range(args.warmup + args.epochs):
        dist.barrier()
        start = time.perf_counter()
        if rank == 0:
            owner_epoch(images, labels, torch.randperm(len(images), generator=order), schedule, last)
        else:
            stage_epoch(rank, last, layers[rank - 1], optimizer, schedule)
        dist.barrier()
        seconds.append(time.perf_counter() - start)
    for host, layer in enumerate(layers, 1):  # the trained layers come to the owner, who tests
        for parameter in layer.parameters():
            dist.broadcast(parameter.data, host)
    if rank == 0:
        report(args, seconds[args.warmup :], accuracy(args, nn.Sequential(*layers)), args.optimizer, len(images))
    dist.destroy_process_group()


def split(args):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        where = os.path.join(folder, "rendezvous")
        torch.multiprocessing.spawn(split_rank, (args, where), nprocs=len(args.hidden) + 2)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mnist", default="data/mnist", metavar="DIR")
    p.add_argument("--text", default="jobs/moby-dick.txt", metavar="FILE", help="of 80 different characters")
    p.add_argument("--model", choices=["mlp", "lenet", "transformer"], default="mlp")
    p.add_argument("--mode", choices=["single", "split"], default="single")
    p.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: single only")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--micro-batch", type=int, help="split only; default: the whole batch")
    p.add_argument("--threads", type=int, help="per process; default: 2 for single, 1 for split")
    p.add_argument("--epochs", type=int, default=3, help="timed epochs")
    p.add_argument("--warmup", type=int, default=1, help="epochs before those")
    p.add_argument("--hidden", type=lambda text: [int(n) for n in text.split(",")], default=[256, 128])
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--momentum", type=float, default=0.0)
    p.add_argument("--optimizer", choices=["auto", *OPTIMIZERS], default="auto",
                   help="torch's implementation of SGD; auto: the fastest (single), fused (split)")
    args = p.parse_args()
    if args.mode == "single" and args.micro_batch not in (None, args.batch):
        p.error("--micro-batch is for --mode split")
    if args.mode == "split" and (args.model != "mlp" or args.device != "cpu"):
        p.error("--mode split is for --model mlp, on the CPU")
    args.micro_batch = args.micro_batch or args.batch
    args.threads = args.threads or (2 if args.mode == "single" else 1)
    if args.mode == "split" and args.optimizer == "auto":
        args.optimizer = "fused"
    {"single": single, "split": split}[args.mode](args)


if __name__ == "__main__":
    main()
