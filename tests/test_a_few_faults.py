"""What `make faults` does at length.  A file of its own, and the first: it takes the longest."""

from test_runs import script


def test_a_little_of_every_fault(capsys):
    """Nothing is wrong, and every fault was tried."""
    faults = script("faults")
    assert faults.main(["--short"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == len(faults.FAULTS) + 2
    assert all(wrong == "0" for _, _, wrong, _ in rows)
    assert all(int(times) or "not tried" in lost for _, times, _, lost in rows)
