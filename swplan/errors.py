"""Every exception that a user of swplan can see.

Each message says what happened, where (the user's own source line where there is one), and what to do next.
Nothing else raises a `SwplanError`; violated invariants of ours are `AssertionError("swplan bug: ...")`.
"""

from __future__ import annotations


class SwplanError(Exception):
    """Base of all errors that a user can cause."""


class ClusterError(SwplanError):
    """A cluster specification that cannot be read or that names an unknown chip, key or number."""


class ChipError(SwplanError):
    """A chip file, or an override of one of its numbers, that is not valid."""


class UnsupportedOpError(SwplanError):
    """The traced program uses a primitive for which no rule is registered."""


class TraceError(SwplanError):
    """The step could not be traced or its arguments do not fit the plan."""


class InfeasibleError(SwplanError):
    """No plan fits the memory of the device.

    Attributes:
      over_bytes: what a device lacks for the least memory that was found.
      largest: the largest values there: (name, bytes on a device, bytes in all).
      changes: what would fit, each checked: options of `swplan.plan`, and step time and peak of a plan with them.
    """

    def __init__(self, message: str, *, over_bytes: int = 0, largest: tuple = (), changes: tuple = ()) -> None:
        """The message, with the same as values."""
        super().__init__(message)
        self.over_bytes, self.largest, self.changes = over_bytes, largest, changes


class PlanFileError(SwplanError):
    """A plan file that cannot be read: wrong version, wrong structure, not a plan."""


class PlanMismatchError(SwplanError):
    """A plan was used with a step, arguments or devices other than those it was made for."""


class CheckpointError(SwplanError):
    """A checkpoint that does not exist or does not fit the state that it is restored into."""


class UsageError(SwplanError):
    """A wrong option or argument of a verb of the API or of the command line."""


class PinError(SwplanError):
    """A pin that is no spec of its array, or that no mesh of the cluster can satisfy."""
