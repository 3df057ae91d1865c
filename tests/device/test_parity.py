import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgefreeze.device.parity import UNBOUNDED, WIDEST, compare
from edgefreeze.types import Parity

floats = hnp.arrays("f4", (3, 4), elements=st.floats(-1e6, 1e6, width=32))
anything = hnp.arrays("f8", hnp.array_shapes(max_dims=3, max_side=3))


def one(reference: object, candidate: object, tolerance: float = 1e-3) -> dict:
    return compare([{"y": np.asarray(reference)}], [{"y": np.asarray(candidate)}], tolerance)["outputs"][0]


@given(anything)
def test_a_thing_equals_itself_whatever_it_holds(array: np.ndarray) -> None:
    result = compare([{"y": array}], [{"y": array.copy()}], 0.0)
    assert result["ok"]
    assert result["max_abs"] == result["max_rel"] == 0.0


@given(anything, anything, st.floats(0, 1e3))
def test_every_result_is_strict_json_of_the_declared_shape(
    a: np.ndarray, b: np.ndarray, tolerance: float
) -> None:
    result = compare([{"y": a}], [{"y": b}], tolerance)
    json.dumps(result, allow_nan=False)
    assert msgspec.convert(result, Parity, strict=True).ok is result["ok"]


@given(floats, floats, st.floats(1e-4, WIDEST))
def test_within_tolerance_of_the_range_and_only_then(
    a: np.ndarray, noise: np.ndarray, tolerance: float
) -> None:
    span = float(a.max()) - float(a.min())
    if span < 1e-3:
        return
    biggest = float(np.abs(noise).max()) or 1.0
    b = a.astype("f8") + noise.astype("f8") / biggest * span * tolerance * 0.99
    assert one(a, b, tolerance)["ok"]
    worse = a.astype("f8").copy()
    worse[1, 2] += span * tolerance * 1.01
    assert not one(a, worse, tolerance)["ok"]


@given(floats, st.floats(0.5, 100), st.floats(-50, 50))
def test_max_rel_does_not_change_with_the_outputs_unit(a: np.ndarray, scale: float, shift: float) -> None:
    a = a.astype("f8")
    span = a.max() - a.min()
    if span < 1.0:
        return
    b = a + span * 0.01
    plain = one(a, b)["max_rel"]
    assert math.isclose(one(a * scale + shift, b * scale + shift)["max_rel"], plain, rel_tol=1e-3)


def test_values_that_meet_at_an_extreme_within_the_tolerance_are_not_saturated() -> None:
    reference = np.array([0.0, 1.0, *[0.92] * 8])
    candidate = np.array([0.0, 0.96, *[0.96] * 8])
    assert one(reference, candidate, 0.05)["ok"]
    assert not one(np.array([0.0, 1.0, *[0.85] * 8]), np.array([0.0, 0.96, *[0.96] * 8]), 0.2)["ok"]


def test_small_outputs_do_not_pass_by_being_small() -> None:
    reference = np.linspace(0.0009, 0.0011, 1000).reshape(1, 1000)
    assert not one(reference, np.full((1, 1000), 0.001), 1e-2)["ok"]


def test_range_is_taken_over_all_cases() -> None:
    reference = [{"y": np.array([0.0])}, {"y": np.array([10.0])}]
    candidate = [{"y": np.array([0.0])}, {"y": np.array([10.1])}]
    assert compare(reference, candidate, 0.02)["max_rel"] == pytest.approx(0.01)


def test_without_a_range_the_size_counts_and_without_that_one() -> None:
    assert one([4.0], [4.4])["max_rel"] == pytest.approx(0.1)
    assert one([0.0], [0.25])["max_rel"] == pytest.approx(0.25)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_not_finite_where_the_reference_is_fails_whatever_the_tolerance(bad: float) -> None:
    result = one([[1.0, 2.0]], [[1.0, bad]], 1e30)
    assert not result["ok"]
    assert result["max_abs"] == UNBOUNDED
    assert ("NaN" if math.isnan(bad) else "infinity") in result["reason"]


def test_not_finite_in_the_same_places_is_equal_and_elsewhere_not() -> None:
    assert one([math.nan, math.inf, 1.0], [math.nan, math.inf, 1.0], 0)["ok"]
    assert not one([math.inf, 1.0], [-math.inf, 1.0], 1e9)["ok"]
    assert not one([math.nan, 1.0], [0.0, 1.0], 1e9)["ok"]


