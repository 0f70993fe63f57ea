"""Every choice about the model and its training, as frozen settings that refuse unknown fields.

One id space holds all modalities: text is [0, Vt), special tokens among them; the codes of the next modality
follow, and so on. Nothing here assumes that there are two.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Literal

from pydantic import Field, model_validator

from model.objectives_config import ObjectivesConfig
from storage.settings import Settings

PRESETS = {"tiny": 1, "small": 2, "base": 5, "large": 12}
"""The dial: about 2.7M, 10M, 125M and 1B parameters."""


DEPTH = 5
"""Layers of a preset beyond its dial."""

PICTURE_TOP_P, PICTURE_GUIDANCE = 0.6, 2.0
"""What pictures are usually drawn with: small models draw unlikely codes too often, and one of those spoils a picture."""


class ConfigError(ValueError):
    """Settings that cannot go together; the message says what to change."""


Precision = Literal["auto", "fp32", "bf16"]
"""`auto` is bf16 where the machine multiplies it faster."""


class Vocabulary(Settings):
    """The text tokenizer's size and its special tokens, read by name: `<sep>`, `<lang:en>`, `<task:caption>`
    …"""

    size: int
    specials: dict[str, int]

    @classmethod
    def of(cls, ids: Mapping[str, int]) -> Vocabulary:
        """From a tokenizer's dictionary of tokens to ids.

        Raises:
            ConfigError: a special token that every sequence needs is missing.
        """
        specials = {token: i for token, i in ids.items() if token.startswith("<") and token.endswith(">")}
        for token in ("<pad>", "<bos>", "<eos>", "<sep>", "<boi>", "<eoi>"):
            if token not in specials:
                raise ConfigError(
                    f"the text tokenizer has no {token} token: fit it again (millrace fit-tokenizers)"
                )
        return cls(
            size=max(ids.values()) + 1, specials=dict(sorted(specials.items(), key=lambda item: item[1]))
        )

    def __getitem__(self, token: str) -> int:
        return self.specials[token]

    def tags(self, lang: str | None, task: str | None) -> list[int]:
        """Ids of the language's and the task's tag, in that order; what the tokenizer does not know is left
        out."""
        names = (f"<lang:{lang}>", f"<task:{task}>")
        return [self.specials[name] for name in names if name in self.specials]


class Modality(Settings):
    """A kind of token with weights and a head of its own."""

    name: str
    size: int
    """Ids."""
    grid: tuple[int, int] | None = None
    """Rows and columns of a picture's codes; None for text."""
    begin: int | None = None
    """The text id after which exactly `length` codes follow."""
    end: int | None = None
    """The text id that is forced after them."""
    levels: tuple[int, ...] | None = None
    """Levels of each channel that a code stands for, if it is a product of scalars (FSQ)."""

    @property
    def length(self) -> int:
        """Codes per item; 0 for text."""
        return self.grid[0] * self.grid[1] if self.grid else 0


def text_and_image(
    vocabulary: Vocabulary, codes: int, grid: tuple[int, int], levels: tuple[int, ...] | None = None
) -> tuple[Modality, ...]:
    """The usual two modalities: text, and pictures of `grid` codes out of `codes` different ones."""
    begin, end = vocabulary["<boi>"], vocabulary["<eoi>"]
    image = Modality(name="image", size=codes, grid=grid, begin=begin, end=end, levels=levels)
    return (Modality(name="text", size=vocabulary.size), image)


