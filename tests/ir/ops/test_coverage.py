"""Which primitives of JAX have a rule, which the reader opens, which are refused; and what a refusal says."""

import pytest
from jax.extend.core import primitives

from swplan.errors import UnsupportedOpError
from swplan.ir.graph import Aval
from swplan.ir.ops import DEFINITIONS, OpSpec, rule_of

# The reader opens these: they hold functions.
STRUCTURAL = """call closed_call cond custom_jvp_call custom_lin custom_linear_solve custom_vjp_call eval_jaxpr jit
    remat2 scan while"""
# A step for one device has no business with these: collectives over a mesh axis, references, tokens.
REFUSED = """all_gather all_to_all axis_index pmax pmin ppermute psum ragged_all_to_all
    get swap after_all create_token"""


def public_primitives() -> set[str]:
    values = vars(primitives).values()
    return {str(value.name) for value in values if hasattr(value, "name") and hasattr(value, "bind")}


def test_every_public_primitive_has_a_place():
    places = [set(DEFINITIONS), set(STRUCTURAL.split()), set(REFUSED.split())]
    assert not public_primitives() - set().union(*places)
    assert sum(map(len, places)) == len(set().union(*places)), "a primitive has two places"


def test_most_public_primitives_are_covered():
    covered = public_primitives() & (set(DEFINITIONS) | set(STRUCTURAL.split()))
    print(f"{len(covered)} of {len(public_primitives())} primitives")
    assert len(covered) >= 160


@pytest.mark.parametrize("name", ["debug_callback", "psum"])
def test_unknown_primitive_names_the_source(name):
    spec = OpSpec(name, {}, (Aval((2, 3), "float32"),), ())
    with pytest.raises(UnsupportedOpError, match=rf"'{name}' \(float32\[2,3\]\)\n  at train\.py:7") as caught:
        rule_of(spec, "train.py:7")
    assert "register_rule" in str(caught.value)
