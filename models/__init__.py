"""Ordinary JAX and Flax training programs: what a planner must accept unchanged.

Nothing here knows about devices, meshes or shardings. Every named program is a function
`module:name(**keywords) -> (step, (state, batch))` with `step(state, batch) -> (state, aux)` pure and jit-able.
`ALL` names the programs of test size, with concrete arrays; `LARGE` names those that are only
`jax.ShapeDtypeStruct` trees. Importing this package imports no JAX.
"""

ALL = (
    "models.mlp:tiny",
    "models.mlp:tiny_plain",
    "models.gpt:tiny",
    "models.gpt:tiny_tied",
    "models.gpt:tiny_scanned",
    "models.gpt:tiny_remat",
    "models.gpt:tiny_dropout",
    "models.gpt_nnx:tiny_nnx",
    "models.gpt_nnx:tiny_nnx_scanned",
    "models.llama:tiny",
    "models.mixtures:tiny_mixtral",
    "models.mixtures:tiny_deepseek",
    "models.moe:tiny",
    "models.moe:tiny_top1",
    "models.moe:tiny_scanned",
    "models.vit:tiny",
    "models.convnet:tiny",
    "models.unet:tiny",
    "models.dit:tiny",
    "models.graphnet:tiny",
    "models.encoder_decoder:tiny",
    "models.encoder_decoder:tiny_scanned",
)

LARGE = (
    "models.gpt:gpt2_124m",
    "models.gpt:gpt3_1_3b",
    "models.gpt:gpt3_6_7b",
    "models.gpt:gpt3_175b",
    "models.gpt:megatron",
    "models.llama:decoder",
    "models.llama:llama2_7b",
    "models.llama:llama2_70b",
    "models.llama:llama3_8b",
    "models.llama:llama3_70b",
    "models.llama:llama3_405b",
    "models.mixtures:mixtral_8x7b",
    "models.mixtures:mixtral_8x22b",
    "models.mixtures:deepseek_v3",
    "models.mixtures:qwen3_30b_a3b",
    "models.mixtures:qwen3_235b_a22b",
    "models.mixtures:gpt_oss_20b",
    "models.mixtures:gpt_oss_120b",
    "models.moe:moda_1_16t",
    "models.moe:moda_1_93t",
    "models.moe:moda_14_5t",
    "models.moe:moda_174t",
    "models.unet:ddpm_cifar10",
    "models.unet:ddpm_lsun",
    "models.dit:dit_xl_2",
    "models.graphnet:gns",
    "models.graphnet:gns_deep",
    "models.encoder_decoder:t5_large",
    "models.encoder_decoder:t5_11b",
)