class ModelConfig(Settings):
    """The network. `ModelConfig.preset` derives the sizes from one dial; each may be overridden."""

    modalities: tuple[Modality, ...]
    width: int = Field(default=128, ge=8, multiple_of=2)
    depth: int = Field(default=6, ge=1)
    heads: int = Field(default=2, ge=1)
    kv_heads: int = Field(default=2, ge=1)
    hidden: int = Field(default=512, ge=8, description="Width inside the feed-forward layers")
    activation: Literal["relu2", "swiglu"] = "relu2"
    norm: Literal["rms", "layer"] = Field(default="layer", description="RMSNorm, or LayerNorm without bias")
    dense: bool = Field(default=False, description="One set of weights for all modalities: the control")
    rope_base: float = 100.0
    rope_2d: bool = Field(default=True, description="A code's position is its row and column, not its turn")
    embed_levels: bool = Field(default=True, description="A code's embedding adds up its quantised levels")
    neighbours: Literal["none", "before", "around"] = "before"
    """A code's embedding is mixed with those of the codes beside and above it that come before it, or of all
    eight around it (of a picture that is being drawn, again only of those before)."""
    see_whole_picture: bool = True
    """A picture that is only read is seen as a whole: each of its codes attends to all of them, and not only
    to those before it."""
    embedding_std: float = 0.5
    pool: Literal["mean", "last"] = "mean"
    """The one state of a picture or text that stands alone: the mean over its tokens, or its last token's."""
    classes: tuple[str, ...] = ()
    """What the label head tells apart; there is none without classes."""
    teacher_width: int = Field(default=0, ge=0, description="Channels that states are projected to; 0 is off")

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(
                f"width {self.width} must be an even number of channels for each of {self.heads} heads"
            )
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.rope_2d and self.width // self.heads % 4:
            raise ValueError(
                f"rope_2d needs a multiple of 4 channels a head, and has {self.width // self.heads}"
            )
        if self.modalities[0].grid is not None:
            raise ValueError("the first modality is text: it has no grid")
        return self

    @classmethod
    def preset(cls, dial: str | int, modalities: tuple[Modality, ...], **overrides: object) -> ModelConfig:
        """Sizes from one dial: a preset's name or its number.

        Raises:
            ConfigError: no such preset.
        """
        if isinstance(dial, str) and dial not in PRESETS:
            raise ConfigError(f'no preset "{dial}": use one of {", ".join(PRESETS)}, or a number')
        n = PRESETS[dial] if isinstance(dial, str) else dial
        width = 128 * n
        heads = width // (64 if n < 8 else 128)
        sizes = {
            "width": width,
            "depth": n + DEPTH,
            "heads": heads,
            "kv_heads": max(min(2, heads), heads // 2) if heads % 2 == 0 else heads,
            "hidden": 4 * width,
            "rope_base": 100.0 if n == 1 else 10_000.0,
        }
        return cls.model_validate({"modalities": modalities, **sizes, **overrides})

    @property
    def offsets(self) -> list[int]:
        """First id of each modality, and the number of all ids at the end."""
        return [0, *accumulate(m.size for m in self.modalities)]

    @property
    def size(self) -> int:
        """All ids."""
        return self.offsets[-1]

    @property
    def channels(self) -> int:
        """Width of a head."""
        return self.width // self.heads

    def modality(self, name: str) -> int:
        """Index of a modality by its name."""
        return [m.name for m in self.modalities].index(name)


class BatchConfig(Settings):
    """What goes into a batch, and how often."""

    rows: int = Field(default=32, ge=0, description="0 learns by [train.objectives] alone")
    row_length: int = Field(default=160, ge=8, description="Tokens per row")
    draw_share: float = Field(
        default=0.15, ge=0, le=1, description="Share of units that go from text to picture"
    )
    text_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of units without a picture, where the corpus has any"
    )
    caption_dropout: float = Field(
        default=0.1, ge=0, le=1, description="Share of drawn pictures whose caption is left out"
    )
    draw_tasks: tuple[str, ...] = ("caption",)
    """Tasks whose texts describe a picture well enough to draw it."""
    text_tasks: tuple[str, ...] = ("translate", "title", "summarize", "qa")
    """Tasks whose prompt says all that is needed: with or without a picture they are texts alone, too."""
    texts_per_picture: int = Field(
        default=4, ge=1, description="Most texts asked of a picture in one reading"
    )
    views: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Ways in which a picture that is read is shown, one an epoch: itself, and in other places, colours and "
        "strokes. For small corpora",
    )
    fill: float = Field(
        default=1.0, gt=0, le=2, description="Units drawn per step, in units of what fits on average"
    )
    task_weights: dict[str, float] = Field(default={})
    """Relative frequency of a task ("caption") or of a task in a language ("caption:en") among a picture's
    texts, and among texts alone; 1 if not named, 0 leaves it out."""
    language_weights: dict[str, float] = Field(default={})
    short_first: float = Field(
        default=0.0, ge=0, le=1, description="Share of the steps that read only pictures with short texts"
    )
    image_loss_when_reading: bool = False
    text_loss_when_drawing: bool = False


class OptimizerConfig(Settings):
    """AdamW throughout, or Muon for the matrices inside the layers and AdamW for the rest."""

    name: Literal["adamw", "muon"] = "muon"
    lr: float = Field(default=3e-3, gt=0, description="Step size of AdamW")
    matrix_lr: float = Field(default=2e-2, gt=0, description="Step size of Muon")
    betas: tuple[float, float] = (0.9, 0.95)
    momentum: float = 0.95
    momentum_warmup: int = Field(
        default=100, ge=0, description="Steps from a momentum of 0.85 to its full one"
    )
    weight_decay: float = 0.0
    clip: float = Field(default=1.0, ge=0, description="Largest gradient norm; 0 for none")
    schedule: Literal["warmdown", "cosine", "constant"] = "warmdown"
    warmup: int = Field(default=20, ge=0, description="Steps of linear warm-up")
    warmdown: float = Field(
        default=0.4, ge=0, le=1, description="Share of the steps that goes linearly to `final`"
    )
    final: float = Field(default=0.0, ge=0, le=1, description="Step size at the end, relative to the peak")