def test_an_output_that_does_not_react_fails_however_close() -> None:
    reference = [{"y": np.array([100.0, 0.0]) + i * 0.5} for i in range(3)]
    constant = [{"y": np.array([100.5, 0.5])} for _ in range(3)]
    result = compare(reference, constant, 0.02)["outputs"][0]
    assert result["max_rel"] < 0.02
    assert not result["ok"]
    assert "constant" in result["reason"]


def test_a_saturated_output_may_be_constant_and_so_may_the_references() -> None:
    nearly_one = [{"y": np.array([0.0, 1.0 - i * 1e-5])} for i in range(3)]
    saturated = [{"y": np.array([0.0, 1.0])} for _ in range(3)]
    assert compare(nearly_one, saturated, 1e-2)["ok"]
    assert compare(saturated, saturated, 0.0)["ok"]


@pytest.mark.parametrize(
    ("reference", "candidate", "word"),
    [
        ([1.0, 2.0], [[1.0, 2.0]], "shape"),
        ([b"a"], [1.0], "dtype"),
        ([1, 2], [1, 3], "1 of 2 values"),
        ([True, False], [True, True], "1 of 2 values"),
        ([b"a", b"b"], [b"a", b"c"], "1 of 2 strings"),
        ([2**53], [2**53 + 1], "1 of 1 values"),
    ],
)
def test_what_is_not_equal_says_why(reference: list, candidate: list, word: str) -> None:
    result = one(reference, candidate, 1e9)
    assert not result["ok"]
    assert word in result["reason"]


def test_strings_of_any_dtype_and_integers_of_any_width_compare() -> None:
    assert one(np.array([b"ab"]), np.array(["ab"], dtype=object))["ok"]
    assert one(np.array([1, 2], "i4"), np.array([1, 2], "i8"))["ok"]
    assert one(np.array([200], "u1"), np.array([100], "u1"))["max_abs"] == 100.0


def test_missing_outputs_fail_and_extra_ones_do_not_matter() -> None:
    y = np.arange(3.0)
    assert not compare([{"y": y, "z": y}], [{"y": y}], 1.0)["ok"]
    assert compare([{"y": y}], [{"y": y, "z": y}], 1.0)["ok"]
    assert not compare([{}], [{"y": y}], 1.0)["ok"]


def test_tolerance_by_name_is_zero_for_others() -> None:
    reference, candidate = (
        [{"a": np.arange(3.0), "b": np.arange(3.0)}],
        [{"a": np.arange(3.0) + 0.1, "b": np.arange(3.0) + 0.1}],
    )
    outputs = compare(reference, candidate, {"a": 0.1})["outputs"]
    assert [o["ok"] for o in outputs] == [True, False]
    assert [o["tolerance"] for o in outputs] == [0.1, 0.0]


def test_top1_counts_rows_and_lets_ties_agree() -> None:
    reference = np.array([[0.0, 1.0, 0.999], [5.0, 1.0, 0.0]])
    swapped = np.array([[0.0, 0.999, 1.0], [0.0, 5.0, 1.0]])
    assert one(reference, swapped, 0.01)["top1"] == 0.5
    assert one(reference, swapped, 0.0)["top1"] == 0.0
    assert one([1.0, 2.0], [1.0, 2.0])["top1"] is None
    assert one([[1.0], [2.0]], [[1.0], [2.0]])["top1"] is None


def test_cosine_does_not_overflow() -> None:
    big = np.array([1e300, -1e300, 1e200])
    assert one(big, big)["cosine"] == pytest.approx(1.0)
    assert one(big, -big)["cosine"] == pytest.approx(-1.0)
    assert one([0.0], [1.0])["cosine"] == 0.0


def test_complex_outputs_compare_by_both_parts() -> None:
    assert one([1 + 2j], [1 + 2j], 0)["ok"]
    assert not one([1 + 2j], [1 + 2.5j], 0.1)["ok"]


def test_unequal_numbers_of_cases_are_no_comparison() -> None:
    y = {"y": np.zeros(1)}
    for reference, candidate in (([], []), ([y], []), ([y], [y, y])):
        with pytest.raises(ValueError, match="cases"):
            compare(reference, candidate, 0.0)


