"""The fit-filter flow: a small image-text model of the user's own corpus, fitted once, that scores all of it.

Fang et al., "Data Filtering Networks", 2023 (arXiv 2309.17425): the filter learns from the part that is trusted, by its
source or its signals, and judges every row. `<store>/filtering/<id>/` holds each; `current.json` names the one in use.
An ingest that needs one fits it when there is none and never again; `millrace fit-filter` refits on demand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import flow

from flows import tokenizers
from flows.config import Config, ConfigError, read
from flows.models import IMAGE_TEXT, Chain, needed
from flows.progress import bar, say
from model import clip_train
from model.checkpoint import write_file
from model.clip import ImageTextModel
from model.clip_config import OWN
from pipeline.stage import passing
from pipeline.step import Gather
from storage.snapshot import refuse
from storage.store import Store
from storage.tables import TABLES
from storage.views import literal, name

CURRENT = "current.json"


def wanted(config: Config) -> bool:
    """Whether some annotator needs the image-text model, and that is the filtering network."""
    return needed(config, IMAGE_TEXT) and config.image_text.model == OWN


def fitted(store: Store) -> bool:
    """Whether there is one."""
    return (store.folder("filtering") / CURRENT).exists()


def ready(store: Store, config: Config, *, refit: bool = False) -> ImageTextModel:
    """The filtering network in use, fitted first if there is none (or `refit`)."""
    root = store.folder("filtering")
    if refit or not (root / CURRENT).exists():
        made = fit(store, config, refit=refit)
        write_file(root / CURRENT, json.dumps({"id": made}).encode())
    return ImageTextModel.load(str(root / json.loads((root / CURRENT).read_text())["id"]))


def fit(store: Store, config: Config, *, refit: bool = True) -> str:
    """Fits a network on the trusted training rows and saves it; returns its id.

    The first fit (no `refit`) comes after all that needs no model, and takes what has just been decided.

    Raises:
        FitError: too few rows are trusted.
        LicenceNotAllowed: some of them may not enter a snapshot: a network learns from them, too.
    """
    settings = config.filtering_network
    rows = trusted(store, config, refit=refit)
    licences = rows["licence"].fill_null("").value_counts()
    refuse({str(one["values"]): one["counts"].as_py() for one in licences}, config.licences.allow)
    ids = rows["image_id"].unique()
    places = {image_id: place for place, image_id in enumerate(ids.to_pylist())}
    images = tokenizers.decoded(store, pa.chunked_array([ids]), settings.size)
    say(f"fitting the filtering network on {len(images):,} pictures, once; later ingests apply it")
    with bar("fit filtering network", settings.steps, "steps") as shown:
        made = clip_train.fit(
            images,
            [places[image_id] for image_id in rows["image_id"].to_pylist()],
            rows["text"].to_pylist(),
            settings,
            lambda step, steps, loss: shown.update(step, f"loss {loss:.3f}", total=steps),
        )
    return made.save(store.folder("filtering"))


def trusted(store: Store, config: Config, *, refit: bool = True) -> pa.Table:
    """image_id, text, licence of the rows to learn from, pictures drawn and ordered by the hash of their ids.

    Training rows only, and those that the steps keep which read no model's signal. For a `refit` they are asked anew:
    what the last network thought of a row, and dropped before others saw it, shall not decide what the next one learns.
    """
    settings, where = config.filtering_network, ["split = 'train'", "NOT coalesce(held_out, false)"]
    for column, chosen in (("source", settings.sources), ("lang", settings.langs), ("task", settings.tasks)):
        if chosen:
            where.append(f"{column} IN ({', '.join(map(literal, chosen))})")
    where += [f"{name(signal(config, one))} >= {least!r}" for one, least in settings.least.items()]
    passed = _passing(store, config) if refit else None
    with store.connect() as db:
        if passed is None:
            db.execute("CREATE TEMP VIEW passed AS SELECT sample_id FROM verdicts WHERE kept")
        else:
            db.register("passed", passed)
        return db.sql(
            "WITH rows AS (SELECT sample_id, image_id, text, licence FROM signals JOIN splits USING (sample_id) "
            "SEMI JOIN passed USING (sample_id) "
            f"WHERE image_id IS NOT NULL AND text IS NOT NULL AND {' AND '.join(where)}), "
            "drawn AS (SELECT DISTINCT image_id FROM rows ORDER BY md5(image_id) LIMIT ?) "
            "SELECT image_id, text, licence FROM rows JOIN drawn USING (image_id) "
            "ORDER BY md5(image_id), sample_id",
            params=[settings.max_pictures],
        ).to_arrow_table()


def signal(config: Config, column: str) -> str:
    """The column of `signals` for "annotator.column".

    Raises:
        ConfigError: no annotator of the configuration makes it without a model.
    """
    made = {
        f"{step.table()}.{one}": f"{step.table()}_{one}"
        for step in Chain.of(config).plain().annotators
        for one in step.columns.names
    }
    if column not in made:
        raise ConfigError(
            f'[filtering_network] least: "{column}" is made by no annotator of this configuration, or with a model; '
            f"there are: {', '.join(sorted(made)) or 'none'}"
        )
    return made[column]


def _passing(store: Store, config: Config) -> pa.Table:
    """sample_id of the rows that the chain keeps which reads no model's signal.

    Raises:
        ConfigError: one of its steps reads what no ingest has made yet.
    """
    plain, made = Chain.of(config).plain(), {*TABLES, *(table.name for table in store.declared())}
    for step in (*plain.filters, *plain.gathers):
        tables = {one.split(".")[0] for one in step.reads if "." in one or isinstance(step, Gather)}
        if missing := sorted(tables - made):
            raise ConfigError(
                f'{step.module()} reads "{missing[0]}", which is not there yet: run `millrace ingest`'
            )
    return passing(store, plain.filters, plain.gathers)


@flow(name="fit_filter")
def fit_filter(config: str = "millrace.toml") -> dict[str, Any]:
    """Fits the filtering network anew on the trusted training rows; the next ingest scores every row with it.

    Args:
        config: The TOML file that says what to do.
    """
    settings = read(Path(config))
    store = settings.open_store()
    made = ready(store, settings, refit=True)
    about = json.loads((Path(made.place.model) / "filtering_network.json").read_text())
    say(f"filtering network {made.id}: {about['steps']:,} steps on {about['pictures']:,} pictures")
    return {key: about[key] for key in ("id", "steps", "pictures", "texts", "loss")}


def start(config_path: str) -> dict[str, Any]:
    """Runs the flow here."""
    return fit_filter(config=config_path)
