"""The model as classes of Hugging Face's `transformers`, which generates with it, and a folder that holds all of it.

    from model.hub import GPT4ForConditionalGeneration, GPT4Tokenizer
    model = GPT4ForConditionalGeneration.from_pretrained(path)
    tokenizer = GPT4Tokenizer.from_pretrained(path)

Importing this module makes the Auto classes know it. It wraps the network (`model.transformer`), whose one forward pass
serves training, our own loop (`model.generate`) and `transformers`. Weights are safetensors, and no code is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import logging

from model import checkpoint, losses
from model.config import ModelConfig, Vocabulary
from model.generate import Model, Sampling
from model.hub_cache import GPT4Cache, Read
from model.hub_guidance import Guidance
from model.hub_processor import GPT4Processor
from model.hub_tokenizer import GPT4Tokenizer, HubError, registered
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.tokens import Cache, Tokens
from model.transformer import Transformer

__all__ = [
    "GPT4Config",
    "GPT4ForConditionalGeneration",
    "GPT4Processor",
    "GPT4Tokenizer",
    "HubError",
    "export",
]
WEIGHTS = "model.safetensors"


def known_to_auto_classes(config: type[PreTrainedConfig]) -> None:
    """Registers the classes that belong to this configuration, the model's own apart."""
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoTokenizer.register(config, fast_tokenizer_class=GPT4Tokenizer, exist_ok=True)
    AutoProcessor.register(config, GPT4Processor, exist_ok=True)


@registered(known_to_auto_classes)
class GPT4Config(PreTrainedConfig):
    """`config.json`: the network's sizes and its special tokens, as a checkpoint's metadata holds them."""

    model_type = "gpt4"
    has_no_defaults_at_init = True

    network: dict | None = None
    """Fields of ModelConfig."""
    vocabulary: dict | None = None
    """Fields of Vocabulary."""
    text_weight: float = 1.0
    """Weight of the mean loss over text."""
    image_weight: float = 0.25
    """Weight of the mean loss over codes of pictures."""
    lineage: dict | None = None
    """Which checkpoint, run and snapshot the weights come from."""
    weights_hash: str | None = None
    """sha256 of `model.safetensors`, hex, first 16."""

    def __post_init__(self, **more: Any) -> None:
        if self.network and self.vocabulary:
            sizes, specials = self.model(), self.words().specials
            self.vocab_size, self.hidden_size, self.num_hidden_layers = sizes.size, sizes.width, sizes.depth
            self.num_attention_heads, self.num_key_value_heads = sizes.heads, sizes.kv_heads
            self.head_dim, self.intermediate_size = sizes.channels, sizes.hidden
            names = ("<pad>", "<bos>", "<eos>")
            self.pad_token_id, self.bos_token_id, self.eos_token_id = (specials[name] for name in names)
        super().__post_init__(**more)

    def model(self) -> ModelConfig:
        """The network's settings.

        Raises:
            HubError: they are none.
        """
        try:
            return ModelConfig.model_validate(self.network)
        except ValidationError as error:
            raise HubError(f"config.json does not describe a network of Millrace: {error}") from error

    def words(self) -> Vocabulary:
        """The special tokens.

        Raises:
            HubError: they are none.
        """
        try:
            return Vocabulary.model_validate(self.vocabulary)
        except ValidationError as error:
            raise HubError(f"config.json has no vocabulary of Millrace: {error}") from error

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Self:
        """From a checkpoint's metadata."""
        names = (
            "checkpoint_id",
            "run_id",
            "step",
            "snapshot",
            "content_hash",
            "text_tokenizer",
            "image_tokenizer",
        )
        weights = {name: meta["train"][name] for name in ("text_weight", "image_weight") if "train" in meta}
        lineage = {name: meta[name] for name in names if name in meta}
        return cls(network=meta["model"], vocabulary=meta["vocabulary"], lineage=lineage, **weights)