def test_tolerance_by_name_may_say_what_holds_for_the_others() -> None:
    a = np.arange(3.0)
    outputs = compare([{"a": a, "b": a}], [{"a": a + 0.1, "b": a + 0.1}], {"a": 0.01, "": 0.1})["outputs"]
    assert [(o["ok"], o["tolerance"]) for o in outputs] == [(False, 0.01), (True, 0.1)]


def test_an_output_that_clips_fails_whatever_the_tolerance() -> None:
    reference = np.linspace(-1, 1, 40)
    result = one(reference, np.clip(reference * 20, -0.9, 0.9), 1.0)
    assert not result["ok"]
    assert "saturated" in result["reason"]
    # A classifier that is sure has most of its values at the bottom, and so has what computes the same.
    sure = np.zeros((4, 10))
    sure[:, 3] = 1.0
    assert one(sure + 1e-7, sure, 1e-3)["ok"]
    # Steps of eight bits are no saturation.
    assert one(reference, np.round(reference * 127) / 127, 1e-2)["ok"]


def test_a_constant_output_fails_at_the_widest_tolerance_too() -> None:
    reference = [{"y": np.array([0.0, 10.0]) + i * 0.2} for i in range(4)]
    assert not compare(reference, [{"y": np.array([0.3, 10.3])}] * 4, 1.0)["ok"]


def test_sqnr_is_the_energy_of_the_signal_over_that_of_the_noise() -> None:
    signal = np.array([3.0, 4.0])
    assert one(signal, signal + np.array([0.0, 0.05]), 1.0)["sqnr_db"] == pytest.approx(40.0)
    assert one(signal, signal, 1.0)["sqnr_db"] is None


def test_a_ratio_of_energies_that_no_float_holds_is_still_told() -> None:
    found = compare([{"y": np.asarray([2.6e-93])}], [{"y": np.asarray([1.6e69])}], 0.0)
    assert found["outputs"][0]["sqnr_db"] == pytest.approx(-3236, abs=2)


# --- each figure by hand


def test_the_reference_must_have_an_output_in_every_case() -> None:
    y = {"y": np.zeros(1)}
    result = compare([y, {}], [y, y], 1.0)["outputs"][0]
    assert result["reason"] == "the reference lacks the output in some cases"
    assert (result["max_abs"], result["cosine"], result["top1"]) == (UNBOUNDED, 0.0, None)
    assert compare([y, y], [y, {}], 1.0)["outputs"][0]["reason"] == "the output is missing"
    nothing = compare([{}], [{}], 1.0)
    assert (nothing["ok"], nothing["max_abs"], nothing["max_rel"]) == (False, UNBOUNDED, UNBOUNDED)


def test_the_worst_output_and_the_worst_case_are_told() -> None:
    zero, ten = np.array([0.0, 10.0]), np.array([10.0, 0.0])
    reference = [{"a": zero, "b": zero}, {"a": ten, "b": ten}]
    candidate = [{"a": zero + 1, "b": zero + 3}, {"a": ten - 2, "b": ten}]
    result = compare(reference, candidate, {"a": 0.2, "b": 0.29})
    a, b = result["outputs"]
    assert (a["name"], a["max_abs"], a["max_rel"], a["ok"]) == ("a", 2.0, 0.2, True)
    assert (b["name"], b["max_abs"], b["max_rel"], b["ok"]) == ("b", 3.0, 0.3, False)
    assert b["reason"] == "max_rel 0.3 is above the tolerance 0.29"
    assert (result["ok"], result["max_abs"], result["max_rel"]) == (False, 3.0, 0.3)


def test_strings_are_counted_over_all_cases() -> None:
    result = compare(
        [{"y": np.array([b"a", b"b"])}, {"y": np.array([b"c", b"d"])}],
        [{"y": np.array([b"a", b"x"])}, {"y": np.array([b"c", b"d"])}],
        1.0,
    )["outputs"][0]
    assert result["reason"] == "1 of 4 strings differ"
    assert (result["max_abs"], result["max_rel"], result["cosine"], result["top1"]) == (1.0, 1.0, 0.75, None)
    same = one([b"a"], [b"a"])
    assert (same["max_abs"], same["max_rel"], same["cosine"]) == (0.0, 0.0, 1.0)
    assert one(np.array([], "S1"), np.array([], "S1"))["cosine"] == 1.0


