"""Compressors and schedules by themselves."""

import numpy
import pytest

import sordino

NAMES = [choice.name for axis in sordino.axes() if axis.name == "compress" for choice in axis.elements]


def vector(n=5000, seed=0):
    return numpy.random.default_rng(seed).standard_normal(n, dtype=numpy.float32)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_is_what_is_heard(name):
    x = vector()
    one, other = sordino.compressor(name), sordino.compressor(name)
    message = one.encode(x, seed=3, round=5, client=2)
    assert isinstance(message, bytes) and len(message) <= one.bytes_bound(x.size)
    assert sordino.compressor(name).encode(x, seed=3, round=5, client=2) == message
    said = one.decode(message, x.size)
    assert said.dtype == numpy.float32 and said.shape == x.shape
    if name != "span":  # Directions are drawn alike by both ends, from the seed and the round.
        assert (other.decode(message, x.size) == said).all()
    assert one.name.split("(")[0] == name and one.about


def test_the_classes_of_the_papers_show():
    x = vector()
    assert (sordino.compressor("dense").decode(sordino.compressor("dense").encode(x), x.size) == x).all()
    topk = sordino.compressor("topk(0.01)")
    said = topk.decode(topk.encode(x), x.size)
    kept = numpy.flatnonzero(said)
    assert kept.size == 50 and (said[kept] == x[kept]).all()
    assert abs(x[kept]).min() >= numpy.sort(abs(x))[-50]
    qsgd = sordino.compressor("qsgd")
    draws = [qsgd.decode(qsgd.encode(x, round=r), x.size) for r in range(400)]
    error = numpy.linalg.norm(numpy.mean(draws, axis=0) - x)
    one = numpy.linalg.norm(draws[0] - x)
    assert error < 2 * one / 20 and one > 0.05 * numpy.linalg.norm(x), "unbiased: a mean of 400 is 20 times nearer"
    assert sordino.compressor("dense").linear and not sordino.compressor("orq(9)").linear


def test_shapes_are_what_a_scope_is_of():
    x = vector(64 * 32 + 64)
    powersgd = sordino.compressor("powersgd(2)", shapes=[("w", (64, 32)), ("b", [64])])
    said = powersgd.decode(powersgd.encode(x), x.size)
    assert numpy.linalg.matrix_rank(said[:2048].reshape(64, 32)) == 2
    assert (said[2048:] == x[2048:]).all()
    with pytest.raises(sordino.RequestError, match="10 entries came, but the shapes have 2112"):
        powersgd.encode(vector(10))


def test_a_damaged_message_is_no_message():
    x, orq = vector(), sordino.compressor("orq(9)")
    message = orq.encode(x)
    for at in range(0, len(message), 97):
        damaged = bytearray(message)
        damaged[at] ^= 4
        with pytest.raises(sordino.DecodeError):
            orq.decode(damaged, x.size)
    with pytest.raises(sordino.DecodeError, match="about 5000 entries, 5001 were expected"):
        orq.decode(message, x.size + 1)
    assert (orq.decode(memoryview(message), x.size) == orq.decode(message, x.size)).all()
    assert (orq.decode(numpy.frombuffer(message, numpy.uint8), x.size) == orq.decode(message, x.size)).all()


@pytest.mark.parametrize("wrong", [vector().astype(numpy.float64), vector().reshape(50, 100), [1.0, 2.0], "text", None])
def test_a_vector_is_a_flat_float32_array(wrong):
    with pytest.raises(sordino.RequestError, match="must be a flat float32 array.*numpy.ascontiguousarray"):
        sordino.compressor("dense").encode(wrong)


def test_a_strided_vector_is_read_as_it_looks():
    x, dense = vector(), sordino.compressor("dense")
    assert (dense.decode(dense.encode(x[::-2]), 2500) == x[::-2]).all()


def test_what_is_not_finite_has_diverged():
    x = vector()
    x[7] = numpy.nan
    with pytest.raises(sordino.DivergedError, match="not finite") as told:
        sordino.compressor("orq(9)").encode(x)
    assert isinstance(told.value, ArithmeticError)


def test_a_schedule_follows_the_rate_and_the_end_of_the_run():
    qsr = sordino.schedule("qsr(base=4, alpha=0.0175)")
    assert qsr.name == "qsr(alpha=0.0175, base=4)"
    assert qsr.silence(0.001) == 306
    assert qsr.silence(0.001, round=0) == 4 and qsr.silence(0.001, warming=True) == 4
    assert qsr.silence(0.001, previous_rate=0.0009) == 4 and qsr.silence(0.001, previous_rate=0.002) == 306
    assert qsr.silence(0.001, step=90, steps=100) == 10
    assert sordino.schedule("constant(7)").silence(1.0) == 7
