#!/usr/bin/env python3
"""PyTorch, the layers in processes of their own, one batch in flight: gloo, send and recv, without any protection.

  venv/bin/python bench/peers/layers.py --mnist data/mnist --batch 512

An owner process has data and loss; each Linear(+ReLU) layer has a process. Activations and gradients travel in the clear. The owner sends
the inputs of one batch ahead, as those do not depend on the weights. Times whole epochs, and prints one line of JSON.
"""

import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from task import arguments, epochs, make_layers, make_optimizer, orders, read_data, report, together
from torch import nn


def receive(rows, width, source):
    tensor = torch.empty(rows, width)
    dist.recv(tensor, source)
    return tensor


def owner_epoch(images, labels, batches, last):
    """The owner is rank 0. `last` is the rank of the last layer."""

    def send_inputs(index):
        # A tensor must outlive its send.
        inputs = images.index_select(0, index)
        return dist.isend(inputs, 1), inputs

    ahead = send_inputs(batches[0])
    for at, index in enumerate(batches):
        sending, ahead = ahead, send_inputs(batches[at + 1]) if at + 1 < len(batches) else None
        outputs = receive(len(index), 10, last).requires_grad_()
        F.cross_entropy(outputs, labels[index]).backward()
        dist.send(outputs.grad, last)
        sending[0].wait()


def layer_epoch(rank, last, layer, optimizer, sizes):
    """Rank r has the layer r - 1."""
    linear = layer if rank == last else layer[0]
    after = 0 if rank == last else rank + 1
    for rows in sizes:
        optimizer.zero_grad()
        x = receive(rows, linear.in_features, rank - 1).requires_grad_(rank > 1)
        y = layer(x)
        # A tensor must outlive its send.
        out = y.detach()
        sends = [dist.isend(out, after)]
        y.backward(receive(rows, linear.out_features, after))
        if rank > 1:
            sends.append(dist.isend(x.grad, rank - 1))
        optimizer.step()
        for request in sends:
            request.wait()


def process(rank, args, rendezvous):
    torch.set_num_threads(args.threads)
    layers = make_layers(args)
    last = len(layers)
    # Before init_process_group: the first optimizer imports modules that would otherwise keep the group (and its
    # threads) alive past destroy_process_group, and the process then aborts now and then at exit.
    optimizer = make_optimizer(args, layers[rank - 1]) if rank else None
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=last + 1)
    images, labels = read_data(args, "train") if rank == 0 else (None, None)
    count = torch.tensor([len(images) if rank == 0 else 0])
    dist.broadcast(count, 0)
    seconds = []
    for order, _ in zip(orders(count.item()), range(args.warmup + args.epochs)):
        batches = order.split(args.batch)
        dist.barrier()
        start = time.perf_counter()
        if rank == 0:
            owner_epoch(images, labels, batches, last)
        else:
            layer_epoch(rank, last, layers[rank - 1], optimizer, map(len, batches))
        dist.barrier()
        seconds.append(time.perf_counter() - start)
    # The trained layers come to the owner, who tests.
    for host, layer in enumerate(layers, 1):
        for parameter in layer.parameters():
            dist.broadcast(parameter.data, host)
    if rank == 0:
        report(args, seconds[args.warmup :], nn.Sequential(*layers), processes=last + 1)
    dist.destroy_process_group()


def main():
    p = arguments(__doc__)
    epochs(p)
    args = p.parse_args()
    together(process, args, len(args.hidden) + 2)


if __name__ == "__main__":
    main()
