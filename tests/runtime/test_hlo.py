"""The reader of HLO text, on text as both versions of XLA print it."""
# ruff: noqa: E501 (an instruction is one line)

import pytest

from swplan.runtime import hlo

# jax 0.10.2 prints groups as lists, 0.12 by mesh axes; the rest of these lines is the same in both.
MODULE = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8,8]{1,0})->f32[8,8]{1,0}}, num_partitions=8

FileNames
1 "/tmp/f.py"

%region_1.1 (psum.1: f32[], psum.4: f32[]) -> f32[] {
  %psum.1 = f32[] parameter(0), metadata={op_name="while/body/psum"}
  %psum.4 = f32[] parameter(1)
  ROOT %add.2 = f32[] add(%psum.1, %psum.4), metadata={op_name="add" stack_frame_id=9}
}

%region_5.6_promoted (x.2: f32[], y: f32[]) -> f32[] {
  %x.2 = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %maximum.16 = f32[] maximum(%x.2, %y)
}

%fused_computation (param_0: f32[8,8], param_1: f32[8,8]) -> f32[8,8] {
  %param_0 = f32[8,8]{1,0} parameter(0)
  %param_1 = f32[8,8]{1,0} parameter(1)
  ROOT %dot.4 = f32[8,8]{1,0} dot(%param_0, %param_1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused_computation.6 (param_0.13: bf16[8,8]) -> f32[8,8] {
  %param_0.13 = bf16[8,8]{1,0} parameter(0)
  %convert.9 = f32[8,8]{1,0} convert(%param_0.13)
  ROOT %bitcast.1 = f32[8,8]{1,0} bitcast(%convert.9)
}

%body (param: (s32[], f32[8,8])) -> (s32[], f32[8,8]) {
  %param = (s32[], f32[8,8]{1,0}) parameter(0)
  %get-tuple-element.62 = s32[] get-tuple-element(%param), index=0
  %get-tuple-element.63 = f32[8,8]{1,0} get-tuple-element(%param), index=1
  %ynn_fusion = f32[8,8]{1,0} fusion(%get-tuple-element.63, %get-tuple-element.63), kind=kCustom, calls=%fused_computation, backend_config={"fusion_config":{"kind":"__ynn_fusion"}}
  %psum.25 = f32[8,8]{1,0} all-reduce(%ynn_fusion), channel_id=1, replica_groups=GROUPS, use_global_device_ids=true, to_apply=%region_1.1
  ROOT %tuple.28 = (s32[], f32[8,8]{1,0}) tuple(%get-tuple-element.62, /*index=1*/%psum.25)
}

%test (param.1: (s32[], f32[8,8])) -> pred[] {
  %param.1 = (s32[], f32[8,8]{1,0}) parameter(0)
  %constant.9 = s32[] constant(5)
  %get-tuple-element.26 = s32[] get-tuple-element(%param.1), index=0
  ROOT %lt = pred[] compare(%get-tuple-element.26, %constant.9), direction=LT
}

ENTRY %main.18_spmd (param.9: bf16[8,8]) -> f32[8,8] {
  %param.9 = bf16[8,8]{1,0} parameter(0), sharding={replicated}, metadata={op_name="x"}
  %constant.11 = s32[] constant(0)
  %convert_fusion = f32[8,8]{1,0:T(8,128)} fusion(%param.9), kind=kLoop, calls=%fused_computation.6
  %psum.30 = f32[8,8]{1,0} all-reduce(%convert_fusion), channel_id=1, replica_groups={{0,1,2,3,4,5,6,7}}, use_global_device_ids=true, to_apply=%region_5.6_promoted, metadata={op_name="jit(f)/pmax"}
  %tuple.26 = (s32[], f32[8,8]{1,0}) tuple(%constant.11, %psum.30)
  %while.18 = (s32[], f32[8,8]{1,0}) while(%tuple.26), condition=%test, body=%bodyCONFIG
  ROOT %get-tuple-element.48 = f32[8,8]{1,0} get-tuple-element(%while.18), index=1
}
"""
LISTS = "{{0,1,2,3},{4,5,6,7}}"
STATED = ', backend_config={"known_init_step":{"init":"0","step":"1"},"known_trip_count":{"n":"5"}}'
ROWS = ((0, 1, 2, 3), (4, 5, 6, 7))
COLUMNS = ((0, 4), (1, 5), (2, 6), (3, 7))


def module(groups: str = LISTS, config: str = STATED) -> hlo.Module:
    return hlo.parse(MODULE.replace("GROUPS", groups).replace("CONFIG", config))


def runs(of: hlo.Module, opcode: str) -> list[hlo.Run]:
    return [run for run in hlo.walk(of) if run.instruction.opcode == opcode]


def test_reads_computations_shapes_and_operands():
    parsed = module()
    assert (parsed.entry, parsed.devices) == ("main.18_spmd", 8)
    body = parsed.computations["body"]
    assert body.root == "tuple.28"
    assert body.instructions["tuple.28"].operands == ("get-tuple-element.62", "psum.25")
    assert body.instructions["param"].shapes == (hlo.Shape("s32", ()), hlo.Shape("f32", (8, 8)))
    assert [shape.bytes for shape in body.instructions["param"].shapes] == [4, 256]


@pytest.mark.parametrize("groups", [LISTS, "mesh['a'=2,'b'=4] {'b'}", "[2,4]<=[8]"])
def test_what_is_in_a_loop_runs_once_a_trip(groups):
    outer, inner = runs(module(groups), "all-reduce")
    assert (outer.trips, inner.trips, inner.exact) == (1, 5, True)
    assert hlo.instruction_groups(inner.instruction, 8) == ROWS
    assert hlo.matmul_flops(module(groups)) == 5 * 2 * 8**3
    assert [run.trips for run in runs(module(groups), "compare")] == [6]


def test_trip_count_follows_from_start_step_and_bound():
    start = ', backend_config={"known_init_step":{"init":"1","step":"2"}}'
    assert [run.trips for run in runs(module(config=start), "dot")] == [2]


def test_a_loop_of_unknown_length_is_said_to_be_one():
    parsed = module(config="")
    assert hlo.unknown_loops(parsed) == ["while.18"]
    assert [(run.trips, run.exact) for run in runs(parsed, "dot")] == [(1, False)]
    assert not hlo.unknown_loops(module())


def test_names_the_type_that_was_widened_and_the_reduction():
    parsed = module()
    assert hlo.narrow_type(parsed, parsed.computations[parsed.entry], "convert_fusion") == "bf16"
    assert hlo.narrow_type(parsed, parsed.computations["body"], "ynn_fusion") == ""
    assert hlo.reduction(parsed, "region_1.1") == "sum"
    assert hlo.reduction(parsed, "region_5.6_promoted") == "max"
    assert hlo.reduction(parsed, "") == ""


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("{}", (tuple(range(8)),)),
        ("{{0,2},{1,3}}", ((0, 2), (1, 3))),
        ("[4,2]<=[2,4]T(1,0)", COLUMNS),
        ("[2,4]<=[8]", ROWS),
        ("mesh['a'=2,'b'=4] {'a'}", COLUMNS),
        ("mesh[a=2,b=4] {b}", ROWS),
        ("mesh['a'=2,'b'=2,'c'=2] {'c','a'}", ((0, 4, 1, 5), (2, 6, 3, 7))),
        ("mesh['b'=2,'a'=2], device_ids=(0,2,1,3) {'a'}", ((0, 2), (1, 3))),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", ((0, 2, 4, 6), (1, 3, 5, 7))),
        ("mesh['a'=8] {'a':(1)2}", COLUMNS),
        ("mesh['a'=8] {'a':(2)4}", ROWS),
    ],
)
def test_reads_every_form_of_groups(text, groups):
    assert hlo.groups_of(text, 8) == groups
    instruction = hlo._instruction(f"  %x = f32[8]{{0}} all-reduce(%y), replica_groups={text}, to_apply=%add")
    assert hlo.instruction_groups(instruction, 8) == groups


def test_pairs_of_a_permute_are_its_groups():
    line = "  %p = f32[8]{0} collective-permute(%x), channel_id=1, source_target_pairs={{0,4},{4,0}}"
    assert hlo.instruction_groups(hlo._instruction(line), 8) == ((0, 4), (4, 0))


def test_reads_the_short_form_without_signs():
    text = """HloModule m, replica_count=4
add {
  lhs = f32[] parameter(0)
  rhs = f32[] parameter(1)
  ROOT add = f32[] add(lhs, rhs)
}

ENTRY main {
  a = bf16[4] parameter(0)
  b = f32[2] parameter(1)
  pair = (bf16[4], f32[2]) tuple(a, /*index=1*/b)
  ROOT r = f32[2]{0} all-reduce(b), replica_groups={}, to_apply=add
}
"""
    parsed = hlo.parse(text)
    assert parsed.devices == 4
    main = parsed.computations["main"]
    assert main.instructions["pair"].operands == ("a", "b")
    assert hlo.instruction_groups(main.instructions["r"], parsed.devices) == ((0, 1, 2, 3),)


def test_calls_are_followed_once_for_a_pair_of_start_and_done():
    text = """HloModule m, num_partitions=2
%wrapped (p: f32[2]) -> f32[4] {
  %p = f32[2]{0} parameter(0)
  ROOT %ag = f32[4]{0} all-gather(%p), replica_groups={{0,1}}, dimensions={0}
}

%left (q: f32[2]) -> f32[2] {
  ROOT %q = f32[2]{0} parameter(0)
}

ENTRY %main (x: f32[2], k: s32[]) -> f32[4] {
  %x = f32[2]{0} parameter(0)
  %k = s32[] parameter(1)
  %c = f32[2]{0} conditional(%k, %x, %x), branch_computations={%left, %left}
  %s = ((f32[2]{0}), f32[4]{0}) async-start(%c), calls=%wrapped
  ROOT %d = f32[4]{0} async-done(%s), calls=%wrapped
}
"""
    parsed = hlo.parse(text)
    assert len(runs(parsed, "all-gather")) == 1
    assert [run.computation.name for run in hlo.walk(parsed)].count("left") == 2


@pytest.mark.parametrize(
    ("line", "flops"),
    [
        ("dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}", 2 * 4 * 8 * 16),
        ('multiply(%a, %b), metadata={op_name="jit(f)/dot_general"}', 2 * 4 * 16),
        ('multiply(%a, %b), metadata={op_name="jit(f)/mul"}', 0),
        ("multiply(%a, %b)", 0),
    ],
)
def test_flops_of_a_dot_and_of_what_replaces_it(line, flops):
    text = f"""HloModule m
ENTRY %main (a: f32[4,8], b: f32[8,16]) -> f32[4,16] {{
  %a = f32[4,8]{{1,0}} parameter(0)
  %b = f32[8,16]{{1,0}} parameter(1)
  ROOT %r = f32[4,16]{{1,0}} {line}
}}
"""
    assert hlo.matmul_flops(hlo.parse(text)) == flops


def test_a_nameless_product_is_named_by_the_sum_that_reads_it():
    text = """HloModule m
ENTRY %main (a: f32[4,8], b: f32[4,8]) -> f32[4] {
  %a = f32[4,8]{1,0} parameter(0)
  %b = f32[4,8]{1,0} parameter(1)
  %m = f32[4,8]{1,0} multiply(%a, %b)
  %z = f32[] constant(0)
  ROOT %r = f32[4]{0} reduce(%m, %z), dimensions={1}, to_apply=%add, metadata={op_name="jit(f)/dot_general" id=1}
}
"""
    assert hlo.matmul_flops(hlo.parse(text)) == 2 * 4 * 8


def test_flops_of_a_convolution_leave_out_the_zeros_of_a_dilation():
    text = """HloModule m
ENTRY %main (a: f32[4,8,8,16], b: f32[3,3,8,16]) -> f32[4,16,16,8] {
  %a = f32[4,8,8,16]{3,2,1,0} parameter(0)
  %b = f32[3,3,16,8]{3,2,1,0} parameter(1)
  ROOT %r = f32[4,16,16,8]{3,2,1,0} convolution(%a, %b), window={size=3x3 pad=2_1x2_1 lhs_dilate=2x2}, dim_labels=b01f_01io->b01f
}
"""
    assert hlo.matmul_flops(hlo.parse(text)) == 2 * (4 * 16 * 16 * 8) * (3 * 3 * 16) // 4
