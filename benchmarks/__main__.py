"""`python -m benchmarks NAME`: one question, measured against a named peer, answered in a line of JSON.

The last line of the output is a JSON object: name, ours, peer, peer_name, unit, ratio (above 1 means that
we are ahead), limit (of the hardware or library, in the same unit), quality_ours, quality_peer. Where there
are several peers or sizes there is a line for each, the worst one last. Runs of the full size are also
noted in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import benchmarks
from benchmarks.rig import table
from benchmarks.rig.contract import Bench, BenchmarkError, NotHere, Result


def names() -> list[str]:
    """Every module of this folder is a benchmark, what lies in `rig` apart."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.ispkg)
    return sorted(name for name in found if not name.startswith("_"))


def module(name: str) -> ModuleType:
    """A benchmark: it has SIZE, PAIRS, GOAL (the ratio to reach) and run(bench)."""
    return importlib.import_module(f"benchmarks.{name}")


def parser() -> argparse.ArgumentParser:
    """The command line, with the question that each benchmark answers."""
    asked = "\n".join(f"  {name:<15}{question(name)}" for name in names())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"benchmarks:\n{asked}\n\nexample:\n  python -m benchmarks rerun --size 2000 --pairs 2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("name", metavar="NAME", choices=[*names(), "all"], help="a benchmark, or all")
    made.add_argument("--size", type=positive, help="another size than the usual one")
    made.add_argument("--pairs", type=positive, help="repetitions; their median counts")
    made.add_argument("--work", type=Path, default=Path(".bench"), help="folder of corpora, stores and peers")
    made.add_argument("--docs", type=Path, help="note the results in this file, whatever the size")
    return made


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def question(name: str) -> str:
    """The first line of a benchmark's description."""
    return (module(name).__doc__ or "").strip().split("\n")[0]


def measure(name: str, arguments: argparse.Namespace) -> list[Result]:
    """Runs a benchmark, notes its results, and prints them, the worst of ratio over goal last."""
    found = module(name)
    size = arguments.size or found.SIZE
    results = found.run(Bench(size, arguments.pairs or found.PAIRS, arguments.work))
    results.sort(key=lambda result: result.ratio, reverse=True)
    if arguments.docs or size == found.SIZE:
        table.append(results, arguments.docs or table.DOCUMENT)
    for result in results:
        print(result.line(), flush=True)
    return results


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 1 if a benchmark could not be run; its ratio decides nothing here."""
    arguments = parser().parse_args(words)
    failed = False
    for name in names() if arguments.name == "all" else [arguments.name]:
        try:
            measure(name, arguments)
        except NotHere as missing:
            print(f"{name}: not measured: {missing}", file=sys.stderr)
        except BenchmarkError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
