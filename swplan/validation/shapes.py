"""Which program of `models/` a name of a publication means, and its sizes where the publication states none.

MaxText names its default decoder by billions of parameters; its sizes follow from `global_parameter_scale`
(MaxText/pyconfig.py, get_individual_scales; base values of configs/base.yml). The two sizes for v4 match their names
only with heads of 256 and two matrices in the feed-forward, as was the default in 2023.
"""

from __future__ import annotations

import re

from swplan.errors import UsageError
from swplan.validation.rows import Row, count

NAMED = {
    "llama27b": "models.llama:llama2_7b",
    "llama270b": "models.llama:llama2_70b",
    "llama38b": "models.llama:llama3_8b",
    "llama370b": "models.llama:llama3_70b",
    "llama3405b": "models.llama:llama3_405b",
    "llama318b": "models.llama:llama3_8b",
    "llama3170b": "models.llama:llama3_70b",
    "llama31405b": "models.llama:llama3_405b",
    "llama3370b": "models.llama:llama3_70b",
    "mixtral8x7b": "models.mixtures:mixtral_8x7b",
    "mixtral8x22b": "models.mixtures:mixtral_8x22b",
    "deepseekv3": "models.mixtures:deepseek_v3",
    "deepseekv3671b": "models.mixtures:deepseek_v3",
    "deepseek3671b": "models.mixtures:deepseek_v3",
    "qwen330ba3b": "models.mixtures:qwen3_30b_a3b",
    "qwen3235ba22b": "models.mixtures:qwen3_235b_a22b",
    "gptoss20b": "models.mixtures:gpt_oss_20b",
    "gptoss120b": "models.mixtures:gpt_oss_120b",
}

_MAXTEXT = {
    "16b": (4096, 64, 128, 28672, 32),
    "32b": (8192, 64, 128, 28672, 32),
    "64b": (8192, 64, 128, 28672, 64),
    "128b": (8192, 128, 128, 57344, 64),
    "256b": (16384, 128, 128, 57344, 64),
    "512b": (16384, 128, 128, 57344, 128),
    "1024b": (16384, 256, 128, 114688, 128),
}
"""d_model, heads, width of a head, d_ff, layers."""
_MAXTEXT_V4 = {"22b": (6144, 24, 256, 24576, 48), "52b": (12288, 32, 256, 49152, 32)}


def named(name: str) -> tuple[str, dict[str, object]]:
    """The program and keywords that a name means.

    Raises:
        UsageError: it is not known; lists the names that are.
    """
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    if key in NAMED:
        return NAMED[key], {}
    if key in _MAXTEXT:
        return "models.llama:decoder", _decoder(*_MAXTEXT[key])
    if key in _MAXTEXT_V4:
        width, heads, head, hidden, layers = _MAXTEXT_V4[key]
        return "models.llama:decoder", _decoder(width, heads, head, hidden * 2 // 3, layers)
    raise UsageError(f"no program for the model {name!r}; known: {', '.join([*NAMED, *_MAXTEXT, *_MAXTEXT_V4])}")


def stated(row: Row) -> tuple[str, dict[str, object]]:
    """The program and keywords for sizes that a row states: GPT; Llama's where heads share keys; or experts.

    Raises:
        UsageError: a size is missing.
    """
    vocab = {"vocab": count(row, "vocab", 51200)}
    if not row["experts"] and row["kv_heads"] in ("", row["heads"]):
        sizes = {key: count(row, key) for key in ("hidden", "layers", "heads")}
        return "models.gpt:megatron", sizes | vocab | ({"ffn": count(row, "ffn")} if row["ffn"] else {})
    sizes = {"d_model": count(row, "hidden"), "d_ff": count(row, "ffn")} | vocab
    sizes |= {"layers": count(row, "layers"), "heads": count(row, "heads")}
    sizes["kv_heads"] = count(row, "kv_heads", sizes["heads"])
    if not row["experts"]:
        return "models.llama:decoder", sizes
    return "models.mixtures:large", sizes | {"experts": count(row, "experts"), "choices": count(row, "topk")}


def _decoder(width: int, heads: int, head: int, hidden: int, layers: int) -> dict[str, object]:
    sizes = {"d_model": width, "heads": heads, "kv_heads": heads, "head_dim": head, "d_ff": hidden}
    return sizes | {"layers": layers, "vocab": 32000}
