"""Pictures to codes and back: a small convolutional autoencoder with finite scalar quantisation (FSQ).

Each patch of a picture becomes one number: a vector of a few channels, each rounded to one of a few levels.
There is no codebook to learn and none that can collapse. Fitted once, frozen, and named by the hash of its
weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model.checkpoint import write_file
from model.config import ImageTokenizerConfig
from model.layers import Linear
from model.machine import keep_freed_memory, use_bf16
from model.optim import Optimizer

MATRICES = ("stem.", "encoder.", "from_latent.", "decoder.")
"""Modules whose matrices are Muon's, if it is used."""


class GateFailed(Exception):
    """A fitted tokenizer is not good enough to be used; the message says by how much."""


class TokenizerError(Exception):
    """Pictures of another size, or a folder without a tokenizer."""


class Mlp(nn.Module):
    """A residual step that looks at each patch alone: states `[n, rows, columns, width]`."""

    reach = 1

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = Linear(width * self.reach, 2 * width if self.reach == 1 else width)
        self.down = Linear(2 * width if self.reach == 1 else width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.silu(self.up(self.around(layer_norm(x, self.norm)))))

    def around(self, x: Tensor) -> Tensor:
        return x


class Conv(Mlp):
    """The same for the 3 x 3 patches around each: a convolution written as one matrix product, which is
    several times as fast on a CPU for so few channels."""

    reach = 9

    def around(self, x: Tensor) -> Tensor:
        return surroundings(x, 3)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """LayerNorm in the precision of its input."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype))


def surroundings(x: Tensor, side: int) -> Tensor:
    """`[n, rows, columns, width]` to `[n, rows, columns, side² · width]`: what lies around each, 0
    outside."""
    rows, columns = x.shape[1:3]
    padded = F.pad(x, (0, 0, *[side // 2] * 4))
    return torch.cat([padded[:, i : i + rows, j : j + columns] for i in range(side) for j in range(side)], -1)


STEPS = {"mlp": Mlp, "conv": Conv}


class Autoencoder(nn.Module):
    """The network: pictures `[n, 3, size, size]` in [-1, 1] to latents `[n, rows, columns, channels]` and
    back."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        self.config, channels, width = config, len(config.levels), config.width
        self.window = config.patch + 2 * config.overlap
        self.stem = Linear(3 * self.window**2, width)
        self.encoder = nn.Sequential(*(STEPS[kind](width) for kind in config.encoder))
        self.norm = nn.LayerNorm(width)
        self.to_latent = Linear(width, channels)
        self.from_latent = Linear(9 * channels, width)
        self.decoder = nn.Sequential(*(STEPS[kind](width) for kind in config.decoder))
        self.to_pixels = Linear(width, 3 * config.patch**2)

    @torch.no_grad()
    def initialise(self, seed: int) -> Autoencoder:
        """Sets every weight from the seed; the residual steps start as identity."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if "norm" in name and name.endswith("weight"):
                weight.fill_(1.0)
            elif weight.dim() == 1 or name.endswith("down.weight"):
                weight.zero_()
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5)
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Unbounded latents, float32."""
        patch, side = self.config.patch, self.config.size // self.config.patch
        windows = F.unfold(x, self.window, padding=self.config.overlap, stride=patch).transpose(1, 2)
        states = self.encoder(self.stem(windows).unflatten(1, (side, side)))
        return self.to_latent(layer_norm(states, self.norm)).float()

    def decode(self, z: Tensor) -> Tensor:
        """Pictures, float32."""
        pixels = self.to_pixels(self.decoder(self.from_latent(surroundings(z, 3))))
        return F.pixel_shuffle(pixels.permute(0, 3, 1, 2), self.config.patch).float()


