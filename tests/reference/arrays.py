#!/usr/bin/env python3
"""Writes what NumPy and safetensors make of small arrays into the folder `arrays` beside this file.

Four samples (1, 2, 3) of the bytes 0 to 23 and the labels 2, 0, 1, 2. Needs numpy and safetensors:
python3 tests/reference/arrays.py
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

folder = Path(__file__).parent / "arrays"
folder.mkdir(exist_ok=True)
inputs = np.arange(24, dtype=np.uint8).reshape(4, 1, 2, 3)
labels = np.array([2, 0, 1, 2])
np.save(folder / "tokens.npy", inputs.astype(np.uint16).reshape(-1) * 3)
np.save(folder / "big-endian.npy", (inputs / 4).astype(">f4"))
np.save(folder / "columns.npy", np.asfortranarray(inputs[:, 0]))
np.savez(folder / "stored.npz", inputs=inputs, labels=labels)
np.savez_compressed(folder / "packed.npz", inputs=(inputs / 4).astype(np.float16), labels=labels.astype(np.int8))
save_file({"inputs": inputs / 4, "labels": labels}, folder / "doubles.safetensors")
