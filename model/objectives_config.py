"""Settings of the objectives beside next-token prediction: each is off unless its weight is above 0.

They look at pictures and texts that stand alone, one a row, and do not change what the packed rows hold.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from storage.settings import Settings


class LabelConfig(Settings):
    """Cross-entropy of the class labels that some rows have (`samples.label`)."""

    weight: float = Field(default=0.0, ge=0, description="0 is off")
    items: int = Field(default=32, ge=1, description="Labelled pictures and texts per step")
    per_class: int | None = Field(
        default=None, ge=1, description="Labels used of each class, drawn by the seed; all if unset"
    )


class AdversarialConfig(Settings):
    """Virtual adversarial training of the label head on pictures and texts with or without a label (Miyato et al.,
    2017, arXiv 1704.03976): what it says must not change within a small ball around their embeddings."""

    weight: float = Field(default=0.0, ge=0, description="0 is off")
    share: float = Field(
        default=1.0, gt=0, le=16, description="Items per step, as a multiple of the labelled ones"
    )
    radius: float = Field(
        default=0.1, gt=0, description="Norm of the perturbation, relative to that of the item's embeddings"
    )
    probe: float = Field(default=0.05, gt=0, description="Relative norm at which the direction is looked for")
    direction: Literal["adversarial", "random"] = Field(
        default="adversarial", description='"random" is the control: noise of equal norm'
    )
    entropy: float = Field(default=0.0, ge=0, description="Weight of the answers' entropy; 0 is off")
    ramp: float = Field(
        default=0.2, ge=0, le=1, description="Share of the steps in which the weights rise from 0"
    )


class DistilConfig(Settings):
    """Distillation from the vectors that an image-text model gave pictures and captions (`image_embeddings`,
    `text_embeddings`)."""

    weight: float = Field(default=0.0, ge=0, description="0 is off")
    items: int = Field(default=32, ge=2, description="Pictures per step, each with a caption")
    cosine: float = Field(default=1.0, ge=0, description="Draws a state to the vector of the same item")
    contrastive: float = Field(
        default=1.0, ge=0, description="Tells the partner's vector (a picture's caption) from those of others"
    )
    temperature: float = Field(default=0.07, gt=0, description="Of the contrastive loss")
    teacher: Literal["stored", "shuffled"] = Field(
        default="stored", description='"shuffled" is the control: vectors of other pictures and captions'
    )


class ObjectivesConfig(Settings):
    """What is learned beside the next token."""

    label: LabelConfig = LabelConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    distil: DistilConfig = DistilConfig()

    @model_validator(mode="after")
    def _check(self) -> ObjectivesConfig:
        if self.adversarial.weight and not self.label.weight:
            raise ValueError("adversarial needs the label head: set label.weight, too")
        if self.distil.weight and not self.distil.cosine and not self.distil.contrastive:
            raise ValueError("distil needs one of its two losses: set distil.cosine or distil.contrastive")
        return self

    @property
    def on(self) -> bool:
        """Whether there is any."""
        return bool(self.label.weight or self.distil.weight)
