"""What the choice of a library for AES-256-GCM is worth where AWS-LC has no AVX-512: a run with each."""

from .case import LAST, Case, training
from .table import Row, Table, spread

NAME = "aead"
# Hides AVX-512 from AWS-LC, and keeps the loops of the program from it.
HIDDEN = {"OPENSSL_ia32cap": ":~0xc0030000", "MIXNN_SIMD": "avx2"}
LIBRARIES = ("aws-lc", "ring", "auto")
MICRO_BATCHES = (16, 32)


def cases(setup):
    for micro_batch in MICRO_BATCHES:
        for library in LIBRARIES:
            sets = {"data.path": setup.mnist, "train.epochs": 2, "train.micro_batch": micro_batch, "compute.aead": library}
            yield Case(NAME, str(micro_batch), library, training(setup, "jobs/mnist-mlp.toml", sets, ranks=7), LAST, 9, ranks=7,
                       mnist=True, gigabytes=1.5, env=HIDDEN, instructions="AVX-512", same=f"aead-{micro_batch}")


def tables(results):
    rows = []
    for micro_batch in MICRO_BATCHES:
        names = [f"{NAME} {micro_batch} {library}" for library in LIBRARIES]
        if any(map(results.of, names)):
            worth = results.ratio(names[0], names[-1])
            rows.append(Row(str(micro_batch), [str(micro_batch), *(spread(results.spread(name)) for name in names)],
                            {"`aws-lc` by `auto`": worth.median} if worth else {}))
    yield Table(NAME, ["`train.micro_batch`: seconds of the second epoch", "`aws-lc`", "`ring`", "`auto`, which takes `ring`"], rows)
