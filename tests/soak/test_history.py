"""The rules of `history.py`, each kept and each broken."""

import history as rules
import pytest
from history import FIRST, LAST, PROMPT, Arrived, Attempt, Deleted, Failure, History, Read, Snapshot, State

STALENESS = 2.0
TABLE = "sales.t"


def state(number, digest=None, previous=None, at=0.0):
    return State(TABLE, f"{number:05}-x.metadata.json", digest or f"d{number}", number, "id long", number, at, previous)


def read(number, began, loaded=None, digest=None, **other):
    given = {"file": f"{number:05}-x.metadata.json", "types": "id long", **other}
    return Read("dr", TABLE, "reader", began, began + 0.1 if loaded is None else loaded, digest or f"d{number}", number, **given)


def by_rows(digest, began):
    return read(0, began, digest=digest, file=None, types=None)


def failure(what, began, path=None, snapshot=None):
    return Failure("dr", TABLE, "reader", began, began + 0.1, what, what, path, snapshot)


def kinds(*events, mode=LAST, until=float("inf")):
    history = History({TABLE: mode})
    for event in [*(state(number) for number in range(5)), *events]:
        history.add(event)
    return [violation.kind for violation in rules.check(history, STALENESS, until)]


def test_states_in_their_order_are_right():
    assert kinds(read(1, 1.0), read(1, 2.0), read(4, 3.0)) == []


def test_rows_that_never_were_are_found():
    assert kinds(read(1, 1.0, digest="other")) == ["wrong rows"]
    assert kinds(read(9, 1.0)) == ["never was"]
    assert kinds(by_rows("other", 1.0)) == ["wrong rows"]
    assert kinds(read(1, 1.0, types="id int")) == ["wrong columns"]


def test_the_rows_of_another_state_than_the_claimed_are_found():
    assert kinds(read(2, 1.0, digest="d1")) == ["wrong rows"]


def test_what_goes_back_is_found_whoever_reads():
    assert kinds(read(3, 1.0), read(2, 2.0)) == ["went back"]
    assert kinds(read(3, 1.0), by_rows("d2", 2.0)) == ["went back"]
    assert kinds(by_rows("d3", 1.0), read(2, 2.0)) == ["went back"]


def test_reads_side_by_side_have_no_order():
    assert kinds(read(3, 1.0, loaded=5.0), read(2, 4.0, loaded=4.5)) == []
    # the earlier one had ended when the third began
    assert kinds(read(3, 1.0, loaded=2.0), read(2, 1.5, loaded=4.0), read(2, 3.0)) == ["went back"]


def test_equal_rows_of_several_states_are_taken_for_the_oldest_that_fits():
    again = [state(5, "same"), state(7, "same")]
    assert kinds(*again, state(6), by_rows("same", 1.0), read(6, 2.0), by_rows("same", 3.0)) == []
    assert kinds(*again, state(6), state(8), read(8, 2.0), by_rows("same", 3.0)) == ["went back"]


def test_older_snapshots_are_what_they_were():
    snapshot = Snapshot(TABLE, 77, "d1")
    assert kinds(snapshot, read(1, 1.0, snapshot=77)) == []
    assert kinds(snapshot, read(1, 1.0, snapshot=77, digest="d2")) == ["wrong rows"]
    assert kinds(snapshot, read(1, 1.0, snapshot=78)) == ["never was"]


def test_no_current_row_may_miss_a_file_when_deletions_come_last():
    gone = Deleted("/f", 10.0)
    for began in (9.0, 10.5, 99.0):
        assert kinds(gone, failure("missing", began, "/f")) == ["missing file"]
    assert kinds(failure("unavailable", 1.0)) == ["unavailable"]


@pytest.mark.parametrize("mode", [PROMPT, FIRST])
def test_a_file_may_be_missed_for_one_interval_when_deletions_come_earlier(mode):
    gone = Deleted("/f", 10.0)
    assert kinds(gone, failure("missing", 9.0, "/f"), failure("missing", 11.9, "/f"), mode=mode) == []
    assert kinds(gone, failure("missing", 12.1, "/f"), mode=mode) == ["broken too long"]
    assert kinds(failure("unavailable", 1.0), mode=mode) == []


@pytest.mark.parametrize("mode", rules.MODES)
def test_an_older_snapshot_may_be_broken_for_one_interval(mode):
    gone = Deleted("/f", 10.0)
    assert kinds(gone, failure("missing", 11.9, "/f", 77), mode=mode) == []
    assert kinds(gone, failure("missing", 12.1, "/f", 77), mode=mode) == ["snapshot broken too long"]


@pytest.mark.parametrize("mode", rules.MODES)
def test_a_file_that_nobody_deleted_is_never_missing(mode):
    assert kinds(failure("missing", 1.0, "/f"), mode=mode) == ["missing file"]
    assert kinds(failure("missing", 1.0), mode=mode) == ["missing file"]


def test_a_table_stays_known():
    assert kinds(failure("unknown", 0.5), read(1, 1.0)) == []
    assert kinds(read(1, 1.0), failure("unknown", 2.0)) == ["vanished"]


def test_what_cannot_be_read_is_found():
    assert kinds(failure("other", 1.0)) == ["unreadable"]


def test_what_is_too_new_is_judged_later():
    events = [read(9, 50.0), failure("other", 50.0)]
    assert kinds(*events, until=40.0) == []
    assert sorted(kinds(*events)) == ["never was", "unreadable"]


def test_the_newest_state_that_another_one_names():
    history = History({TABLE: LAST})
    for number in range(3):
        history.add(state(number, previous=f"{number - 1:05}-x.metadata.json" if number else None))
    assert history.newest(TABLE, False).version == 2
    assert history.newest(TABLE, True).version == 1
    # a commit that failed names it as well
    history.add(Attempt(TABLE, "00002-x.metadata.json"))
    assert history.newest(TABLE, True).version == 2


def test_figures():
    history = History({TABLE: FIRST})
    events = [state(1, at=1.0), state(2, at=5.0), state(3, at=9.0), Arrived(TABLE, 2, 7.0), Arrived(TABLE, 3, 12.0), Deleted("/f", 6.0),
              read(1, 4.0), read(1, 8.0), failure("missing", 7.5, "/f"), failure("unavailable", 8.5), failure("unavailable", 9.0), read(3, 10.0)]
    for event in events:
        history.add(event)
    assert rules.longest_broken(history, False)[0] == 1.5
    assert rules.longest_broken(history, True)[0] == 0.0
    assert rules.longest_unavailable(history) == pytest.approx(1.6)
    assert [late for late, _ in rules.lags(history, "states", {"dr": 0})] == [3.0]
    assert [late for late, _ in rules.lags(history, "arrived", {"dr": 0})] == [1.0]
    assert [late for late, _ in rules.lags(history, "arrived", {"dr": 1})] == []
    assert rules.states_served(history) == 2
