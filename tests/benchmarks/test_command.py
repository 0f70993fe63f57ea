"""`python -m benchmarks`: every benchmark is listed with its question, and a small run keeps the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import module, names

ROOT = Path(__file__).parents[2]
FIELDS = ["name", "ours", "peer", "peer_name", "unit", "ratio", "limit", "quality_ours", "quality_peer"]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=ROOT, env=env, capture_output=True, text=True
    )


def test_what_the_design_asks_for_is_there():
    assert {"collect", "ingest_memory", "rerun", "tokenize"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_a_benchmark_says_what_it_asks_and_what_it_has_to_reach(name):
    found = module(name)
    assert "?" in found.__doc__.split("\n")[0]
    assert "The limit is" in found.__doc__.replace("\n", " ")
    assert "Quality is" in found.__doc__.replace("\n", " ")
    assert found.SIZE > 0
    assert found.PAIRS > 0
    assert found.GOAL > 0


def test_help_lists_every_benchmark():
    told = command("--help")
    assert told.returncode == 0
    for name in names():
        assert name in told.stdout


def test_an_unknown_name_is_answered_with_those_that_there_are():
    told = command("tokenise")
    assert told.returncode == 2
    assert "rerun" in told.stderr
    assert "Traceback" not in told.stderr


def measure(name: str, size: int, work: Path) -> list[dict]:
    """A small run, whose lines and rows of the table must agree."""
    docs = work / "results.md"
    done = command(name, "--size", str(size), "--pairs", "1", "--work", str(work), "--docs", str(docs))
    assert done.returncode == 0, done.stderr + done.stdout
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert json.loads(done.stdout.splitlines()[-1]) == results[-1]
    for result in results:
        assert [field for field in result if field != "cpu_ratio"] == FIELDS
        assert result["name"] == name
        assert min(result["ours"], result["peer"], result["ratio"], result["limit"]) > 0
    assert [result["ratio"] for result in results] == sorted((r["ratio"] for r in results), reverse=True)
    assert docs.read_text().count(f"| {name} |") == len(results)
    return results


@pytest.mark.slow
def test_rerun_compares_a_first_run_with_one_that_finds_nothing_new(tmp_path):
    [result] = measure("rerun", 60, tmp_path)
    assert result["quality_ours"] == 1.0
    assert result["unit"] == "s"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ingest_memory_compares_two_sizes(tmp_path):
    [result] = measure("ingest_memory", 120, tmp_path)
    assert result["unit"] == "MiB"
    assert result["ours"] > 100  # the workers are counted too
    assert 0.8 < result["quality_ours"] <= 1.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_incremental_adds_to_what_is_there(tmp_path):
    results = measure("incremental", 120, tmp_path)
    assert {result["peer_name"].split()[4] for result in results} == {"photographs", "drawn"}
    for result in results:
        assert result["limit"] < result["peer"] / 5
        assert 0.8 < result["quality_ours"] <= 1.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tokenize_makes_the_same_ids_as_both_peers(tmp_path):
    results = measure("tokenize", 1500, tmp_path)
    assert {result["peer_name"].split()[0] for result in results} == {"HF", "tiktoken"}
    assert all(result["quality_ours"] == result["quality_peer"] == 1.0 for result in results)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_collect_stores_the_same_pictures_as_its_peer(tmp_path):
    [result] = measure("collect", 60, tmp_path)
    assert result["unit"] == "pictures/s"
    assert result["cpu_ratio"] > 0
    assert result["quality_ours"] > 35 and abs(result["quality_ours"] - result["quality_peer"]) < 1  # dB


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_collect_memory_stores_every_url(tmp_path):
    [result] = measure("collect_memory", 1_000, tmp_path)
    assert result["quality_ours"] == result["quality_peer"] == 1.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_benchmark_says_so_and_is_no_failure():
    told = command("gpu")
    assert told.returncode == 0
    assert "no GPU" in told.stderr and "Traceback" not in told.stderr


def test_the_peers_of_train_step_have_as_many_weights_as_ours_has_for_a_token():
    """Without embeddings and heads, whose ids are the same."""
    from benchmarks.rig import made_corpus
    from benchmarks.rig.step_worker import NanoGPT
    from model.transformer import Transformer

    config = made_corpus.model("tiny")
    shape = (config.size, 160, config.width, config.depth, config.heads, config.hidden)
    with torch.device("meta"):
        ours, theirs = Transformer(config), NanoGPT(*shape)
    active = sum(w.numel() for n, w in ours.named_parameters() if ".experts.0." in n)
    assert abs(active / sum(w.numel() for w in theirs.blocks.parameters()) - 1) < 0.02


@pytest.mark.slow
def test_sql_counts_what_pandas_does(tmp_path):
    results = measure("sql", 3_000, tmp_path)
    assert [result["peer_name"].split()[0] for result in results] == ["pandas"] * 4
    assert all(result["quality_ours"] == 1.0 for result in results)
    [slowest] = measure("pages", 3_000, tmp_path)
    assert slowest["name"] == "pages" and slowest["quality_ours"] == 1.0
