"""The smallest tokenizers and network that still work: settings that several projects of these tests share."""

from __future__ import annotations


def tokenizers(vocabulary: int, steps: int) -> str:
    """Both, fitted in a second, whatever they are worth."""
    return f"""\
[tokens.text]
vocab_size = {vocabulary}
[tokens.image]
steps = {steps}
precision = "fp32"
width = 8
threads = 1
least_psnr = 0
least_usage = 0
"""


NETWORK = """\
[train.model]
width = 16
depth = 1
heads = 2
kv_heads = 1
hidden = 32
"""
