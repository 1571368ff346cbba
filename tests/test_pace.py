"""--minutes become steps, and the number is corrected when the rate changes."""

import json
import math
from dataclasses import replace

import pytest

import unmask.train.loop
from unmask.config import TrainConfig
from unmask.train import train
from unmask.train.pace import Fall, Pace, planned, rate_factor

CONFIG = TrainConfig(steps=0, minutes=5.0, warmup=20, decay_share=0.9)


def simulated(config, seconds_of_step, evaluation=0.0, every=60.0):
    """(seconds of the run, factors of its steps, how often it was planned) on a clock of its own.

    `seconds_of_step`: of (time, step)."""
    now, step, run, factors, plans = 0.0, 0, {"steps": 0}, [], 0
    pace, last = Pace(config.minutes, 0, 0.0), 0.0
    while not run["steps"] or step < run["steps"]:
        fall = Fall.of(config, run)
        factors.append(rate_factor(config, step, fall))
        before, now = now, now + seconds_of_step(now, step)
        step += 1
        pace.took(step, before, now)
        if step != run["steps"] and pace.due(now, run["steps"]):
            left = 1.0 if fall is None else fall.at(step)
            steps = pace.steps(step, now, now, run["steps"], left)
            if steps != run["steps"]:
                run |= planned(config, step, fall, steps)
                plans += 1
        if evaluation and now - last > every:
            now += evaluation
            last = now
    return now, factors, plans


RATES = {
    "steady, slow at first": lambda now, step: 1.0 if step < 4 else 0.2,
    "slow in its first minute": lambda now, step: 0.8 if now < 60 else 0.2,
    "fast in its first minute": lambda now, step: 0.2 if now < 60 else 0.5,
    "slow in the middle": lambda now, step: 0.6 if 100 < now < 200 else 0.2,
    "slow in the end": lambda now, step: 0.5 if now > 200 else 0.2,
}


@pytest.mark.parametrize("decay", ["linear", "cosine"])
@pytest.mark.parametrize("rate", RATES.values(), ids=list(RATES))
@pytest.mark.parametrize("evaluation", [0.0, 8.0])
def test_a_run_takes_its_minutes_however_the_rate_changes(rate, evaluation, decay):
    config = replace(CONFIG, decay=decay)
    seconds, factors, plans = simulated(config, rate, evaluation)
    assert seconds == pytest.approx(300, rel=0.06) and 1 <= plans < 10
    # up, and down without a jump until nothing is left; up again where there is more time than was
    # planned with
    assert factors[0] == pytest.approx(1 / 20) and factors[19] == factors[20] == 1.0
    drops = [a - b for a, b in zip(factors[20:], factors[21:], strict=False)]
    assert max(drops) < 0.005 and factors[-1] < 0.005
    assert sum(factors) / len(factors) > 0.48  # of an undisturbed run: 0.54


@pytest.mark.parametrize("a_step,steps", [(10.0, 3), (4.0, 8), (14.0, 3), (100.0, 2)])
def test_a_few_slow_steps_do_not_take_longer_than_the_minutes(a_step, steps):
    """Half a minute of steps that are slower than a fifteenth of it; of the slowest one more than
    is over when it ends."""
    config = replace(CONFIG, minutes=0.5, warmup=1)
    seconds, factors, _ = simulated(config, lambda now, step: a_step)
    assert (seconds, len(factors)) == (steps * a_step, steps)


def test_what_was_spent_before_a_run_was_stopped_presses_as_well():
    """Steps of five minutes, and stopped at 28 of 60: planned after the next, at 33."""
    whole, resumed = Pace(60, 0, 0.0), Pace(60, 5, 0.0, spent=1680.0)
    for pace in (whole, resumed):
        pace.took(6, 0.0, 300.0)
    assert resumed.due(300.0, 0) and not whole.due(300.0, 0)
    assert resumed.steps(6, 1980.0, 300.0, 0, 1.0) == 6 + round((3600 - 1980) / 300)


def test_one_slow_step_does_not_end_the_learning():
    seconds, factors, _ = simulated(CONFIG, lambda now, step: 40.0 if step == 300 else 0.2)
    assert seconds == pytest.approx(300, rel=0.06)
    assert len(factors) > 0.95 * (300 - 40) / 0.2
    assert factors[600] == pytest.approx(Fall(len(factors), 0.9 * len(factors)).at(600), abs=0.05)


