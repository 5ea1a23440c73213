"""`fusion audit`: what people and machines are told."""

from __future__ import annotations

from tests.commands.made import failure, fusion
from tests.train.statistics.test_published import PAPER


def test_the_papers_flowers() -> None:
    outcome = fusion("audit", *PAPER, "--n", "1360")
    assert outcome.code == 0
    lines = outcome.output.splitlines()
    assert lines[0] == "2 of 1,360 numbers of test images are consistent with 12 different values:"
    assert lines[1].startswith("      680  by chance ")
    assert lines[1].endswith("; right: 630 632 598 601 617 635 641 639 647 646 648 645 648 647")
    assert "; all counts are multiples of 2; right: 1260 " in lines[2]
    assert lines[3] == "Of 1,360 and its parts, consistent: 1,360 (1), 680 (1/2)."
    assert lines[4].startswith("Of 1,360 and its parts, not: 1,224 (9/10), 1,088 (4/5), 1,020 (3/4), 907 (2/3)")


def test_a_document() -> None:
    document = fusion("audit", "66.67 %", "--n", "6", "--json").document
    assert document["percentages"] == ["66.67"]
    assert (document["n"], document["sizes"]) == (6, [3, 6])
    assert document["smallest"][1] == {
        "n": 6, "share": "1", "consistent": True, "counts": [[4, 4]], "multiple_of": 3, "chance": 7 / 10001,
    }  # fmt: skip
    assert [(fit["n"], fit["share"]) for fit in document["splits"] if fit["consistent"]] == [(6, "1"), (3, "1/2")]


def test_nothing_fits() -> None:
    outcome = fusion("audit", "50.01", "--n", "100")
    assert outcome.code == 0
    assert outcome.output.startswith("No number of test images up to 100 is consistent with 1 different value.\n")


def test_many_fit() -> None:
    lines = fusion("audit", "50", "--n", "1000").output.splitlines()
    assert lines[0].endswith("are consistent with 1 different value; the smallest 20:")
    assert len(lines) == 1 + 20 + 1
    assert len(fusion("audit", "50", "--n", "1000", "--json").document["sizes"]) > 900


def test_wrong_calls() -> None:
    assert failure(2, "audit", "ninety") == (
        "Error: 'ninety' is no percentage. Give numbers from 0 to 100 as they are printed, such as 92.65."
    )
    assert "a size from 1 to 1,000,000" in failure(2, "audit", "90", "--n", "10000000")
    assert fusion("audit").code == 2
    assert fusion("audit", "90", "--n", "0").code == 2