def test_integers_are_counted_over_all_cases_and_measured_in_their_range() -> None:
    result = compare(
        [{"y": np.array([0, 10])}, {"y": np.array([20, 5])}],
        [{"y": np.array([0, 14])}, {"y": np.array([20, 3])}],
        1.0,
    )["outputs"][0]
    assert result["reason"] == "2 of 4 values differ"
    assert (result["max_abs"], result["max_rel"]) == (4.0, 0.2)
    assert result["cosine"] == pytest.approx((140 + 400 + 15) / math.sqrt(525 * (196 + 400 + 9)))
    assert one(np.array([], "i4"), np.array([], "i4"))["ok"]


def test_an_integer_output_beside_a_float_candidate_that_is_no_number() -> None:
    result = one(np.array([1, 2]), np.array([1.0, math.inf]))
    assert result["max_abs"] == UNBOUNDED
    assert result["reason"] == "1 of 2 values differ"


def test_values_that_are_not_finite_are_counted() -> None:
    result = one([1.0, 2.0, 3.0], [math.nan, 2.0, math.nan])
    assert result["reason"] == "NaN in 2 of 3 values where the reference has none"
    result = one([1.0, math.nan, 3.0], [1.0, math.nan, -math.inf])
    assert result["reason"] == "infinity in 1 of 3 values where the reference has none"
    result = one([1.0, math.inf], [1.0, -math.inf])
    assert result["reason"] == "finite values where the reference has NaN or infinity"
    assert one([math.nan, 1.0], [math.inf, 1.0])["reason"].startswith("infinity in 1 of 2")
    found = one([1.0, 2.0], [math.nan, 2.0])
    assert found["cosine"] == pytest.approx(2 / math.sqrt(5)), "what is not finite counts as 0"


@pytest.mark.parametrize(
    ("moves", "tolerance", "ok"),
    [(0.0019, 0.01, True), (0.0021, 0.01, False), (0.0099, 0.5, True), (0.0101, 0.5, False)],
)
def test_a_constant_output_fails_where_the_references_moves_by_a_tenth_of_the_tolerance(
    moves: float, tolerance: float, ok: bool
) -> None:
    """In a range of 2. A tolerance above a twentieth counts as one."""
    still = np.concatenate([[0.0, 2.0], np.linspace(0.3, 1.7, 10)])
    moved = still.copy()
    moved[5] += moves
    assert compare([{"y": still}, {"y": moved}], [{"y": still}] * 2, tolerance)["ok"] is ok
    assert compare([{"y": moved}, {"y": still}], [{"y": still}] * 2, tolerance)["ok"] is ok


def test_an_output_of_a_shape_that_changes_moves() -> None:
    reference = [{"y": np.array([1.0])}, {"y": np.array([1.0, 1.0])}]
    assert compare(reference, reference, 0.0)["ok"]
    nan = [{"y": np.array([1.0, 2.0])}, {"y": np.array([math.nan, 2.0])}]
    assert compare(nan, nan, 0.0)["ok"]


