"""Every registered program traces, runs, keeps its state's types and learns; large ones have their published size."""

import ast
import importlib
import math
from pathlib import Path

import jax
import numpy as np
import pytest

import models
from models.training import FAST_COMPILE

FOLDER = Path(models.__file__).parent
STEPS = 6
PROGRAMS = ("tiny", "gpt2_", "gpt3_", "megatron", "llama2_", "llama3_", "decoder", "moda_")
PROGRAMS += ("mixtral_", "deepseek_", "qwen3_", "gpt_oss_", "ddpm_", "dit_", "gns", "t5_")
NAMED_PARAMETERS = {
    "models.gpt:gpt2_124m": 124e6,
    "models.gpt:gpt3_1_3b": 1.3e9,
    "models.gpt:gpt3_6_7b": 6.7e9,
    "models.gpt:gpt3_175b": 175e9,
    "models.gpt:megatron": 7.5e9,
    "models.llama:decoder": 1.1e9,
    "models.moe:moda_1_16t": 1.16e12,
    "models.moe:moda_1_93t": 1.93e12,
    "models.moe:moda_14_5t": 14.5e12,
    "models.moe:moda_174t": 174e12,
    "models.unet:ddpm_cifar10": 35.7e6,
    "models.unet:ddpm_lsun": 114e6,
    "models.dit:dit_xl_2": 675e6,
    "models.encoder_decoder:t5_11b": 11.3e9,
}
COUNTED_PARAMETERS = {
    "models.llama:llama2_7b": 6.74e9,
    "models.llama:llama2_70b": 68.98e9,
    "models.llama:llama3_8b": 8.03e9,
    "models.llama:llama3_70b": 70.6e9,
    "models.llama:llama3_405b": 405.9e9,
    "models.mixtures:mixtral_8x7b": 46.7e9,
    "models.mixtures:mixtral_8x22b": 140.6e9,
    "models.mixtures:deepseek_v3": 671.0e9,
    "models.mixtures:qwen3_30b_a3b": 30.5e9,
    "models.mixtures:qwen3_235b_a22b": 235.1e9,
    "models.mixtures:gpt_oss_20b": 20.9e9,
    "models.mixtures:gpt_oss_120b": 116.8e9,
    "models.encoder_decoder:t5_large": 737.7e6,
}
"""Published as a count of the weights, where a name is a round number."""
PUBLISHED_PARAMETERS = NAMED_PARAMETERS | COUNTED_PARAMETERS
UNPUBLISHED = {"models.graphnet:gns", "models.graphnet:gns_deep"}
FEW_LAYERS = {"models.unet": ({"factors": (1, 2)},), "models.graphnet": ({"steps": 2},)}
"""Options with which a model is traced quickly; `LAYERED` where it is not listed."""
LAYERED = tuple({"layers": 2, "scan_layers": scanned} for scanned in (False, True))


def build(reference, **options):
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)(**options)


def signature(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)), tree)


@pytest.fixture(scope="module", params=models.ALL)
def trained(request):
    """A compiled step, its arguments, the state after some steps on one batch, and the loss of every step."""
    step, (state, batch) = build(request.param)
    compiled = jax.jit(step, compiler_options=FAST_COMPILE)
    return compiled, state, batch, *train(compiled, state, batch)


def train(step, state, batch):
    losses = []
    for _ in range(STEPS):
        state, aux = step(state, batch)
        losses.append(aux["loss"])
    return state, losses


def test_loss_is_a_finite_fp32_scalar_that_falls(trained):
    losses = trained[-1]
    assert all(loss.shape == () and loss.dtype == np.float32 for loss in losses)
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.95 * losses[0]


def test_step_keeps_the_types_of_the_state(trained):
    _, first, _, last, _ = trained
    assert signature(last) == signature(first)
    assert last.step == STEPS


def test_order_of_a_sum_does_not_matter(trained):
    """Reversing the batch changes only the order in which gradients are summed: the bar for every partitioned run."""
    step, first, batch, last, _ = trained
    if first.key is not None:
        return  # the random numbers of a sequence depend on its place in the batch
    other, _ = train(step, first, jax.tree.map(lambda leaf: leaf[::-1], batch))
    for one, two in zip(jax.tree.leaves(last), jax.tree.leaves(other), strict=True):
        assert np.abs(one - two).max() <= 1e-5 * np.abs(one).max()


def test_sizes_divide_by_eight_and_parameters_matter(trained):
    _, state, batch, _, _ = trained
    assert all(leaf.shape[0] % 8 == 0 for leaf in jax.tree.leaves(batch))
    leaves = jax.tree.leaves(state.params)
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    assert 0.5e6 < 3 * sum(leaf.nbytes for leaf in leaves) < 5e6


def test_same_seed_same_arguments():
    first, second = (build("models.mlp:tiny_plain", seed=3)[1] for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_every_published_size_is_listed():
    assert set(PUBLISHED_PARAMETERS) | UNPUBLISHED == set(models.LARGE)


@pytest.mark.parametrize("reference", PUBLISHED_PARAMETERS)
def test_large_program_has_its_published_size_and_allocates_nothing(reference):
    _, args = build(reference)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(args))
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(args[0].params))
    assert parameters == pytest.approx(
        PUBLISHED_PARAMETERS[reference], rel=0.005 if reference in COUNTED_PARAMETERS else 0.02
    )


FEW = [(name, options) for name in models.LARGE for options in FEW_LAYERS.get(name.split(":")[0], LAYERED)]


@pytest.mark.parametrize(("reference", "options"), FEW)
def test_large_program_traces_from_shapes(reference, options):
    step, args = build(reference, **options)
    state, aux = jax.eval_shape(step, *args)
    assert signature(state) == signature(args[0])
    assert aux["loss"].shape == ()


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["models.unet:ddpm_lsun"])
def test_programs_of_little_repetition_have_ten_thousand_equations(reference):
    step, args = build(reference)
    assert len(jax.make_jaxpr(step)(*args).eqns) >= 10_000


def test_registry_lists_every_program():
    found = {
        f"models.{path.stem}:{node.name}"
        for path in FOLDER.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith(PROGRAMS)
    }
    assert found == {*models.ALL, *models.LARGE}


def test_models_know_neither_the_planner_nor_sharding():
    for path in FOLDER.glob("*.py"):
        source = path.read_text()
        assert "swplan" not in source, path
        assert not any(word in source for word in ("Mesh(", "PartitionSpec", "shard_map", "with_sharding_constraint"))
