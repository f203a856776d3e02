"""Reads optimised HLO text: what XLA made of a step, instruction by instruction, and how often each runs.

For `conformance`, which compares the collectives and the matrix work found here with the device program. It is a reader
of text and nothing more: it knows no plan, runs nothing, and needs no JAX.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

Groups = tuple[tuple[int, ...], ...]

JOINS = {"add": "sum", "maximum": "max", "or": "max", "minimum": "min", "and": "min", "multiply": "product"}
PASSING = {"copy", "bitcast", "reshape", "transpose", "slice", "broadcast"}

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+)(?: \(.*\) -> .*)? \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|\w+_computations?)=(\{[^}]*\}|[^,\s]+)")
_CALLERS = {"fusion", "call", "conditional", "custom-call", "async-start"}
_GROUPS = (
    r"replica_groups=(\{\{.*?\}\}|\{\}|\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?"
    r"|mesh\[.*?\](?:, device_ids=\((?:\[[\d,]+\]T\([\d,]+\)|[\d,]+)\))? \{.*?\})"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """One array of a result."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes that it takes; less than a byte an element rounds down over the whole."""
        return prod(self.dims) * item_bits(self.dtype) // 8


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line. `shapes` are the arrays of its result, `inside` the text between its parentheses."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    inside: str
    attributes: str


@dataclass(frozen=True, slots=True)
class Computation:
    """A function: its instructions by name, in order, and its root."""

    name: str
    instructions: Mapping[str, Instruction]
    root: str


@dataclass(frozen=True, slots=True)
class Module:
    """A compiled program and the number of devices it runs on."""

    computations: Mapping[str, Computation]
    entry: str
    devices: int


@dataclass(frozen=True, slots=True)
class Run:
    """An instruction where it is reached, and how often it runs; not `exact`: in a trip of a loop of unknown length."""

    computation: Computation
    instruction: Instruction
    trips: int
    exact: bool


def item_bits(dtype: str) -> int:
    """Bits of one element of an HLO type as it lies in memory."""
    if dtype in ("pred", "token", "opaque"):
        return 8 if dtype == "pred" else 0
    return int(re.search(r"\d+", dtype)[0])


def parse(text: str) -> Module:
    """Reads the text of a module, as `compiled.as_text()` gives it."""
    computations: dict[str, Computation] = {}
    entry, name, lines = "", "", []
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            name, lines = header[2], []
            entry = name if header[1] else entry
        elif name and line.startswith("}"):
            computations[name], name = _computation(name, lines), ""
        elif name and _INSTRUCTION.match(line):
            lines.append(line)
    sizes = re.findall(r"(?:num_partitions|replica_count)=(\d+)", text.split("\n", 1)[0])
    return Module(computations, entry, prod(map(int, sizes)))


def _computation(name: str, lines: Sequence[str]) -> Computation:
    instructions = {i.name: i for i in map(_instruction, lines)}
    roots = [_INSTRUCTION.match(line)[2] for line in lines if _INSTRUCTION.match(line)[1]]
    return Computation(name, instructions, (roots or list(instructions))[-1])


def _instruction(line: str) -> Instruction:
    head = _INSTRUCTION.match(line)
    rest = re.sub(r"/\*.*?\*/", "", line[head.end() :])
    cut = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    result, call = rest[:cut], rest[cut:].lstrip()
    opening = call.index("(")
    closing = _closing(call, opening)
    inside = call[opening + 1 : closing]
    shapes = tuple(Shape(dtype, tuple(_integers(dims))) for dtype, dims in _SHAPE.findall(result))
    names = re.findall(r"%([\w.\-]+)" if "%" in inside else r"[\w.\-]+", inside)
    return Instruction(head[2], call[:opening], shapes, tuple(names), inside, call[closing + 1 :])


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at `start` closes; the end of the text if it does not."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, start):
        depth += 1 if match[0] == "(" else -1
        if not depth:
            return match.start()
    return len(text)


