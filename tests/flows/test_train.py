"""The train and evaluate flows: a run that did not end well says so in the tables; mistakes are told."""

from __future__ import annotations

from typing import Any

import pytest

from flows import evaluate, train
from flows.config import ConfigError, parse
from storage.errors import StoreFull
from storage.store import Store


def full(*_: object, **__: object) -> None:
    raise StoreFull("no room left on the device")


def test_a_run_that_ends_by_any_error_is_marked_failed(mill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.training, "train", full)
    with pytest.raises(StoreFull, match="no room"):
        train.start(str(mill.config))
    assert mill.sql("SELECT kind, state FROM runs") == [("train", "failed")]


def test_the_error_is_told_also_when_there_is_no_room_for_the_mark(
    mill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.training, "train", full)
    monkeypatch.setattr(Store, "append", full)
    with pytest.raises(StoreFull, match="no room"):
        train.start(str(mill.config))


@pytest.mark.parametrize("name", ["no.such.module", ".x", "json"])
def test_a_module_without_attributes_is_a_mistake_of_the_configuration(name: str) -> None:
    config = parse({"evaluate": {"attributes": name}})
    with pytest.raises(ConfigError, match=f'attributes = "{name}"'):
        evaluate.parser(config)
