"""Checkpoints: a folder per step, weights and optimizer as safetensors, and the metadata file written last.

A folder without its metadata is not a checkpoint: whatever kills the process, the last complete one is found.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from storage.errors import StoreFull, is_full

META = "metadata.json"
FORMAT = 1


class CheckpointError(Exception):
    """There is no such checkpoint, or it is damaged; the message says which."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    meta: Mapping[str, Any]

    @property
    def id(self) -> str:
        """sha256 of the weights file, hex, first 16."""
        return self.meta["checkpoint_id"]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.meta["step"]

    def weights(self, device: str = "cpu") -> dict[str, Tensor]:
        return load_file(self.folder / "model.safetensors", device=device)

    def optimizer(self, device: str = "cpu") -> dict[str, Tensor]:
        return load_file(self.folder / "optimizer.safetensors", device=device)

    def verify(self) -> Checkpoint:
        """Itself, if the weights are those that were saved.

        Raises:
            CheckpointError: they are not.
        """
        if hash_file(self.folder / "model.safetensors") != self.id:
            raise CheckpointError(f"checkpoint {self.folder} is damaged: its weights do not match their hash")
        return self


def write_file(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all, even after a power cut."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    _sync(path.parent)


def write(
    root: Path,
    step: int,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    meta: Mapping[str, Any],
) -> Checkpoint:
    """Saves one under `root/<step>`, replacing an incomplete one of the same step.

    Raises:
        StoreFull: no room; nothing of it is left, and earlier ones stay.
    """
    folder = begin(root, step)
    with room_for(folder):
        for name, tensors in (("model", weights), ("optimizer", optimizer)):
            path = folder / f"{name}.safetensors"
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, path)
        return finish(folder, step, meta)


def begin(root: Path, step: int) -> Path:
    """An empty folder for a step's checkpoint."""
    folder = root / f"{step:08d}"
    shutil.rmtree(folder, ignore_errors=True)
    with room_for(folder):
        folder.mkdir(parents=True)
    return folder


def finish(folder: Path, step: int, meta: Mapping[str, Any]) -> Checkpoint:
    """Makes a folder with both files a checkpoint: all is on disk before its metadata is."""
    for name in ("model", "optimizer"):
        _sync(folder / f"{name}.safetensors")
    identity = hash_file(folder / "model.safetensors")
    full = {"format": FORMAT, "checkpoint_id": identity, "step": step, "torch": torch.__version__, **meta}
    write_file(folder / META, json.dumps(full, indent=1, ensure_ascii=False).encode())
    _sync(folder.parent)
    return Checkpoint(folder, full)


@contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Turns what a full device raises, safetensors among them, into the store's error, and clears the folder."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise StoreFull(
            f"{folder}: no room left on the device for a checkpoint, the last one is kept. Free some space and "
            "run it again: it goes on from there."
        ) from error


def read(folder: Path) -> Checkpoint:
    """A checkpoint's folder, or a run's folder, whose last complete checkpoint is taken.

    Raises:
        CheckpointError: there is none.
    """
    if (folder / META).is_file():
        meta = json.loads((folder / META).read_text())
        if meta.get("format") != FORMAT:
            raise CheckpointError(
                f"checkpoint {folder} has format {meta.get('format')}, and this version reads {FORMAT}"
            )
        return Checkpoint(folder, meta)
    last = latest(folder)
    if last is None:
        raise CheckpointError(f"no complete checkpoint in {folder}: run millrace train")
    return last


def complete(root: Path) -> list[Path]:
    """Folders of the complete checkpoints below a run's folder, oldest first."""
    return sorted(path.parent for path in root.glob(f"*/{META}")) if root.is_dir() else []


def latest(root: Path) -> Checkpoint | None:
    """The last complete checkpoint of a run, if any."""
    folders = complete(root)
    return read(folders[-1]) if folders else None


def prune(root: Path, keep: int, spare: Collection[str] = ()) -> list[Checkpoint]:
    """Removes all but the last `keep` complete checkpoints and those whose id is to be spared; returns what went."""
    found = [Checkpoint(one, json.loads((one / META).read_text())) for one in complete(root)[:-keep]]
    gone = [one for one in found if one.id not in spare]
    for one in gone:
        (one.folder / META).unlink()  # first, so that a kill leaves an incomplete one
        shutil.rmtree(one.folder, ignore_errors=True)
    return gone


def sweep(root: Path) -> list[Path]:
    """Removes the incomplete checkpoints that a kill left. Nobody may be writing one."""
    left = [path for path in root.glob("[0-9]*") if path.is_dir() and not (path / META).is_file()]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return left


def hash_file(path: Path) -> str:
    """sha256 of a file, hex, first 16."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