@registered(lambda made: AutoModelForCausalLM.register(GPT4Config, made, exist_ok=True))
class GPT4ForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """The network under `transformers`' interface: text and pictures in one row of ids, in and out."""

    config_class = GPT4Config
    main_input_name = "input_ids"
    output_modalities = ("text", "image")  # type: ignore[assignment]
    network: Transformer
    accepts_loss_kwargs = False  # the loss is a mean over the call's tokens, whatever a trainer accumulates

    def __init__(self, config: GPT4Config) -> None:
        super().__init__(config)
        self.sequences = Sequences(config.model(), config.words())
        self.network = Transformer(self.sequences.config)
        self.post_init()
        self.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            # room for a whole picture and its end
            max_new_tokens=max(Sampling().max_tokens, self.sequences.codes + 2),
            do_sample=False,
        )

    def _init_weights(self, module: nn.Module) -> None:
        """New weights from seed 0; those that were loaded stay."""
        if isinstance(module, Transformer):
            weights = list(module.parameters())
            if not any(weight.is_meta or getattr(weight, "_is_hf_initialized", False) for weight in weights):
                module.initialise(0)
            module.reset_constants()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes its own: a row's next token depends on where its picture stands, too

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """A model from a folder (or repository) that `save_pretrained` or `millrace export` wrote.

        Raises:
            HubError: its weights are damaged, or not those of its configuration.
        """
        asked = kwargs.pop("output_loading_info", False)
        folder = Path(str(pretrained_model_name_or_path)) / (kwargs.get("subfolder") or "")
        if folder.is_dir():
            check(folder)
        try:
            kwargs |= {"output_loading_info": True, "use_safetensors": True}  # never a pickle
            loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
            model, info = loaded
        except SafetensorError as error:
            raise HubError(
                f"{folder / WEIGHTS} is damaged: {error}; export it again (millrace export)"
            ) from error
        wrong = {
            why: sorted(map(str, info[why])) for why in ("missing_keys", "unexpected_keys", "mismatched_keys")
        }
        for why, names in wrong.items():
            if names:
                raise HubError(
                    f"the weights in {folder} are not those of its config.json: {why.replace('_', ' ')} "
                    f"{', '.join(names[:3])}{' …' * (len(names) > 3)}; export them again (millrace export)"
                )
        model.network.reset_constants()
        return (model, info) if asked else model

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Writes `model.safetensors`, `config.json` with its hash, and `generation_config.json`."""
        self.config.weights_hash = None  # of what was loaded, and these may be others
        super().save_pretrained(save_directory, *args, **kwargs)
        weights = Path(save_directory) / WEIGHTS
        if weights.is_file() and kwargs.get("is_main_process", True):  # shards have no one hash
            self.config.weights_hash = checkpoint.hash_file(weights)
            self.config.save_pretrained(save_directory)

    @classmethod
    def of(cls, model: Model) -> Self:
        """From a checkpoint that was loaded; the two share their weights."""
        meta: dict[str, Any] = {
            "model": model.network.config.model_dump(mode="json"),
            "vocabulary": model.sequences.vocabulary.model_dump(mode="json"),
        }
        with torch.device("meta"):
            made = cls(GPT4Config.of({**meta, **(model.saved.meta if model.saved else {})}))
        made.network = model.network
        return made.eval()

    def loop(self) -> Model:
        """The same weights for our own generation loop (`model.generate`)."""
        return Model(self.network.eval(), self.sequences)

    def generate(
        self, inputs: Tensor | None = None, *args: Any, guidance_scale: float | None = None, **kwargs: Any
    ) -> Any:
        """`transformers`' generation. After `<boi>` come exactly one picture's codes, and then `<eoi>`.

        Args:
            guidance_scale: weight of the prompt against one that wishes for nothing (`negative_prompt_ids`; any picture if
                not given), for pictures; 1 is none.

        Raises:
            HubError: guidance is asked for with several beams.
        """
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if prompt is not None:
            kwargs.setdefault("prompt_length", prompt.shape[1])
        if prompt is not None and guidance_scale is not None and guidance_scale != 1:
            if kwargs.get("num_beams", 1) > 1:
                raise HubError("guidance goes with one beam: leave out num_beams, or guidance_scale")
            free = kwargs.pop("negative_prompt_ids", None)
            free = torch.tensor([self.sequences.wish()]) if free is None else free
            guidance = Guidance(self, guidance_scale, free, prompt.shape[1])
            kwargs["logits_processor"] = LogitsProcessorList(
                [guidance, *(kwargs.get("logits_processor") or ())]
            )
        return super().generate(inputs, *args, **kwargs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cache: GPT4Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        past_key_values: GPT4Cache | None = None,
        prompt_length: int | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        **_: Any,
    ) -> CausalLMOutputWithPast | tuple:
        """Logits `[rows, length, ids]` of what comes after each token, -inf for what cannot.

        Args:
            input_ids: text, and pictures as `<boi>` codes `<eoi>`; with a cache only what is new.
            attention_mask: `[rows, everything so far]`, 0 for padding, which may be anywhere.
            cache: what was read before (`past_key_values` in older versions); a new one if `use_cache`.
            labels: the same ids, -100 where nothing is to be predicted; each is compared with the token before it.
            prompt_length: closed pictures up to this column are seen as a whole, as they are when a prompt is read; those
                that were drawn after it, or that `labels` ask for, are seen code by code. All are read if None.
            logits_to_keep: only of so many last tokens; 0 for all.

        Returns:
            `loss` with labels (the weighted means over text and over codes, nats), `logits`, and the `cache`.
        """
        if input_ids is None:
            raise HubError(
                "give input_ids: a sequence's places follow from its ids, so inputs_embeds will not do"
            )
        network, cache = self._ready(), past_key_values if cache is None else cache
        if cache is None and use_cache:
            cache = GPT4Cache(network.config, self.sequences)
        read, held = Read(input_ids, attention_mask), None
        asked = None if labels is None else read.labels(labels)
        cursors = [self.sequences.cursor() for _ in input_ids]
        if cache is not None:
            held, cursors = cache.room(*read.shape, input_ids.device, network.dtype)
        whole = prompt_length if held is None else None  # with a cache, what is drawn comes in code by code
        tokens = read.tokens(self.sequences, cursors, whole, None if asked is None else asked >= 0)
        closing = (tokens.ids >= network.config.offsets[1]) & (tokens.places == self.sequences.codes - 1)
        at = read.kept(logits_to_keep) if logits_to_keep and asked is None else None
        logits = network(_masked(tokens, held), held, None if at is None else at.flatten().sort().values)
        if cache is not None and held is not None:
            held.lengths += read.counts
            cache.width += read.shape[1]
        loss = None if asked is None else self._loss(logits, torch.where(closing, -1, following(asked)))
        if at is None:
            logits, closing = read.put_back(logits), read.put_back(closing)
        else:
            logits = logits[at.flatten().argsort().argsort()].view(*at.shape, -1)
            closing = closing.flatten()[at]
        logits = self._closed(logits, closing)
        if return_dict is False:
            return tuple(part for part in (loss, logits, cache) if part is not None)
        return CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache)

    def _ready(self) -> Transformer:
        """The network, computing in the precision that its weights were brought to."""
        network = self.network
        network.bf16 = network.bf16 or self.dtype == torch.bfloat16
        if network.frequencies.dtype != torch.float32:  # `.to(bfloat16)` rounds them as if they were weights
            network.reset_constants()
        return network

    def _closed(self, logits: Tensor, closing: Tensor) -> Tensor:
        """Logits `[rows, length, ids]` that leave nothing but `<eoi>` after a picture's last code."""
        others = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
        others[self.sequences.vocabulary["<eoi>"]] = False
        return logits.masked_fill(closing[..., None] & others, float("-inf"))

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of training on logits `[rows, length, ids]`; targets below 0 want nothing."""
        flat, wanted, pairs = logits.flatten(0, 1), targets.flatten(), []
        offsets = self.network.config.offsets
        for low, high in pairwise(offsets):
            rows = ((wanted >= low) & (wanted < high)).nonzero().squeeze(1)
            pairs.append((flat[rows, low:high], wanted[rows] - low))
        weights = [
            self.config.text_weight if m.grid is None else self.config.image_weight
            for m in self.network.config.modalities
        ]
        return losses.weighted(losses.per_modality(pairs, losses.counts(targets, offsets)), weights)


def _masked(tokens: Tokens, held: Cache | None) -> Tokens:
    """The tokens with the mask that lets the codes of a whole picture see each other."""
    blocks = tokens.blocks
    if blocks is None or not blocks.any():
        return replace(tokens, blocks=None)
    if held is not None:
        return replace(tokens, mask=held.mask(blocks))
    length = blocks.shape[1]
    seen = torch.ones((length, length), dtype=torch.bool, device=blocks.device).tril()
    same = (blocks[:, :, None] == blocks[:, None, :]) & (blocks[:, :, None] > 0)
    return replace(tokens, mask=(seen | same).unsqueeze(1))


def following(asked: Tensor) -> Tensor:
    """`[rows, length]`: for each token what is wanted of the next, -1 for nothing."""
    return torch.cat([asked[:, 1:], torch.full_like(asked[:, :1], -1)], dim=1)


def check(folder: Path) -> None:
    """Finds a damaged folder before anything of it is loaded.

    Raises:
        HubError: a file is missing, unreadable, or not the one that was saved.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HubError(
            f"no config.json in {folder}: `millrace export CHECKPOINT FOLDER` writes one"
        ) from None
    except ValueError as error:
        raise HubError(f"{path} is damaged: {error}; export it again (millrace export)") from error
    weights, wanted = folder / WEIGHTS, config.get("weights_hash")
    if wanted and not weights.is_file():
        raise HubError(f"no {WEIGHTS} in {folder}: export it again (millrace export)")
    if wanted and checkpoint.hash_file(weights) != wanted:
        raise HubError(f"{weights} is damaged: it does not match the hash in config.json; export it again")


def export(model: Model, tokenizers: Tokenizers, folder: Path) -> None:
    """Writes model, tokenizers and their configuration into a folder, all but the model card."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        GPT4ForConditionalGeneration.of(model).save_pretrained(folder)
        GPT4Processor(GPT4Tokenizer.of(tokenizers.text), tokenizers.image).save_pretrained(folder)
    finally:
        if shown:
            logging.enable_progress_bar()
