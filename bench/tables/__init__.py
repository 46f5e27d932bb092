"""The tables: each module says what is measured for its tables (`cases`) and makes them of the rows (`tables`).

To add one: a module with these two functions, and its name in `MODULES`.
"""

from dataclasses import replace

from . import aead, busy, cores, model, parts, price, process, profiles, slots, split

MODULES = (process, split, price, profiles, busy, slots, parts, model, aead, cores)
NAMES = ("process", "split", "price", "profiles", "profiles-busy", "busy", "slot", "link", "crypto", "gemm", "scale", "train", "model", "network", "predict",
         "aead", "cores")
# Tables that are measured only where they are named: they are about a choice within mixnn and take long, or take namespaces.
ON_REQUEST = ("aead", "network")


# No case takes longer where everything is small, in seconds.
QUICK = 2


def cases(setup):
    """All cases, those that are compared next to each other."""
    found = [case for module in MODULES for case in module.cases(setup)]
    return [replace(case, seconds=min(case.seconds, QUICK)) for case in found] if setup.quick else found


def tables(results):
    """All tables of which there are rows, by their names."""
    return {table.name: table for module in MODULES for table in module.tables(results) if table.rows}


def measured_by(table):
    """The name of the table whose cases `table` is made of."""
    return {"link": "slot", "predict": "model"}.get(table, table)
