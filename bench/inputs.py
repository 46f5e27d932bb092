"""What cases train on: MNIST, or for a quick try a small data set of its form, and the beginning of a text."""

import random
import struct
from pathlib import Path

from processes import ROOT, Failed, output

TEXT = ROOT / "jobs/moby-dick.txt"
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
# Samples to train on and to test on, and characters, of a quick try.
SMALL = (1280, 256, 8000)


def has_mnist(folder):
    return all((folder / name).exists() for name in FILES)


def fetch_mnist(mixnn, folder):
    """Brings MNIST to `folder`. Returns what is wrong, or nothing."""
    try:
        output([mixnn, "data", "fetch", "mnist", "--to", folder], 300)
    except Failed as error:
        return str(error)
    return None


def small_mnist(folder):
    """Writes ten patterns under noise to `folder`, as MNIST's four files. Returns the folder."""
    drawn = random.Random(1)
    patterns = [drawn.randbytes(784) for _ in range(10)]
    for (images, labels), count in zip((FILES[:2], FILES[2:]), SMALL[:2]):
        classes = [at % 10 for at in range(count)]
        drawn.shuffle(classes)
        (folder / labels).write_bytes(struct.pack(">II", 0x801, count) + bytes(classes))
        noisy = (bytes(p if n < 128 else n for p, n in zip(patterns[label], drawn.randbytes(784))) for label in classes)
        (folder / images).write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + b"".join(noisy))
    return folder


def beginnings(folder, quick):
    """Gives the file with so many characters of the text. Behind them stands every character of the whole once: jobs count on them."""
    whole = TEXT.read_text()

    def beginning(length):
        length = min(length, SMALL[2]) if quick else length
        path = Path(folder) / f"text-{length}.txt"
        if not path.exists():
            path.write_text(whole[:length] + "".join(sorted(set(whole))))
        return path

    return beginning
