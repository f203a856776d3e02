"""Passes over the steps of an elimination (layout.py): kernels that add tables and take minima.

For elimination.py. A step goes along lines: its message cut into parts over the last of its axes. Where an input has
the numbers of a line is worked out once for the step; what does not depend on the place in the line is added first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled, inner

LINE = 256  # most entries of a line, but where one axis is longer
ONE, MANY, ALL = range(3)  # what an input has along a line: one number, some here and there, all in a row


class _Work(NamedTuple):
    """Room for the sum along a line, and for each input of a step: where it starts, has its numbers, and what kind."""

    held: np.ndarray
    start: np.ndarray
    within: np.ndarray
    kind: np.ndarray


@inner
def _room(steps):
    longest, most = LINE, 0
    for s in range(len(steps.variable)):
        longest, most = max(longest, steps.sizes[s]), max(most, steps.inputs[s + 1] - steps.inputs[s])
    return _Work(
        np.empty(longest), np.empty(most, np.int64), np.empty((most, longest), np.int64), np.empty(most, np.int64)
    )


@inner
def _lines(steps, s, work):
    """The first axis of the lines of a step, and their length; works out what inputs have along a line."""
    low, axis, width = steps.start[s], steps.start[s + 1], 1
    while axis > low and (width == 1 or width * steps.sizes[steps.axes[axis - 1]] <= LINE):
        axis, width = axis - 1, width * steps.sizes[steps.axes[axis - 1]]
    for entry in range(steps.inputs[s], steps.inputs[s + 1]):
        at, span, kind = entry - steps.inputs[s], 1, ONE
        within = work.within[at]
        within[0], in_a_row = 0, True
        for other in range(steps.start[s + 1] - 1, axis - 1, -1):
            stride, size = steps.stride[entry, other - low], steps.sizes[steps.axes[other]]
            in_a_row, kind = in_a_row and stride == span, MANY if stride > 0 else kind
            for y in range(span, span * size):
                within[y] = within[y - span] + stride
            span *= size
        work.kind[at] = ALL if in_a_row and kind == MANY else kind
    return axis, width


@inner
def _locate(steps, s, axis, line, work):
    """Where each input of a step has a line of its message, for the first value of its variable."""
    begin, end, low = steps.inputs[s], steps.inputs[s + 1], steps.start[s]
    for entry in range(begin, end):
        work.start[entry - begin] = steps.at[entry]
    for outer in range(axis - 1, low - 1, -1):
        size = steps.sizes[steps.axes[outer]]
        line, digit = line // size, line % size
        for entry in range(begin, end):
            work.start[entry - begin] += digit * steps.stride[entry, outer - low]


@inner
def _sum(steps, s, numbers, x, width, work):
    """A line of the sum of all inputs of a step, for a value of its variable."""
    begin, held, lead = steps.inputs[s], work.held, 0.0
    count = steps.inputs[s + 1] - begin
    for entry in range(count):
        if work.kind[entry] == ONE:
            lead += numbers[work.start[entry] + x * steps.own[begin + entry]]
    for y in range(width):
        held[y] = lead
    for entry in range(count):
        start, within = work.start[entry] + x * steps.own[begin + entry], work.within[entry]
        if work.kind[entry] == ALL:
            for y in range(width):
                held[y] += numbers[start + y]
        elif work.kind[entry] == MANY:
            for y in range(width):
                held[y] += numbers[start + within[y]]


@inner
def _lower(numbers, start, width, held):
    """Takes the least of a line and of what stands there."""
    for y in range(width):
        numbers[start + y] = held[y] if held[y] < numbers[start + y] else numbers[start + y]


@compiled
def forward(steps, numbers):
    """Fills in the messages of all steps."""
    work = _room(steps)
    for s in range(len(steps.variable)):
        axis, width = _lines(steps, s, work)
        for line in range((steps.out[s + 1] - steps.out[s]) // width):
            to = steps.out[s] + line * width
            numbers[to : to + width] = np.inf
            _locate(steps, s, axis, line, work)
            for x in range(steps.sizes[steps.variable[s]]):
                _sum(steps, s, numbers, x, width, work)
                _lower(numbers, to, width, work.held)


@compiled
def backward(steps, numbers, choice):
    """Sets the value of every variable, the last to go first; of equal ones, the first."""
    for s in range(len(steps.variable) - 1, -1, -1):
        begin, end, low, v = steps.inputs[s], steps.inputs[s + 1], steps.start[s], steps.variable[s]
        column = np.zeros(steps.sizes[v])
        for entry in range(begin, end):
            start = steps.at[entry]
            for axis in range(steps.start[s + 1] - low):
                start += choice[steps.axes[low + axis]] * steps.stride[entry, axis]
            for x in range(len(column)):
                column[x] += numbers[start + x * steps.own[entry]]
        choice[v] = column.argmin()


@compiled
def outward(steps, numbers, least, first, found):
    """Fills in the least of the whole with each value of each variable; `least` is that of all."""
    work, outside = _room(steps), np.full(len(numbers), np.inf)
    found[:] = np.inf
    for s in range(len(steps.variable) - 1, -1, -1):
        axis, width = _lines(steps, s, work)
        if steps.start[s + 1] == steps.start[s]:
            outside[steps.out[s]] = least - numbers[steps.out[s]]
        for line in range((steps.out[s + 1] - steps.out[s]) // width):
            _locate(steps, s, axis, line, work)
            _add_outside(steps, s, numbers, line * width, width, work, outside, first[steps.variable[s]], found)
        _take_out(steps, s, numbers, outside)


@inner
def _add_outside(steps, s, numbers, place, width, work, outside, first, found):
    """Takes in a line of the sum of a step and of what is outside of it."""
    for x in range(steps.sizes[steps.variable[s]]):
        _sum(steps, s, numbers, x, width, work)
        for y in range(width):
            work.held[y] += outside[steps.out[s] + place + y]
            found[first + x] = min(found[first + x], work.held[y])
        _hand_on(steps, steps.inputs[s], steps.inputs[s + 1], x, width, work, outside)


@inner
def _hand_on(steps, begin, end, x, width, work, outside):
    """Lowers what the messages that a step adds cost in all to a line of its sum."""
    for entry in range(begin, end):
        start, within = work.start[entry - begin] + x * steps.own[entry], work.within[entry - begin]
        if steps.at[entry] >= steps.out[0]:
            for y in range(width):
                outside[start + within[y]] = min(outside[start + within[y]], work.held[y])


@inner
def _take_out(steps, s, numbers, outside):
    """Leaves of what messages cost in all what is not in them; where they are infinite, so is the whole."""
    for entry in range(steps.inputs[s], steps.inputs[s + 1]):
        start = steps.at[entry]
        if start >= steps.out[0]:
            for place in range(start, start + steps.own[entry] * steps.sizes[steps.variable[s]]):
                outside[place] -= numbers[place] if numbers[place] < np.inf else 0.0