def test_a_run_whose_minutes_are_over_still_ends_with_small_rates():
    """A machine that slept for six of five minutes."""
    seconds, factors, _ = simulated(CONFIG, lambda now, step: 360.0 if step == 300 else 0.2)
    falling = [factor for factor in factors if factor < 1][20:]
    assert seconds > 360 and len(factors) < 330
    assert len(falling) >= 0.04 * len(factors) and factors[-1] < 0.1
    drops = [a - b for a, b in zip(factors[20:], factors[21:], strict=False)]
    assert max(drops) < 0.1


def test_a_short_spell_of_a_long_run_changes_nothing():
    config = replace(CONFIG, minutes=600.0)
    _, _, plans = simulated(config, lambda now, step: 2.0 if 7200 < now < 7290 else 0.4)
    assert plans == 1


def test_at_a_steady_rate_it_is_planned_once_and_falls_as_a_run_of_so_many_steps():
    _, factors, plans = simulated(CONFIG, lambda now, step: 0.2)
    fall = Fall.of(CONFIG, {"steps": len(factors)})
    assert plans == 1 and len(factors) == pytest.approx(1500, rel=0.01)
    assert factors == [rate_factor(CONFIG, step, fall) for step in range(len(factors))]


def test_a_corrected_plan_goes_on_from_the_factor_that_was_there():
    before = Fall.of(CONFIG, {"steps": 1000})
    for steps in (500, 700):
        after = Fall.of(CONFIG, planned(CONFIG, 400, before, steps))
        assert after.at(400) == before.at(400) == pytest.approx(600 / 900)
        assert after.at(steps) == 0 and after.at(steps - 1) > 0
    # or what it would have been, had so many been planned from the beginning
    more = Fall.of(CONFIG, planned(CONFIG, 400, before, 3000))
    undisturbed = Fall.of(CONFIG, {"steps": 3000})
    for step in (400, 401, 2000, 3000):
        assert more.at(step) == pytest.approx(undisturbed.at(step), abs=1e-12)
    # before the fall has begun, it begins where it would have
    flat = planned(replace(CONFIG, decay_share=0.5), 100, Fall(1000, 500.0), 2000)
    assert flat == {"steps": 2000, "fall": {"over": 1000.0, "left": 1.0}}
    # or at once, where it would have begun already
    late = planned(replace(CONFIG, decay_share=0.9), 400, None, 500)
    assert late == {"steps": 500, "fall": {"over": 100.0, "left": 1.0}}


def test_a_run_is_corrected_and_continues_by_its_corrected_plan(data, tmp_path, monkeypatch):
    """On a clock that only steps move: the first ones are slow, and planned by them alone, the run
    would have a fraction of its steps."""
    config = TrainConfig(
        length=16, dim=16, layers=1, heads=2, batch_size=8, steps=0, minutes=1.0, eval_minutes=0,
        eval_windows=8, log_every=4, dtype="float32", device="cpu", threads=1,
    )  # fmt: skip
    real, taken, clock, stop = unmask.train.loop.train_step, [], [0.0], [60]

    def slow_at_first(config, data, state, fall):
        if state.step in stop:
            raise KeyboardInterrupt
        clock[0] += 2.0 if state.step < 14 else 0.25
        taken.append((state.step, fall))
        return real(config, data, state, fall)

    monkeypatch.setattr(unmask.train.loop, "train_step", slow_at_first)
    monkeypatch.setattr(unmask.train.loop.time, "monotonic", lambda: clock[0])
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "run")
    plans = list(dict.fromkeys(fall for _, fall in taken if fall is not None))
    # 10 steps in 20 seconds are 30 in a minute; after 14 in 28 there is time for 128 more
    assert plans[0] == Fall(30, 20.0) and plans[-1].end > 80
    kept = Fall.of(config, json.loads((tmp_path / "run" / "run.json").read_text()))
    stop.clear()
    taken.clear()
    reached = train(config, data, tmp_path / "run")
    assert taken[0][0] <= 60 and taken[0][1] == kept
    ended = json.loads((tmp_path / "run" / "run.json").read_text())["steps"]
    assert ended == int(reached.name) == pytest.approx(142, rel=0.06)


@pytest.mark.parametrize(
    "fall", [{"over": 0, "left": 1}, {"over": 5, "left": 2}, {"over": math.e}, {"left": 0.5}]
)
def test_a_plan_that_cannot_be_meant_is_refused(data, tmp_path, fall):
    config = replace(CONFIG, length=16, dim=16, layers=1, heads=2, batch_size=8, device="cpu")
    run = {"steps": 10, "identity": {}, "fall": fall}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(run), encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.json is damaged.*fall"):
        train(config, data, tmp_path / "run")
