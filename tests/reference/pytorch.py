#!/usr/bin/env python3
"""Writes a small network as PyTorch saves it, and what it makes of some images, as safetensors under pytorch/ beside this file.

`lenet.safetensors` is the state of a module with named parts, trained a little on noise; `outputs.safetensors` has images `x`
(7, 1, 8, 8), bytes of 0 to 16, and what comes out for x / 16, `y` (7, 10).

With --mixnn PROGRAM the network goes there and back: mixnn starts from lenet.safetensors, learns nothing (a rate of 1e-30), and
the model that it writes is loaded into PyTorch again, by order into the module and by name into an nn.Sequential. Both must give
`y`, to the bit. The files that are checked in were made so.

Needs torch and safetensors: python3 tests/reference/pytorch.py --mixnn target/release/mixnn
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent / "pytorch"


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        # Not in the order of forward, which a file does not keep.
        self.fc2 = nn.Linear(16, 10)
        self.fc1 = nn.Linear(32, 16)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def sequential():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10),
    )


JOB = """name = "lenet"
seed = 7
data = { source = "digits" }
train = { epochs = 1, batch = 32, micro_batch = 16, optimizer = { kind = "sgd", lr = 1e-30 } }
init = { from = "FROM" }
[[stage]]
ops = [{ op = "conv2d", out = 4, kernel = 3, padding = 1 }, { op = "relu" }, { op = "max_pool", kernel = 2 }]
[[stage]]
ops = [{ op = "conv2d", out = 8, kernel = 3, padding = 1 }, { op = "relu" }, { op = "max_pool", kernel = 2 }]
[[stage]]
ops = [{ op = "flatten" }, { op = "linear", out = 16 }, { op = "relu" }]
[[stage]]
ops = [{ op = "linear", out = 10 }]
"""


def there_and_back(program, state, x, y):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "job.toml").write_text(JOB.replace("FROM", str(state.resolve())))
        subprocess.run([program, "run", folder / "job.toml", "--single", "--out", folder / "run"], check=True)
        trained = load_file(folder / "run" / "model.safetensors")
    named = sequential()
    named.load_state_dict(trained)
    assert torch.equal(named(x), y), "by name"
    # In order: the operations' numbers, and the module's parts in the order of its forward.
    parts = dict(zip(["conv1", "conv2", "fc1", "fc2"], sorted({int(name.split(".")[0]) for name in trained})))
    ordered = LeNet()
    ordered.load_state_dict({name: trained[f"{parts[name.split('.')[0]]}.{name.split('.')[1]}"]
                             for name in ordered.state_dict()})
    assert torch.equal(ordered(x), y), "in order"
    print("there and back: the same outputs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mixnn", type=Path, help="the program, to take the network there and back")
    program = parser.parse_args().mixnn
    torch.manual_seed(7)
    torch.set_num_threads(1)
    net = LeNet()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(net(torch.rand(32, 1, 8, 8)), torch.randint(10, (32,))).backward()
        optimizer.step()
    HERE.mkdir(exist_ok=True)
    save_file(net.state_dict(), HERE / "lenet.safetensors")
    images = torch.randint(17, (7, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        x = images.float() / 16
        y = net(x)
        save_file({"x": images, "y": y}, HERE / "outputs.safetensors")
        if program:
            there_and_back(program.resolve(), HERE / "lenet.safetensors", x, y)


if __name__ == "__main__":
    main()
