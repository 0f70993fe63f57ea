"""Whether some are served worse than others."""

from __future__ import annotations

from pydantic import Field

from model.evaluate import Score
from model.outcome import Asked, Outcome, worst
from model.tasks.task import Given, Task

CHRF = "chrf"
LOOKED_AT = ("language", "source", "label", "people")
LEAVES_OUT = ("memorisation", "safety", "retrieval", "perplexity", "text_to_image")


class Bias(Task):
    """A score of every task by group (language, source, label, people that a text speaks of), and the worst one: chrF where
    there is one, since few long texts are repeated exactly, else the task's first."""

    after = True
    least: int = Field(20, ge=2, description="Groups of fewer items are not reported.")

    def run(self, given: Given) -> Outcome | None:
        found: list[Score] = []
        for task, outcome in sorted(given.done.items()):
            if task in LEAVES_OUT or not outcome.found:
                continue
            metric = CHRF if CHRF in outcome.found else next(iter(outcome.found))
            asked = [
                Asked(one.sample_id, "", one.expected, subsets=self.groups(one, given))
                for one in outcome.asked
            ]
            named = {f"{task} {metric}": outcome.found[metric]}
            scores = [
                s for s in Outcome(self.name(), asked, outcome.said, named).scores() if s.n >= self.least
            ]
            found += [*scores, *worst(scores, self.least)]
        return Outcome(self.name(), (), (), {}, further=found) if found else None

    def groups(self, one: Asked, given: Given) -> tuple[str, ...]:
        """What an item belongs to, each kind of group named."""
        known = {"language": one.lang, **one.facets}
        found = [f"{kind} {known[kind]}" for kind in LOOKED_AT if known.get(kind)]
        if given.hands.people:
            texts = f"{one.prompt}\n{one.expected}"
            found += [f"people {group}" for group in given.hands.people(one.lang, texts)]
        return tuple(found)