class Quantizer:
    """Rounds each channel (the last dimension) to its levels and numbers the combinations."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        self.levels = torch.tensor(levels)
        self.half = (self.levels - 1) / 2
        self.strides = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])

    def bound(self, z: Tensor) -> Tensor:
        """Each channel within (0, levels - 1), before rounding."""
        return (torch.tanh(z) + 1) * self.half

    def straight_through(self, z: Tensor) -> Tensor:
        """Rounded values in [-1, 1], whose gradient passes the rounding by."""
        bounded = self.bound(z)
        return (bounded + (bounded.round() - bounded).detach()) / self.half - 1

    def codes(self, z: Tensor) -> Tensor:
        """Latents `[..., channels]` to int64 codes."""
        return (self.bound(z).round().long() * self.strides).sum(-1)

    def values(self, codes: Tensor) -> Tensor:
        """Codes to the decoder's input `[..., channels]`."""
        return (codes[..., None] // self.strides) % self.levels / self.half - 1


class ImageTokenizer:
    """A fitted, frozen tokenizer."""

    def __init__(self, config: ImageTokenizerConfig, network: Autoencoder) -> None:
        self.config, self.network = config, network.eval().requires_grad_(False)
        self.quantizer = Quantizer(config.levels)
        self.id = hashlib.sha256(save(_plain(network))).hexdigest()[:16]
        """sha256 of the weights, hex, first 16."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.config.grid

    @property
    def size(self) -> int:
        """Side of the pictures that it encodes, pixels."""
        return self.config.size

    @torch.no_grad()
    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 `[n, size, size, 3]` to int32 codes `[n, rows * columns]` in raster order, always in batches
        of one size: convolutions differ in their last bits from one batch size to another.

        Raises:
            TokenizerError: pictures of another shape.
        """
        self._check(images)
        batch, out = self.config.encode_batch, np.empty((len(images), math.prod(self.grid)), np.int32)
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            padded = np.zeros((batch, *images.shape[1:]), np.uint8)
            padded[: len(part)] = part
            codes = self.quantizer.codes(self.network.encode(_floats(padded))).flatten(1)
            out[start : start + batch] = codes[: len(part)].numpy()
        return out

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int codes `[n, rows * columns]` to uint8 pictures `[n, size, size, 3]`."""
        size, batch = self.config.size, self.config.encode_batch
        out = np.empty((len(codes), size, size, 3), np.uint8)
        for start in range(0, len(codes), batch):
            part = torch.from_numpy(np.asarray(codes[start : start + batch], np.int64)).view(-1, *self.grid)
            pixels = self.network.decode(self.quantizer.values(part)).permute(0, 2, 3, 1)
            out[start : start + batch] = ((pixels + 1) * 127.5).round().clamp(0, 255).byte().numpy()
        return out

    def quality(self, images: np.ndarray) -> dict[str, float]:
        """Reconstruction of pictures not fitted on: `psnr` (dB, mean over the pictures), `usage` (codes that
        occur, as a share of those that could: a few pictures have fewer places than there are codes),
        `perplexity` (codes in effective use)."""
        codes = self.encode(images)
        errors = (self.decode(codes).astype(np.float32) - images).reshape(len(images), -1)
        psnr = 10 * np.log10(255**2 / np.maximum(np.mean(errors**2, axis=1), 1e-3))
        counts = np.bincount(codes.ravel(), minlength=self.config.codes)
        share = counts[counts > 0] / counts.sum()
        return {
            "psnr": float(psnr.mean()),
            "usage": float((counts > 0).sum() / min(self.config.codes, codes.size)),
            "perplexity": float(np.exp(-(share * np.log(share)).sum())),
        }

    def gate(self, images: np.ndarray) -> dict[str, float]:
        """The quality on held-out pictures, if it suffices.

        Raises:
            GateFailed: PSNR or code usage below the configured least.
        """
        quality = self.quality(images)
        least = {"psnr": self.config.least_psnr, "usage": self.config.least_usage}
        for name, value in least.items():
            if quality[name] < value:
                raise GateFailed(
                    f"the image tokenizer's held-out {name} is {quality[name]:.3g}, and must be at least "
                    f"{value:.3g} ([tokens.image] least_{name}): fit it longer (steps), wider (width) or on more "
                    f"pictures; or lower least_{name}, if this is enough"
                )
        return quality

    def save(self, folder: Path) -> Path:
        """Writes `image_tokenizer.safetensors`, and `image_tokenizer.json` last."""
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "image_tokenizer.safetensors", save(_plain(self.network)))
        text = json.dumps({"id": self.id, "config": self.config.model_dump(mode="json")}, indent=1)
        write_file(folder / "image_tokenizer.json", text.encode())
        return folder

    @classmethod
    def load(cls, folder: Path) -> ImageTokenizer:
        """Reads what `save` wrote.

        Raises:
            TokenizerError: there is none, or its weights are not those that were saved.
        """
        try:
            meta = json.loads((folder / "image_tokenizer.json").read_text())
            weights = load_file(folder / "image_tokenizer.safetensors")
        except FileNotFoundError as error:
            raise TokenizerError(f"no image tokenizer in {folder}: run millrace fit-tokenizers") from error
        config = ImageTokenizerConfig.model_validate(meta["config"])
        network = Autoencoder(config)
        network.load_state_dict(weights)
        tokenizer = cls(config, network)
        if tokenizer.id != meta["id"]:
            raise TokenizerError(
                f"the image tokenizer in {folder} is damaged: its weights do not match its id {meta['id']}"
            )
        return tokenizer

    def _check(self, images: np.ndarray) -> None:
        size = self.config.size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise TokenizerError(
                f"expected uint8 pictures of {size}x{size}x3, got {images.dtype} {images.shape[1:]}"
            )


def fit(
    images: np.ndarray,
    config: ImageTokenizerConfig,
    progress: Callable[[int, int, float], None] | None = None,
) -> ImageTokenizer:
    """Fits a tokenizer on uint8 pictures `[n, size, size, 3]`; `progress` hears (step, steps, mean squared
    error).

    Deterministic in the seed, the pictures and the number of threads.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_freed_memory()
    network, quantizer = Autoencoder(config).initialise(config.seed), Quantizer(config.levels)
    bf16 = use_bf16(config.precision)
    dtype = torch.bfloat16 if bf16 else torch.float32
    optimizer = Optimizer(network, config.optimizer, matrices=MATRICES, bf16=bf16)
    rng = np.random.Generator(np.random.Philox(key=[config.seed, 1]))
    for step in range(config.steps):
        x = _floats(images[np.sort(rng.integers(0, len(images), config.batch))])
        latent = quantizer.straight_through(network.encode(x.to(dtype)))
        loss = F.mse_loss(network.decode(latent.to(dtype)), x)
        loss.backward()
        optimizer.step(step, config.steps)
        if progress and (step % 25 == 0 or step == config.steps - 1):
            progress(step + 1, config.steps, float(loss.detach()) / 4)
    return ImageTokenizer(config, network)


def _floats(images: np.ndarray) -> Tensor:
    """uint8 `[n, size, size, 3]` to float32 `[n, 3, size, size]` in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _plain(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().contiguous() for name, weight in network.state_dict().items()}
