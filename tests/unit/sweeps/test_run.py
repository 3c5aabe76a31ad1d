import os
import threading
import time
from contextlib import closing

import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.sweeps import Case, CaseDone, CaseStore, StoredCase, load_cases, run_cases
from tests.unit.sweeps import study
from tests.unit.sweeps.study import (
    answer_with_a_set,
    answer_with_nan,
    answer_with_too_few,
    build_units,
    compute,
    computed,
    die_on_odd,
    die_once,
    expected,
    raise_on_odd,
    settings_of,
)

PATIENCE_SECONDS = 60
# Beside other tests; alone it is less than one. The cases would take minutes.
PROMPT_SECONDS = 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def run_all(path, units, work=compute, prepare=settings_of, num_workers=2):
    """All cases by key; none is given twice."""
    with CaseStore(path) as store:
        done = list(run_cases(store, units, prepare, work, num_workers=num_workers))
    assert len({case.key for case in done}) == len(done)
    return {case.key: case for case in done}


def results(path):
    return {key: case.result for key, case in load_cases(path).items()}


def test_every_case_is_computed_once_stored_and_given(path, log):
    units = build_units(10, unit_size=3, log=log)
    done = run_all(path, units)
    assert sorted(computed(log)) == list(range(10))
    assert results(path) == expected(units)
    assert {key: case.result for key, case in done.items()} == expected(units)
    assert not any(case.is_stored or case.error for case in done.values())
    assert all(case.seconds > 0 for case in done.values())
    stored = load_cases(path)
    for case in (case for unit in units for case in unit):
        assert stored[case.key].settings == done[case.key].settings == case.settings


def test_an_enlarged_list_computes_what_is_new(path, log):
    run_all(path, build_units(3, log=log))
    units = build_units(6, unit_size=2, log=log)
    done = run_all(path, units)
    assert sorted(computed(log)) == list(range(6))
    assert results(path) == expected(units)
    assert [case.key for case in done.values() if case.is_stored] == ["case 0", "case 1", "case 2"]
    assert list(done)[:3] == ["case 0", "case 1", "case 2"]
    # Nothing is left: no workers are started, nothing is prepared.
    again = run_all(path, units, prepare=None, num_workers=-1)
    assert all(case.is_stored for case in again.values())
    assert {key: case.result for key, case in again.items()} == expected(units)


def test_only_what_is_missing_of_a_unit_is_prepared(path, log):
    run_all(path, build_units(2, log=log))
    prepared = []

    def prepare(cases):
        prepared.append([case.key for case in cases])
        return settings_of(cases)

    run_all(path, build_units(4, unit_size=4, log=log), prepare=prepare)
    assert prepared == [["case 2", "case 3"]]


def test_a_case_listed_twice_is_computed_once(path, log):
    units = build_units(4, unit_size=2, log=log)
    done = run_all(path, [*units, *units, units[0] + units[0]])
    assert len(done) == 4
    assert sorted(computed(log)) == [0, 1, 2, 3]


def test_an_empty_study_is_done(path):
    assert run_all(path, []) == {}
    assert run_all(path, [()]) == {}


def test_a_result_is_in_the_store_before_it_is_given(path):
    units = build_units(3)
    with CaseStore(path) as store:
        for case in run_cases(store, units, settings_of, compute, num_workers=1):
            assert load_cases(path)[case.key].result == case.result


def test_results_are_given_as_the_store_will_give_them(path):
    done = run_all(path, build_units(1), answer_with_nan)
    assert done["case 0"].result == {"bound": None, "rows": [1.0, None]}
    assert results(path) == {"case 0": {"bound": None, "rows": [1.0, None]}}


def test_failures_are_given_and_the_others_go_on(path, log):
    units = build_units(9, log=log)
    done = run_all(path, units, raise_on_odd)
    errors = {key: case.error for key, case in done.items() if case.error}
    assert errors.keys() == {"case 1", "case 3", "case 5", "case 7"}
    assert errors["case 1"] == "shots: must be positive, got 0; use 1 or more"
    assert errors["case 3"].startswith(r"KeyError: 'no such\nqubit' (study.py, line ")
    assert errors["case 5"].startswith("SystemExit: 3 (")
    assert errors["case 7"].startswith("UnpicklableError: a and b (")
    assert all(done[key].result is None for key in errors)
    assert len(results(path)) == 5
    with CaseStore(path) as store:
        assert store.failed() == errors
    # The next run tries them again, and nothing else.
    again = run_all(path, units)
    assert results(path) == expected(units)
    assert {key for key, case in again.items() if not case.is_stored} == errors.keys()
    assert sorted(computed(log)) == list(range(9))
    with CaseStore(path) as store:
        assert store.failed() == {}


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (answer_with_too_few, "work: must give one result for each case, got 0 for 2; correct"),
        (answer_with_a_set, "result: must hold plain JSON values, got: Object of type set is not"),
        (len, "TypeError: object of type 'int' has no len()"),
        (lambda payload: payload, "PicklingError: Can't pickle"),
    ],
)
def test_work_that_breaks_its_contract_fails_its_cases(path, work, message):
    done = run_all(path, build_units(2, unit_size=2), work)
    assert all(case.error.removeprefix("_pickle.").startswith(message) for case in done.values())
    assert len(done) == 2