def test_clipping_is_when_more_than_half_lie_at_the_extremes_and_the_references_do_not() -> None:
    reference = np.linspace(-1, 1, 20)

    def clipped(count: int) -> np.ndarray:
        """`count` values of twenty at the extremes."""
        bound = abs(reference[count // 2 - 1])
        return np.clip(reference, -bound, bound)

    assert "saturated" not in str(one(reference, clipped(10), 1.0)["reason"])
    assert "saturated" in one(reference, clipped(12), 1.0)["reason"]
    # Of fewer than eight values nothing is said.
    assert one([-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0], [-0.5, -0.5, -0.1, 0.0, 0.1, 0.5, 0.5], 1.0)["ok"]
    seven, eight = np.linspace(-1, 1, 7), np.linspace(-1, 1, 8)
    assert one(seven, np.sign(seven), 1.0)["ok"]
    assert not one(eight, np.sign(eight), 1.0)["ok"]
    # A reference of which half as many lie there is of the same kind.
    half = np.concatenate([np.full(8, -1.0), np.linspace(-0.9, 1, 12)])
    assert one(half, np.where(half < 0.2, -1.0, half), 1.0)["ok"]


def test_signal_to_noise_needs_both_and_counts_finite_values_of_all_cases() -> None:
    a = {"y": np.array([3.0, math.nan])}, {"y": np.array([4.0, 0.0])}
    b = {"y": np.array([3.3, math.nan])}, {"y": np.array([4.0, 0.4])}
    assert compare(a, b, 1.0)["outputs"][0]["sqnr_db"] == pytest.approx(20.0)
    assert one([0.0], [1.0])["sqnr_db"] is None
    assert one([1e200], [2e200], 2.0)["sqnr_db"] is None, "no float holds its energy"


def test_top1_is_of_rows_over_all_cases_along_the_last_axis() -> None:
    a = np.array([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    b = a.copy()
    b[1, 1] = [1.0, 0.0]
    assert compare([{"y": a}, {"y": a}], [{"y": a}, {"y": b}], 0.0)["outputs"][0]["top1"] == 7 / 8
    assert one(np.zeros((0, 3)), np.zeros((0, 3)))["top1"] is None
    assert one(np.zeros((1, 2)), np.zeros((1, 2)))["top1"] == 1.0
    # A row with a NaN on either side agrees with nothing.
    nan = np.array([[math.nan, 1.0], [0.0, 1.0]])
    assert one(nan, nan)["top1"] == 0.5
    assert one(np.array([[0.0, 1.0]]), np.array([[math.nan, 1.0]]))["top1"] == 0.0
    # Pairs of a complex number are no classes.
    assert one(np.array([[1 + 2j, 3]]), np.array([[1 + 2j, 3]]))["top1"] is None


def test_a_tie_within_the_tolerance_of_the_range_agrees() -> None:
    reference = np.array([[0.0, 9.5, 10.0], [0.0, 9.5, 10.0]])
    other = np.array([[0.0, 10.0, 9.5], [0.0, 9.5, 10.0]])
    assert one(reference, other, 0.06)["top1"] == 1.0
    assert one(reference, other, 0.04)["top1"] == 0.5


def test_what_errors_are_relative_to() -> None:
    """The range; where all are equal their size; where all are zero, or nothing is finite, one."""
    assert one([-5.0, -3.0], [-5.0, -2.5], 1.0)["max_rel"] == pytest.approx(0.25)
    assert one([-4.0, -4.0], [-4.0, -3.0], 1.0)["max_rel"] == pytest.approx(0.25)
    assert one([math.nan], [math.nan])["max_rel"] == 0.0
    assert one(np.zeros((0,)), np.zeros((0,)))["ok"]
    assert one([0.0, 0.0], [0.0, 0.5], 1.0)["max_rel"] == 0.5
    huge = one([-1.7e308, 1.7e308], [-1.7e308, 1.7e308])
    assert (huge["ok"], huge["max_rel"]) == (True, 0.0), "their range is no float"


def test_the_cosine_is_of_all_cases_as_one_vector() -> None:
    result = compare(
        [{"y": np.array([3.0])}, {"y": np.array([4.0])}], [{"y": np.array([4.0])}, {"y": np.array([3.0])}], 9
    )
    assert result["outputs"][0]["cosine"] == pytest.approx(24 / 25)
    assert one([0.0], [0.0])["cosine"] == 1.0
    assert one([1.0], [0.0], 9)["cosine"] == 0.0
    assert one([1.0, 0.0], [0.0, 1.0], 9)["cosine"] == 0.0


@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
def test_what_lies_near_the_extremes_is_measured_in_the_outputs_own_range(unit: float) -> None:
    """Eight of twenty values within a twentieth of the range of its lowest: to clip those and four more is no fault."""
    low = np.concatenate([np.linspace(-1.0, -0.92, 8), np.linspace(-0.7, 1.0, 12)]) * unit
    assert one(low, np.where(low < -0.15 * unit, -unit, low), 1.0)["ok"]
    even = np.linspace(-1, 1, 20) * unit
    assert not one(even, np.where(even < 0.2 * unit, -unit, even), 1.0)["ok"]


def test_a_tie_of_just_the_tolerance_agrees() -> None:
    assert one([[0.0, 9.375, 10.0]], [[0.0, 10.0, 9.375]], 0.0625)["top1"] == 1.0


@pytest.mark.parametrize("other", ["f4", "i4", "?"])
def test_complex_numbers_beside_real_ones_cannot_be_compared(other: str) -> None:
    for a, b in (("c8", other), (other, "c8")):
        found = one(np.ones(3, a), np.ones(3, b))
        assert not found["ok"]
        assert found["reason"] == f"dtype {np.dtype(b)} where {np.dtype(a)} is expected"
