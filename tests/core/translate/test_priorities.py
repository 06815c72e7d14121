"""Numbers of policies: in the wanted order, never one that is in use, and as few changes as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from certferry.core.translate.policy_priorities import MOST, assign

KEYS = st.lists(st.sampled_from("abcdefghij"), unique=True)
NUMBERS = st.one_of(st.integers(1, 8), st.integers(9990, MOST), st.integers(1, MOST))
PRESENT = st.dictionaries(st.sampled_from("abcdefghij"), NUMBERS).map(
    lambda d: {k: n for k, n in d.items() if list(d.values()).count(n) == 1}
)


@given(KEYS, PRESENT, st.sets(NUMBERS))
def test_priorities_rise_without_collision(wanted: list[str], present: dict[str, int], foreign: set[int]) -> None:
    foreign -= set(present.values())
    found = assign(wanted, {k: n for k, n in present.items() if k in wanted}, foreign | set(present.values()))
    numbers = [found[key] for key in wanted]
    assert numbers == sorted(set(numbers))
    assert all(1 <= n <= MOST for n in numbers)
    for key in wanted:
        if found[key] != present.get(key):
            # an ELB refuses a number that any policy has, also one that is about to change
            assert found[key] not in foreign | set(present.values())


@given(KEYS, PRESENT)
def test_assigned_priorities_stay(wanted: list[str], present: dict[str, int]) -> None:
    found = assign(wanted, present, set(present.values()))
    assert assign(wanted, found, set(found.values())) == found


def test_a_new_policy_in_the_middle_moves_no_other() -> None:
    assert assign(["a", "new", "b"], {"a": 100, "b": 200}, {100, 200}) == {"a": 100, "new": 150, "b": 200}


def test_without_room_all_policies_move_behind() -> None:
    found = assign(["a", "new", "b"], {"a": 1, "b": 2}, {1, 2})
    assert found["a"] < found["new"] < found["b"]
    assert not {1, 2} & set(found.values())
