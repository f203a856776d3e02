"""Random programs under random plans give what they give without a plan; `benchmarks/conformance.py` runs many more."""

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from .plans import differences, plan_of, run_plain, run_plan
from .programs import program_of

PROGRAMS = 40


@settings(max_examples=PROGRAMS, phases=(Phase.generate,))
@given(seed=st.integers(0, 2**31))
def test_a_planned_program_gives_what_the_program_gives(seed):
    program, plan = program_of(seed), plan_of(seed)
    note(f"python benchmarks/conformance.py --minimise {seed}")
    assert not differences(program, run_plain(program), run_plan(program, plan))
