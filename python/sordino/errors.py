"""What can go wrong: one class a kind, with the library's own sentence.

>>> import sordino
>>> sordino.Recipe("qsrr")
Traceback (most recent call last):
    ...
sordino.errors.RequestError: unknown method `qsrr`; did you mean `qsr`?
"""


class SordinoError(Exception):
    """Anything that goes wrong here."""


class RequestError(SordinoError, ValueError):
    """The request was wrong: an unknown name, a value out of range, two choices that exclude each other."""


class DataError(SordinoError):
    """Input could not be read as what it claims to be."""


class DecodeError(SordinoError, ValueError):
    """Bytes that arrived are not a message of the expected form."""


class MismatchError(SordinoError):
    """Two ranks, or a checkpoint and a run, disagree about what they are doing."""


class TimeoutError_(SordinoError, TimeoutError):
    """A peer did not answer in time or has gone."""


class DivergedError(SordinoError, ArithmeticError):
    """A vector to be sent is not finite: training has diverged."""


class SystemError_(SordinoError):
    """The operating system, or what talks for this rank, refused."""
