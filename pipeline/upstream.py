"""What annotators hang on: the order in which they run, and the fingerprints of what they read.

A score computed from stored vectors is stale when another model made the vectors, though the score's own settings are
the same: its fingerprint covers those of the annotations that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.step import Annotator, Step, StepError, digest


def signals(step: Step) -> set[str]:
    """Tables of annotations that a step reads."""
    return {name.split(".")[0] for name in step.reads if "." in name}


def ordered(annotators: Iterable[Annotator]) -> list[Annotator]:
    """Each after those that it reads; else in the order given.

    Raises:
        StepError: two read each other.
    """
    waiting, done = list(annotators), []
    while waiting:
        tables = {one.table() for one in waiting}
        ready = next((one for one in waiting if not signals(one) & tables - {one.table()}), None)
        if ready is None:
            raise StepError(f"annotators read each other: {', '.join(one.module() for one in waiting)}")
        waiting.remove(ready)
        done.append(ready)
    return done


def fingerprints(annotators: Iterable[Annotator], models: Mapping[str, str]) -> dict[str, str]:
    """Table to fingerprint, each with those of what it reads; `models` by name to hash, "" if it is not known."""
    found: dict[str, str] = {}
    for one in ordered(annotators):
        own = one.fingerprint({name: models.get(name, "") for name in one.needs})
        read = [found[table] for table in sorted(signals(one)) if table in found]
        found[one.table()] = digest([own, read]) if read else own
    return found


def modelled(annotators: Iterable[Annotator], needs: str = "") -> set[str]:
    """Tables of annotations that hang on a model (the one of that name), directly or through what they read."""
    found: set[str] = set()
    for one in ordered(annotators):
        if (needs in one.needs if needs else one.needs) or signals(one) & found:
            found.add(one.table())
    return found