class Spikes(Settings):
    """What counts as a step gone wrong, judged by the steps before it, and what is done then. A loss or gradient that is
    no number always counts."""

    action: Literal["skip", "stop"] = Field(
        default="skip", description="Leave weights and optimizer as they were and go on, or end the run"
    )
    loss: float = Field(default=10.0, gt=0, description="Deviations that the loss may lie above its median")
    gradient: float = Field(
        default=50.0, gt=0, description="Deviations that the gradient's norm may lie above its median"
    )
    window: int = Field(
        default=100, ge=4, description="Steps of its kind that median and deviation are taken of"
    )
    most: int = Field(default=10, ge=1, description="Skipped steps in a row after which the run ends")


class EarlyStop(Settings):
    """Ends a run whose loss on held-out rows falls no more."""

    every: int = Field(default=500, ge=1, description="Steps between two looks")
    patience: int = Field(default=3, ge=1, description="Looks without a new best after which the run ends")
    least: float = Field(default=0.0, ge=0, description="A new best is lower by at least this, nats")
    batches: int = Field(default=16, ge=1, description="Batches of each look")
    split: str = Field(default="validation", description="Rows that are looked at")


class TrainConfig(Settings):
    """A training run."""

    preset: str | int = "tiny"
    model: dict[str, object] = Field(default={})
    """Overrides of the preset: ModelConfig's fields."""
    steps: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(
        default=None, gt=0, description="Time budget, turned into steps once, at the start"
    )
    seed: int = 0
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    text_weight: float = Field(default=1.0, ge=0, description="Weight of the mean loss over text")
    image_weight: float = Field(default=0.25, ge=0, description="Weight of the mean loss over picture codes")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    objectives: ObjectivesConfig = ObjectivesConfig()
    precision: Precision = "auto"
    device: str = Field(
        default="cpu", pattern=r"^(cpu|(cuda|xpu|mps)(:\d+)?)$", description='"cpu", "cuda" or "cuda:1"'
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; all cores if unset")
    accumulate: int = Field(
        default=1, ge=1, description="Parts that a batch is computed in, one after the other: less memory"
    )
    recompute: bool = Field(
        default=False, description="Compute activations again on the way back (activation checkpointing)"
    )
    compile: bool = Field(default=False, description="Compile each modality's layers with torch.compile")
    flex_attention: bool = Field(
        default=False, description="On a GPU, FlexAttention with document masks instead of a written-out mask"
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        default="ddp", description="Several workers: all weights on each (DDP), or spread over them (FSDP2)"
    )
    spikes: Spikes = Spikes()
    early_stop: EarlyStop | None = None
    split: str = "train"
    log_every: int = Field(default=25, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("give either steps or seconds")
        if not self.batch.rows and not self.objectives.on:
            raise ValueError("batch.rows = 0 leaves nothing to learn: switch an objective on")
        if not self.batch.rows and self.early_stop:
            raise ValueError("early_stop watches the loss of held-out rows: batch.rows = 0 has none")
        return self


class ImageTokenizerConfig(Settings):
    """The convolutional image tokenizer with finite scalar quantisation (FSQ)."""

    size: int = Field(default=32, ge=8, description="Side of the square picture, pixels")
    patch: int = Field(default=4, ge=2, description="Side of the patch that one code stands for, pixels")
    levels: tuple[int, ...] = (8, 5, 5, 5)
    overlap: int = Field(default=1, ge=0, description="Pixels beyond its patch that a code sees on each side")
    width: int = Field(default=64, ge=8)
    encoder: tuple[Literal["mlp", "conv"], ...] = ("mlp", "conv")
    decoder: tuple[Literal["mlp", "conv"], ...] = ("conv", "conv")
    steps: int = Field(default=2000, ge=1)
    batch: int = Field(default=32, ge=1)
    optimizer: OptimizerConfig = OptimizerConfig(matrix_lr=0.03, warmup=100, warmdown=0.6, clip=0.0)
    precision: Precision = "auto"
    seed: int = 0
    threads: int | None = Field(default=None, ge=1)
    encode_batch: int = Field(
        default=64, ge=1, description="Pictures per encoding batch; the last one is padded"
    )
    least_psnr: float = Field(default=26.0, description="Gate: held-out reconstruction, dB")
    least_usage: float = Field(
        default=0.25, description="Gate: share of possible codes in use on held-out pictures"
    )

    @model_validator(mode="after")
    def _check(self) -> ImageTokenizerConfig:
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of patch {self.patch}")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        return (self.size // self.patch, self.size // self.patch)

    @property
    def codes(self) -> int:
        """Different codes."""
        product = 1
        for level in self.levels:
            product *= level
        return product
