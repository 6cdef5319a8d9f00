"""``python -m genmodels.bench [NAME ...]``: run the named benchmarks, or all of them, and print one table."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import torch

from genmodels import bench


def main(argv: list[str] | None = None) -> int:
    """Run and print; returns 1 if a rival was not installed, so that a gap in the table does not go unseen."""
    names = sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if not m.name.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m genmodels.bench", description=bench.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run: {', '.join(names)} (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads for both sides (default 2)")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(names)}")
    torch.set_num_threads(options.threads)
    rows, missing = [], []
    for name in options.names or names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"genmodels.bench.{name}").run()
        except ModuleNotFoundError as error:
            missing.append(f"{name}: not measured, {error.name} is not installed (pip install -e .[bench])")
    print(bench.table(rows))
    print("\n".join(missing))
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
