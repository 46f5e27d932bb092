"""README's tables, of what bench/compare.py has measured."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
PROCESS = "one process, 2 threads"
MIXED = "784-256-128-10, batch 64: `mixed` on 7 ranks, against PyTorch's layers in 4 processes over gloo, *unprotected*"
# What a row of the measurement is called in which table.
ROWS = {
    "one process, 2 threads, batch 64": (PROCESS, "784-256-128-10, batch 64"),
    "one process, 2 threads, batch 512": (PROCESS, "784-256-128-10, batch 512"),
    "LeNet-5, one process, 2 threads, batch 64": (PROCESS, "LeNet-5, batch 64"),
    "LeNet-5, one process, 2 threads, batch 512": (PROCESS, "LeNet-5, batch 512"),
    "784-2048-2048-2048-10, 2 threads, batch 512": (PROCESS, "784-2048-2048-2048-10, batch 512"),
    "transformer block, 2 threads, batch 16": (
        PROCESS, "a transformer block, width 256, 4 heads, 128 tokens, between an embedding and a linear layer, batch 16"),
    "mixed, 7 ranks, batch 64 in 16 | split, 4 processes": (MIXED, "in micro-batches of 16"),
    "mixed, 7 ranks, batch 64 in 32 | split, 4 processes": (MIXED, "in micro-batches of 32"),
}
WAYS = {"shared": "shared memory", "messages": "messages"}
WORDS = {"instructions": "{}", "system": "{}", "mpi": "{}", "pytorch": "PyTorch {}", "rustc": "{}", "commit": "commit {}"}


def tables(found, file):
    """The machine, both tables, and the slots', as Markdown. `file` holds the measurement."""
    machine = found["machine"]
    parts = [f"{machine['processor']}, {machine['cores']} cores"]
    parts += [form.format(machine[key]) for key, form in WORDS.items() if machine.get(key)]
    turns = found.get("rounds") or found["rows"][0]["times_faster"]["runs"]
    text = ", ".join(parts) + f". Medians of {turns} turns"
    if file and Path(file).resolve().is_relative_to(ROOT):
        place = Path(file).resolve().relative_to(ROOT)
        text += f" ([all that was measured]({place}))"
    lines = [text + "."]
    for table in (PROCESS, MIXED):
        lines += ["", f"| {table} | mixnn | PyTorch | ratio (spread) |", "|---|---|---|---|"]
        for row in found["rows"]:
            of, name = ROWS[row["what"]]
            if of == table:
                lines.append(f"| {name} | {seconds(row['mixnn_seconds'])} | {seconds(row['pytorch_seconds'])} | {ratio(row)} |")
    return "\n".join(lines + ["", *slots(found["slot"])])


def seconds(spread):
    value = spread["median"]
    return f"{value:.2f}" if value >= 10 else f"{value:.3f}"


def ratio(row):
    r = row["times_faster"]
    return f"{r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})"


def slots(lines):
    """A table of what `mixnn bench slot --json` has printed, line by line: first what was measured, then the rows."""
    settings, rows = lines[0]["settings"], lines[1:]
    whole = [row for row in rows if row["part"] == "slot"]
    alone = {row["blocks"]: row for row in rows if row["part"] == "alone"}
    first = whole[0]
    head = f"{first['ranks']} ranks, {first['hops']} hops, one cell of {first['cell_bytes']} bytes a lane, {settings['slots']}"
    micros = lambda row: f"{row['avg_us']:.0f} us ({row['low_us']:.0f} to {row['high_us']:.0f})"
    return [f"| a `mixed` slot: {head} | of mixnn | to seal, exchange and open the same cells, and nothing else | ratio |",
            "|---|---|---|---|",
            *(f"| {WAYS[row['blocks']]} | {micros(row)} | {micros(alone[row['blocks']])} | {row['to_alone']:.2f} "
              f"({row['to_alone_low']:.2f} to {row['to_alone_high']:.2f}) |" for row in whole)]


def write(readme, tables):
    """Puts `tables` between the two marks of the file `readme`."""
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{readme}: no line {BEGIN} with a line {END} below it, between which the tables go")
    readme.write_text(text[: text.index(BEGIN)] + f"{BEGIN}\n{tables}\n" + text[text.index(END):])