@pytest.mark.parametrize(
    ("error", "message"),
    [(InputError("phi: must be 1"), "phi: must be 1"), (KeyError("x"), "KeyError: 'x' (test_run")],
)
def test_a_unit_that_cannot_be_prepared_fails(path, error, message):
    def prepare(cases):
        if cases[0].key == "case 0":
            raise error
        return settings_of(cases)

    done = run_all(path, build_units(4, unit_size=2), prepare=prepare)
    assert done["case 0"].error.startswith(message)
    assert done["case 1"].error.startswith(message)
    assert results(path).keys() == {"case 2", "case 3"}


def test_a_case_that_kills_its_worker_is_tried_three_times_and_others_go_on(path, log):
    done = run_all(path, build_units(6, log=log), die_on_odd)
    assert sorted(computed(log)) == [0, 1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5]
    for number in range(6):
        error = done[f"case {number}"].error
        assert bool(error) == bool(number % 2)
        if error:
            assert error == (
                "worker process must survive the case, got 3 attempts in which none did; "
                "see whether memory is enough for so many workers"
            )
    assert results(path) == expected(build_units(6)[::2])


def test_a_worker_that_dies_once_costs_nothing_but_time(path, log, tmp_path):
    units = build_units(4, log=log, crashed=str(tmp_path / "crashed"))
    assert not any(case.error for case in run_all(path, units, die_once).values())
    assert results(path) == expected(units)
    assert sorted(computed(log)) == [0, 1, 2, 3]


def test_two_runs_share_the_work(path, log):
    units = build_units(40, log=log, seconds=0.02)
    given = []

    def run_in_thread():
        given.append(run_all(path, units))

    threads = [threading.Thread(target=run_in_thread) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(computed(log)) == list(range(40))
    assert results(path) == expected(units)
    # Both give everything, and what one has computed is stored for the other.
    assert len(given[0]) == len(given[1]) == 40
    for key in given[0]:
        assert given[0][key].result == given[1][key].result
        assert {given[0][key].is_stored, given[1][key].is_stored} == {True, False}


def hold(path, key):
    other = CaseStore(path)
    assert other.claim([key]) == {key}
    return other


def test_a_case_that_another_finishes_is_waited_for(path, log):
    units = build_units(3, unit_size=3, log=log)
    with closing(hold(path, "case 1")) as other, CaseStore(path) as store:
        cases = run_cases(store, units, settings_of, compute, num_workers=1)
        assert {next(cases).key, next(cases).key} == {"case 0", "case 2"}
        other.finish([StoredCase("case 1", units[0][1].settings, {"value": 7.0}, seconds=2.0)])
        (last,) = cases
    assert last == CaseDone("case 1", units[0][1].settings, {"value": 7.0}, None, 2.0, True)
    assert sorted(computed(log)) == [0, 2]


def test_a_case_that_another_gives_up_is_taken_over(path, log):
    units = build_units(3, unit_size=3, log=log)
    with closing(hold(path, "case 1")) as other, CaseStore(path) as store:
        cases = run_cases(store, units, settings_of, compute, num_workers=1)
        assert {next(cases).key, next(cases).key} == {"case 0", "case 2"}
        other.close()
        (last,) = cases
    assert (last.key, last.is_stored) == ("case 1", False)
    assert sorted(computed(log)) == [0, 1, 2]


def test_a_failure_that_another_meets_meanwhile_is_given_and_not_repeated(path, log):
    units = build_units(2, unit_size=2, log=log)
    with closing(hold(path, "case 1")) as other, CaseStore(path) as store:
        other.fail([units[0][0]], "an old failure")
        cases = run_cases(store, units, settings_of, compute, num_workers=1)
        assert next(cases).result is not None
        other.fail([units[0][1]], "too few shots")
        (last,) = cases
    assert (last.key, last.error, last.is_stored) == ("case 1", "too few shots", True)
    assert computed(log) == [0]


def test_closing_stops_workers_at_once_and_gives_claims_back(path, log):
    units = [*build_units(2, log=log), (Case("long", {"number": 9, "seconds": 600}),)]
    with CaseStore(path) as store:
        cases = run_cases(store, units, settings_of, compute, num_workers=2)
        keys = {next(cases).key, next(cases).key}
        began = time.monotonic()
        cases.close()
        assert time.monotonic() - began < PROMPT_SECONDS
        assert keys == {"case 0", "case 1"} == store.finished().keys()
        with CaseStore(path) as other:
            assert other.claim(["long"]) == {"long"}
    for pid in study.workers_seen(log):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_full_disk_ends_the_run_with_one_error(path):
    units = build_units(60, size=3000)
    given = []
    with CaseStore(path) as store:
        store._file.connection.execute("PRAGMA max_page_count = 25")
        with pytest.raises(InputError, match="must have room to grow"):
            given.extend(run_cases(store, units, settings_of, compute, num_workers=2))
    kept = results(path)
    assert 0 < len(kept) < 60
    done = run_all(path, units)
    assert len(done) == 60
    assert {key for key, case in done.items() if case.is_stored} == kept.keys()


def test_as_much_is_prepared_as_runs(path):
    """Preparing goes on while workers work, but not for everything at once."""
    prepared = []

    def prepare(cases):
        prepared.append(time.monotonic())
        return settings_of(cases)

    with (
        CaseStore(path) as store,
        closing(
            run_cases(store, build_units(20, seconds=0.3), prepare, compute, num_workers=2)
        ) as cases,
    ):
        next(cases)
        assert 4 <= len(prepared) <= 6