def walk(module: Module, name: str = "", trips: int = 1, exact: bool = True) -> Iterator[Run]:
    """Every instruction reached from a computation (the entry), with how often it runs; all branches count."""
    computation = module.computations[name or module.entry]
    for instruction in computation.instructions.values():
        yield Run(computation, instruction, trips, exact)
        if instruction.opcode == "while":
            count = trip_count(module, instruction)
            tests, times = (1, 1) if count is None else (count + 1, count)
            known = exact and count is not None
            yield from walk(module, attribute(instruction, "condition"), trips * tests, known)
            yield from walk(module, attribute(instruction, "body"), trips * times, known)
        elif instruction.opcode in _CALLERS:
            for called in _called(instruction):
                yield from walk(module, called, trips, exact)


def _called(instruction: Instruction) -> list[str]:
    found = _CALLED.findall(instruction.attributes)
    return [name.strip(" %") for names in found for name in names.strip("{}").split(",") if name.strip()]


def attribute(instruction: Instruction, key: str) -> str:
    """The one word that stands behind `key=` among the attributes, or ""."""
    return _first(rf"\b{key}=%?([^\s,]+)", instruction)


def op_name(instruction: Instruction) -> str:
    """The path of the equation from which an instruction came, or ""."""
    return _first(r'op_name="([^"]*)"', instruction)


def _first(pattern: str, instruction: Instruction) -> str:
    found = re.search(pattern, instruction.attributes)
    return found[1] if found else ""


