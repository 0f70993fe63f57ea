"""The models that steps say they need: which, and where the flow gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows import checkpoints
from flows.config import Config
from model.captioner import Captioner
from model.clip import ImageTextModel
from model.clip_config import OWN
from pipeline import upstream, zero_shot
from pipeline.annotators.own_captions import OwnCaptions
from pipeline.step import Annotator, Filter, Gather
from storage.store import Store

IMAGE_TEXT, CAPTIONS = "image_text_model", "caption_model"


@dataclass(frozen=True)
class Chain:
    """The steps of an ingest."""

    annotators: Sequence[Annotator]
    """In the order in which they run."""
    filters: Sequence[Filter]
    gathers: Sequence[Gather]

    @classmethod
    def of(cls, config: Config) -> Chain:
        return cls(upstream.ordered(config.annotator_steps), config.filter_steps, config.gather_steps)

    def plain(self) -> Chain:
        """Those that hang on no model."""
        tables = upstream.modelled(self.annotators)
        return Chain(
            [one for one in self.annotators if one.table() not in tables],
            [one for one in self.filters if not upstream.signals(one) & tables],
            [one for one in self.gathers if not {*one.tables()} & tables],
        )


def needed(config: Config, model: str) -> bool:
    """Whether an annotator of the configuration needs a model of that name."""
    return any(model in step.needs for step in config.annotator_steps)


def early(store: Store, config: Config) -> dict[str, Any]:
    """The models that are there before anything is collected: what cannot be loaded is told at once.

    Raises:
        ImageTextModelMissing: the image-text model cannot be loaded.
        NeedsPretrainedModel: a step asks of the filtering network what only a pretrained model knows.
        ConfigError: captions by a checkpoint are asked for, and there is none.
        StepError, NoFaceDetector: a step's own weights cannot be loaded, or those that faces are blurred by.
    """
    config.media.check()
    for step in config.annotator_steps:
        step.check()
    found: dict[str, Any] = {}
    settings = config.image_text
    if needed(config, IMAGE_TEXT) and settings.model != OWN:
        found[IMAGE_TEXT] = ImageTextModel.load(settings.model, settings.pretrained, settings.cache)
    elif needed(config, IMAGE_TEXT):
        for step in config.annotator_steps:
            zero_shot.refuse_own(step)
    for step in config.annotator_steps:
        if isinstance(step, OwnCaptions):
            saved = checkpoints.load(store, step.checkpoint).model.saved
            assert saved is not None
            found[CAPTIONS] = Captioner.load(saved.folder, store.folder("tokenizers"))
    return found
