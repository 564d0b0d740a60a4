"""Every way `triage` stops, named for the reader's next act.

    TriageError             exit 1  something failed
    |-- WrongInput          exit 2  correct the input or the configuration
    |-- PromiseBroken       exit 3  a promise of the tool could not be kept: do not trust, investigate
    |-- Stopped             exit 4  start the same command again: it resumes
    `-- ShardUnreadable     exit 6  repair or remove the named shard; everything else is done

Messages name files, fields and positions. They never carry log text.
"""

from __future__ import annotations


class TriageError(Exception):
    """What happened, where, what was expected, and what to do next; printed as one line."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", expected: str = "", next: str = "") -> None:
        # All four go to Exception's args, so that the error survives pickling between Ray's processes.
        super().__init__(what, where, expected, next)
        self.what, self.where, self.expected, self.next = what, where, expected, next

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.next))

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        parts += [f"expected {self.expected}"] if self.expected else []
        parts += [f"next: {self.next}"] if self.next else []
        return "; ".join(" ".join(part.split()) for part in parts)

    def as_dict(self) -> dict[str, object]:
        """The `--json` form of a failure."""
        return {
            "exit": self.exit_code,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "next": self.next,
        }


def _rebuild(kind: type[TriageError], what: str, where: str, expected: str, next: str) -> TriageError:
    return kind(what, where=where, expected=expected, next=next)


class WrongInput(TriageError):
    """The user's input or configuration is wrong."""

    exit_code = 2


class PromiseBroken(TriageError):
    """Rows do not balance, custody is broken, or the boundary does not hold."""

    exit_code = 3


class Stopped(TriageError):
    """The run ended early for a cause outside the rows; what is committed stays, the rest is done next time."""

    exit_code = 4


class ShardUnreadable(TriageError):
    """A shard, or the rest of one, cannot be read at all; the other shards go on."""

    exit_code = 6
