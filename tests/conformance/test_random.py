"""Random programs under random plans give what they give without a plan, and exchange what was planned.

`benchmarks/conformance.py` runs many more. XLA may leave out an exchange, whose value nothing depends on in programs as
foolish as these, and find out how often a loop runs; but it adds no exchange. With 16-bit floats its widening and
merging hide that, so it is not asked there.
"""

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from swplan.runtime.conformance import compare

from .plans import exchanges, lower_plan, mistakes, plan_of
from .programs import program_of

PROGRAMS = 30


@settings(max_examples=PROGRAMS, phases=(Phase.generate,))
@given(seed=st.integers(0, 2**31))
def test_a_planned_program_gives_what_the_program_gives(seed):
    note(f"to see it smaller: python benchmarks/conformance.py --minimise {seed}")
    program = program_of(seed)
    planned = lower_plan(program, plan_of(seed))
    compiled = planned.compile()
    ours, emitted = exchanges(planned)
    assert ours == emitted
    report = compare(planned.program, planned.graph, planned.mesh, compiled)
    unplanned = [str(one) for one in report.differences if one.compiled and one.what != "other exact"]
    assert program.is_narrow or not unplanned
    assert not mistakes(program, list(compiled(*planned.inputs)))
