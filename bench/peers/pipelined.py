#!/usr/bin/env python3
"""PyTorch, the layers in processes of their own, pipelined: torch.distributed.pipelining over gloo, without any protection.

  venv/bin/python bench/peers/pipelined.py --mnist data/mnist --batch 512 --micro-batches 4

Each Linear(+ReLU) layer is a stage in a process. The first one has the images, the last one labels and loss, as that library wants it. Each
batch goes through in micro-batches, by the schedule GPipe or 1F1B. Times whole epochs, and prints one line of JSON.
"""

import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from task import arguments, epochs, make_layers, make_optimizer, orders, read_images, read_labels, report, together
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

SCHEDULES = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}


def make_schedule(args, layer, rank, ranks, rows):
    """The schedule of batches of so many rows. Its buffers have fixed shapes, so that a last partial batch needs a schedule of its own."""
    stage = PipelineStage(layer, rank, ranks, torch.device("cpu"))
    micro_batches = args.micro_batches if rows % args.micro_batches == 0 else 1
    return SCHEDULES[args.schedule](stage, micro_batches, loss_fn=F.cross_entropy)


def process(rank, args, rendezvous):
    torch.set_num_threads(args.threads)
    layers = make_layers(args)
    layer, last = layers[rank], len(layers) - 1
    # Before init_process_group, as in layers.py.
    optimizer = make_optimizer(args, layer)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=len(layers))
    labels = read_labels(args.mnist, "train")
    images = read_images(args.mnist, "train") if rank == 0 else None
    schedules, seconds = {}, []
    for order, _ in zip(orders(len(labels)), range(args.warmup + args.epochs)):
        dist.barrier()
        start = time.perf_counter()
        for index in order.split(args.batch):
            rows = len(index)
            if rows not in schedules:
                schedules[rows] = make_schedule(args, layer, rank, len(layers), rows)
            optimizer.zero_grad()
            if rank == 0:
                schedules[rows].step(images.index_select(0, index))
            elif rank == last:
                schedules[rows].step(target=labels[index])
            else:
                schedules[rows].step()
            optimizer.step()
        dist.barrier()
        seconds.append(time.perf_counter() - start)
    # The trained layers come to the first stage, which tests.
    for host, trained in enumerate(layers):
        for parameter in trained.parameters():
            dist.broadcast(parameter.data, host)
    if rank == 0:
        report(args, seconds[args.warmup :], nn.Sequential(*layers), processes=len(layers), schedule=args.schedule,
               micro_batches=args.micro_batches)
    dist.destroy_process_group()


def main():
    p = arguments(__doc__)
    epochs(p)
    p.add_argument("--micro-batches", type=int, default=4, help="of each batch")
    p.add_argument("--schedule", choices=SCHEDULES, default="gpipe")
    args = p.parse_args()
    together(process, args, len(args.hidden) + 1)


if __name__ == "__main__":
    main()
