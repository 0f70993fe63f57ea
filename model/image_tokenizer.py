"""Pictures to codes and back: a convolutional autoencoder with finite scalar quantisation (FSQ).

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


class GateFailed(Exception):
    """A fitted tokenizer is not good enough to be used; the message says by how much."""


class TokenizerError(Exception):
    """Pictures of another size, or a folder without a tokenizer."""


class Residual(nn.Module):
    """Two convolutions around a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class Autoencoder(nn.Module):
    """The network: pictures `[n, 3, size, size]` in [-1, 1] to latents `[n, channels, rows, columns]` and
    back."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        self.patch, channels, width = config.patch, len(config.levels), config.width
        pixels = 3 * config.patch**2
        self.encoder = nn.Sequential(
            nn.Conv2d(pixels, width, 3, padding=1),
            *(Residual(width) for _ in range(config.blocks)),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            *(Residual(width) for _ in range(config.blocks)),
            nn.ReLU(),
            nn.Conv2d(width, pixels, 1),
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(F.pixel_unshuffle(x, self.patch))

    def decode(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(self.decoder(z), self.patch)


class Quantizer:
    """Rounds each channel to its levels and numbers the combinations."""

    def __init__(self, levels: tuple[int, ...]) -> None:
        self.levels = torch.tensor(levels, dtype=torch.float32).view(1, -1, 1, 1)
        self.half = (self.levels - 1) / 2
        self.strides = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))]).view(1, -1, 1, 1)

    def bound(self, z: Tensor) -> Tensor:
        """Each channel within (0, levels - 1), before rounding."""
        return (torch.tanh(z) + 1) * self.half

    def straight_through(self, z: Tensor) -> Tensor:
        """Rounded values in [-1, 1], whose gradient passes the rounding by."""
        bounded = self.bound(z)
        return (bounded + (bounded.round() - bounded).detach()) / self.half - 1

    def codes(self, z: Tensor) -> Tensor:
        """Latents to int64 codes `[n, rows, columns]`."""
        return (self.bound(z).round().long() * self.strides).sum(1)

    def values(self, codes: Tensor) -> Tensor:
        """Codes `[n, rows, columns]` to the decoder's input."""
        digits = (codes.unsqueeze(1) // self.strides) % self.levels.long()
        return digits.float() / self.half - 1


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
        """Reconstruction of pictures not fitted on: `psnr` (dB, of the mean squared error over all), `usage`
        (share of codes that occur), `perplexity` (codes in effective use)."""
        codes = self.encode(images)
        error = float(np.mean((self.decode(codes).astype(np.float32) - images.astype(np.float32)) ** 2))
        counts = np.bincount(codes.ravel(), minlength=self.config.codes)
        share = counts[counts > 0] / counts.sum()
        return {
            "psnr": 10 * math.log10(255**2 / max(error, 1e-9)),
            "usage": float((counts > 0).mean()),
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
                    f"{value:.3g}: "
                    "fit it longer (steps), wider (width), or on more pictures"
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
    network, quantizer = _initialised(config), Quantizer(config.levels)
    rng = np.random.Generator(np.random.Philox(key=[config.seed, 1]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0)
    network.to(memory_format=torch.channels_last)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _schedule(step, config.steps)
        x = _floats(images[rng.integers(0, len(images), config.batch)])
        loss = F.mse_loss(network.decode(quantizer.straight_through(network.encode(x))), x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if progress and (step % 25 == 0 or step == config.steps - 1):
            progress(step + 1, config.steps, float(loss.detach()) / 4)
    return ImageTokenizer(config, network.to(memory_format=torch.contiguous_format))


def _schedule(step: int, steps: int) -> float:
    """A short warm-up, then a cosine to nothing."""
    return min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _initialised(config: ImageTokenizerConfig) -> Autoencoder:
    """Weights from the seed alone, whatever was drawn before."""
    network = Autoencoder(config)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 1:
                weight.zero_()
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (2 / weight[0].numel()) ** 0.5)
    return network


def _floats(images: np.ndarray) -> Tensor:
    """uint8 `[n, size, size, 3]` to float32 `[n, 3, size, size]` in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _plain(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().contiguous() for name, weight in network.state_dict().items()}