def trip_count(module: Module, loop: Instruction) -> int | None:
    """Trips of a `while`: as XLA states them, or from start, step and the one bound of its condition; else None."""
    stated = _first(r'"known_trip_count":\{"n":"(\d+)"', loop)
    if stated:
        return int(stated)
    pace = re.search(r'"known_init_step":\{"init":"(-?\d+)","step":"(-?\d+)"', loop.attributes)
    condition = module.computations[attribute(loop, "condition")]
    inside = [run.instruction for run in walk(module, condition.name)]
    bounds = [i.inside for i in inside if i.opcode == "constant" and re.fullmatch(r"-?\d+", i.inside)]
    directions = [attribute(i, "direction") for i in inside if i.opcode == "compare"]
    if not pace or len(bounds) != 1 or len(directions) != 1:
        return None
    first, step, bound = int(pace[1]), int(pace[2]), int(bounds[0]) + (directions[0] == "LE")
    return max(0, -((first - bound) // step)) if step > 0 and directions[0] in ("LT", "LE") else None


def unknown_loops(module: Module) -> list[str]:
    """Names of the loops of unknown length."""
    loops = [run.instruction for run in walk(module) if run.instruction.opcode == "while"]
    return [loop.name for loop in loops if trip_count(module, loop) is None]


def groups_of(text: str, devices: int) -> Groups:
    """Replica groups in any form: lists, iota `[2,4]<=[4,2]T(1,0)`, mesh `mesh['a'=2,'b'=4] {'b'}`; {} is all."""
    if text.startswith("mesh"):
        return _mesh_groups(text)
    if text.startswith("["):
        shape, order = text.split("<=")
        return tuple(map(tuple, _iota(order).reshape(_integers(shape)).tolist()))
    lists = re.findall(r"\{([\d,]+)\}", text)
    return tuple(tuple(_integers(part)) for part in lists) or (tuple(range(devices)),)


def _integers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def _iota(text: str) -> np.ndarray:
    """`[4,2]T(1,0)`: the numbers from 0, in this shape, transposed."""
    shape, _, order = text.partition("T")
    sizes = _integers(shape)
    return np.arange(prod(sizes)).reshape(sizes).transpose(_integers(order) or range(len(sizes))).ravel()


def _mesh_groups(text: str) -> Groups:
    """Groups along axes of a mesh, or parts of axes: `'b':(2)4` is the part of size 4 after a part of size 2."""
    axes = re.findall(r"'?([^'=,]+)'?=(\d+)", text[text.index("[") + 1 : text.index("]")])
    names, sizes = [name for name, _ in axes], [int(size) for _, size in axes]
    listed = re.search(r"device_ids=\((.*?)\) \{", text)
    ids = listed[1] if listed else f"[{prod(sizes)}]"
    devices = _iota(ids).tolist() if "[" in ids else _integers(ids)
    parts = []
    for name, before, size in re.findall(r"'?([^'{},:]+)'?(?::\((\d+)\)(\d+))?", text[text.rindex("{") :]):
        axis = names.index(name)
        width = int(size or sizes[axis])
        parts.append((axis, sizes[axis] // (int(before or 1) * width), width))
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for device, where in zip(devices, np.ndindex(*sizes), strict=True):
        rest, rank = list(where), 0
        for axis, minor, width in parts:
            digit = where[axis] // minor % width
            rest[axis], rank = rest[axis] - digit * minor, rank * width + digit
        groups.setdefault(tuple(rest), []).append((rank, device))
    return tuple(tuple(device for _, device in sorted(members)) for members in groups.values())


def instruction_groups(instruction: Instruction, devices: int) -> Groups:
    """The groups of a collective, or the (source, target) pairs of a permute."""
    pairs = _first(r"source_target_pairs=(\{\{.*?\}\})", instruction)
    return groups_of(pairs or _first(_GROUPS, instruction) or "{}", devices)


def reduction(module: Module, applied: str) -> str:
    """What a computation joins two values by: "sum", "max", "min", ...; "" if there is none."""
    opcodes = [i.opcode for i in module.computations[applied].instructions.values()] if applied else [""]
    return next((JOINS[opcode] for opcode in opcodes if opcode in JOINS), opcodes[-1])


def narrow_type(module: Module, computation: Computation, name: str) -> str:
    """The type that a value was converted from, through copies and fusions; "" if it was not converted."""
    at = computation.instructions[name]
    if at.opcode == "fusion":
        inner = module.computations[_called(at)[0]]
        return narrow_type(module, inner, inner.root)
    if at.opcode == "convert":
        return computation.instructions[at.operands[0]].shapes[0].dtype
    return narrow_type(module, computation, at.operands[0]) if at.opcode in PASSING else ""


def matmul_flops(module: Module) -> int:
    """Flops of all contractions that one device runs in a step: loops times their trips, every branch once.

    Two for each multiply-add: of a `dot`, elements of the result times the contracted size, as in XLA's cost analysis
    (which counts the body of a loop once); of a `convolution`, elements of the result times taps times input features
    of a group, divided by the dilation of the left operand. A tap on padding counts; XLA's analysis leaves it out.
    Where XLA writes a small dot as `multiply` and `reduce`: two for each element of the multiply, the same number. What
    several fusions repeat counts each time.
    """
    return sum(run.trips * _flops(run) for run in walk(module))


def _flops(run: Run) -> int:
    at = run.instruction
    count = sum(prod(shape.dims) for shape in at.shapes)
    if at.opcode == "dot":
        left = run.computation.instructions[at.operands[0]].shapes[0]
        return 2 * count * prod(left.dims[d] for d in _integers(_first(r"lhs_contracting_dims=\{([^}]*)\}", at)))
    if at.opcode == "convolution":
        return 2 * count * _taps(run) // prod(_integers(_first(r"lhs_dilate=([\dx]+)", at)))
    return 2 * count if at.opcode == "multiply" and _was_contraction(run) else 0


def _was_contraction(run: Run) -> bool:
    """Whether a multiply stands for a contraction: by its own name or, if it has none, by that of what reads it."""
    at, others = run.instruction, run.computation.instructions.values()
    names = [op_name(at)] if op_name(at) else [op_name(i) for i in others if at.name in i.operands]
    return any(re.search(r"\b(dot_general|conv_general_dilated)$", name) for name in names)


def _taps(run: Run) -> int:
    """Taps times input features: the right operand without its output features."""
    at = run.instruction
    right = run.computation.instructions[at.operands[1]].shapes[0]
    labels = _first(r"dim_labels=\w+_(\w+)->", at)
    return prod(size for size, label in zip(right.dims, labels, strict=True) if label != "o")
