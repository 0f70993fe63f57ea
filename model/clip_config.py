"""Settings of the image-text model and of the filtering network, without torch: the configuration reads them at once."""

from __future__ import annotations

from pydantic import Field, model_validator

from storage.settings import Settings

OWN = "own"
"""The name of the filtering network that is trained on the user's own corpus."""


class ImageTextConfig(Settings):
    """Which open_clip model gives pictures and texts their vectors."""

    model: str = Field(
        OWN,
        min_length=1,
        description='"own": the filtering network; or a model of open_clip ("ViT-B-32"), "hf-hub:owner/name", or a '
        "folder (./name) with open_clip_config.json and its weights.",
    )
    pretrained: str = Field("", description="With a model of open_clip: a tag, or a file of weights.")
    cache: str = Field("", description="Folder of downloaded weights; open_clip's own if empty.")

    @model_validator(mode="after")
    def _has_weights(self) -> ImageTextConfig:
        folder = any(mark in self.model for mark in ("/", "\\", ":"))
        if self.model != OWN and not folder and not self.pretrained:
            raise ValueError(
                f'model = "{self.model}" needs `pretrained`, a tag of open_clip or a file of weights'
            )
        return self


class FilteringConfig(Settings):
    """The data filtering network: a small contrastive model, fitted once on the trusted part of the corpus.

    Fang et al., "Data Filtering Networks", 2023 (arXiv 2309.17425): what makes a good filter is the quality of what
    it was trained on, not how well it classifies.
    """

    sources: tuple[str, ...] = Field((), description="Names of the trusted sources; all if empty.")
    langs: tuple[str, ...] = Field((), description="Languages of the texts that it learns; all if empty.")
    tasks: tuple[str, ...] = Field(("caption",), description="Rows whose text describes the picture.")
    least: dict[str, float] = Field({}, description='Least value of signals: {"annotator.column" = 0.5}.')
    max_pictures: int = Field(20_000, ge=2, description="Pictures that it is fitted on, drawn by hash.")

    size: int = Field(
        64, ge=32, le=512, multiple_of=32, description="Side of the pictures that it sees, pixels."
    )
    width: int = Field(
        16,
        ge=2,
        le=128,
        multiple_of=2,
        description="Channels of the ResNet; its last stage has 32 times as many.",
    )
    depth: int = Field(1, ge=1, le=8, description="Blocks in each of the ResNet's four stages.")
    text_width: int = Field(
        128, ge=64, le=2048, multiple_of=64, description="Width of the text's transformer."
    )
    text_layers: int = Field(2, ge=1, le=48, description="Its layers.")
    dim: int = Field(128, ge=8, le=2048, description="Length of the vectors.")
    context: int = Field(48, ge=8, le=512, description="Tokens read of a text.")

    steps: int = Field(
        200,
        ge=1,
        description="Optimizer steps; 60 are enough for few thousand pictures, which more learn by heart.",
    )
    seconds: float | None = Field(
        None,
        gt=0,
        description="Stops early at this time; equal seeds are then not sure to give equal weights.",
    )
    batch: int = Field(256, ge=2, le=65_536, description="Pictures that each text is told apart from.")
    step_size: float = Field(1e-3, gt=0, le=1, description="Largest step size of AdamW.")
    decay: float = Field(0.1, ge=0, le=1, description="Weight decay of matrices.")
    seed: int = Field(0, ge=0, description="Of the first weights and the order of the pictures.")
    threads: int = Field(2, ge=1, le=256, description="Threads of torch while fitting.")
