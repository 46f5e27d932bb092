"""What `mixnn bench` measures by itself: cells, matrix products, slots over more and more ranks, a job over hops, relays and paces."""

from kept import Spread

from .case import Case, bench, rows
from .table import Row, Table, number, percent, ratio

CRYPTO, GEMM, SCALE, TRAIN = "crypto", "gemm", "scale", "train"
CELLS = (1024, 5808, 16384, 65536)
# Hides AVX-512, and what came with it, from AWS-LC.
HIDDEN = {"OPENSSL_ia32cap": "~0x0:~0xd0230000"}
LIBRARIES = {"aws-lc": "AWS-LC", "ring": "`ring`", "rust": "`aes-gcm`"}
# The most ranks that a slot is measured on.
MOST = 12


def cases(setup):
    rounds = ("--rounds", 1 if setup.quick else 3)
    cells = ("--cells", ",".join(map(str, CELLS)))
    yield Case(CRYPTO, "all", "bench", bench(setup, "crypto", *cells, *rounds), rows, 5)
    yield Case(CRYPTO, "hidden", "bench", bench(setup, "crypto", *cells, *rounds), rows, 5, env=HIDDEN, instructions="AVX-512")
    yield Case(GEMM, "mlp", "bench", bench(setup, "gemm", "jobs/mnist-mlp.toml", "--set", f"data.path={setup.mnist}", *rounds), rows, 3,
               mnist=True)
    yield Case(GEMM, "squares", "bench", bench(setup, "gemm", *rounds), rows, 3)
    slots = ("--slots", 20) if setup.quick else ()
    yield Case(SCALE, "ranks", "bench", bench(setup, "scale", "--ranks", "6,7,8,10,12", *slots, *rounds, ranks=MOST), rows, 12, ranks=MOST)
    words = ("jobs/digits.toml", "--profiles", "mixed", "--hops", "3,4", "--relays", "3,5", "--pace", "lockstep,auto", *rounds)
    yield Case(TRAIN, "digits", "bench", bench(setup, "train", *words, ranks=9), rows, 10, ranks=9)


def _grouped(results, name, keys):
    """The rows of all rounds of a case, by the values of `keys`, in the order of the first round."""
    found = {}
    for measured in results.of(name):
        for row in measured["rows"]:
            found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _median(found, key):
    spread = Spread.of(row[key] for row in found if row[key] is not None)
    return spread.median if spread else None


def tables(results):
    yield from (_crypto(results), _gemm(results), _scale(results), _train(results))


def _crypto(results):
    lines = []
    for case, which, words in (("all", list(LIBRARIES), ""), ("hidden", ["aws-lc"], ", from which AVX-512 is hidden")):
        found = _grouped(results, f"{CRYPTO} {case} bench", ("library", "part", "cell_bytes"))
        for library in which:
            for part in ("seal", "open"):
                rows = {cell: found[library, part, cell] for cell in CELLS if (library, part, cell) in found}
                if rows:
                    cells = [number(_median(rows[cell], "gb_per_s")) if cell in rows else "" for cell in CELLS]
                    scores = {f"cells of {cell}: of the fastest": _median(rows[cell], "of_aes_percent") for cell in rows}
                    lines.append(Row(f"{case} {library} {part}", [f"{LIBRARIES[library]}{words}", part, *cells], scores))
    return Table(CRYPTO, ["GB/s of one core", "", *(f"cells of {cell} bytes" for cell in CELLS)], lines)


def _gemm(results):
    lines = []
    for case in ("mlp", "squares"):
        products = _grouped(results, f"{GEMM} {case} bench", ("stage", "product", "m", "n", "k"))
        for (stage, product, m, n, k), found in products.items():
            rate, of_core = _median(found, "gflop_per_s"), _median(found, "of_core_percent")
            label = f"mnist-mlp, stage {stage}" if stage else "square"
            lines.append(Row(f"{label} {product} {m}x{n}x{k}",
                             [label, product, f"{m} x {n} x {k}", number(rate), percent(of_core)],
                             {"of what one core can do": of_core} if of_core else {}))
    return Table(GEMM, ["products", "", "rows x columns x depth", "GFLOP/s", "of what one core does with 1024 x 1024"], lines)


def _scale(results):
    lines = []
    keys = ("scaling", "ranks", "message_bytes", "cell_bytes")
    for (scaling, ranks, message, cell), found in _grouped(results, f"{SCALE} ranks bench", keys).items():
        best = _median(found, "of_best_percent")
        cells = [scaling, str(ranks), str(message), str(cell), f"{_median(found, 'avg_us'):.0f}", number(_median(found, "to_first"))]
        lines.append(Row(f"{scaling} {ranks}", [*cells, percent(best)], {"of what cores can do": best} if best else {}))
    titles = ["scaling", "ranks", "a message, bytes", "a cell, bytes", "a slot, us", "to the first", "of what cores can do at best"]
    return Table(SCALE, titles, sorted(lines, key=lambda row: row.cells[0]))


def _train(results):
    """The first row is what the others are held against."""
    lines, base = [], []
    for way, found in _grouped(results, f"{TRAIN} digits bench", ("ranks", "hops", "relays", "pace")).items():
        base = base or found
        times = Spread.of(row["median_s"] / first["median_s"] for row, first in zip(found, base))
        lines.append(Row(" ".join(map(str, way)), [*map(str, way), f"{_median(found, 'median_s'):.3f}", ratio(times)],
                         {"the first row by it": 1 / times.median}))
    titles = ["`jobs/digits.toml`, `mixed`: ranks", "hops", "relays", "pace", "seconds of the second epoch", "to the first row, by turns"]
    return Table(TRAIN, titles, lines)
