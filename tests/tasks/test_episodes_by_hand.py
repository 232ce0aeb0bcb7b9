"""One episode of each curriculum and rotation, as drawn for seed 0 and worked through by a reader.

Each literal was checked against the rules: which arm or run stands where, what the crossing or the boundary is, and
that the last query's answer follows. If only the draws change, they must be worked through again.
"""

import pytest

from tests.conftest import encoded

GRID = "--task grid --real_words --n_train 5"
CATEGORY = "--task category --n_train 5 --n_val 3 --n_test 2 --n_task_dims 5 --n_symbols 4 --n_in_context 8"


def written(flags: str, rotation: str, curriculum: str) -> tuple[list[str], str]:
    """The study items, and the last novel query with its answer, without marks."""
    encoder = encoded(flags)
    episode = encoder.episodes(0, "test", rotation, curriculum, 1)
    text = encoder.text(episode.context[0]).replace("<|endoftext|> ", "").replace("symbol_", "").replace("label_", "")
    query = encoder.text(episode.queries[0, -1]).replace(" <mask>", "").replace("symbol_", "")
    answer = encoder.text(episode.answers[0, -1]).replace("label_", "")
    return text.removesuffix(" <sep>").replace(" :", "").split(" <sep> "), query.replace(" :", "") + f" {answer}"


@pytest.mark.parametrize(
    ("rotation", "curriculum", "study", "novel"),
    [
        # fish: y = 2, the row first; red: x = 2. Blue is x = 4, bird y = 3.
        ("unrotated", "aligned", "pink fish 3 2/green fish 0 2/blue fish 4 2/yellow fish 1 2/red fish 2 2"
                                 "/red bird 2 3/red horse 2 0/red dog 2 4/red cat 2 1", "blue bird 4 3"),
        # the falling diagonal first, red horse in the centre. Flipped: fish is x = 3, red y = 2.
        ("unrotated", "misaligned", "blue bird 0 4/green cat 4 0/pink dog 1 3/yellow fish 3 1/red horse 2 2"
                                    "/pink fish 3 3/green bird 0 0/yellow dog 1 1/blue cat 4 4", "red fish 3 2"),
        # fish: y = 0; the crossing, yellow fish, fifth; yellow: x = 2. Red is x = 1, horse y = 4.
        ("unrotated", "blocked", "green fish 4 0/pink fish 3 0/red fish 1 0/blue fish 0 0/yellow fish 2 0"
                                 "/yellow bird 2 3/yellow dog 2 2/yellow horse 2 4/yellow cat 2 1", "red horse 1 4"),
        # red: x = 4 and cat: y = 4, in no order. Blue is x = 2, horse y = 0.
        ("unrotated", "interleaved", "pink cat 1 4/yellow cat 3 4/red horse 4 0/red fish 4 2/blue cat 2 4"
                                     "/red bird 4 1/red dog 4 3/green cat 0 4/red cat 4 4", "blue horse 2 0"),
        # turned back: horse is x = 2 (flipped), blue y = 2, yellow y = 1, dog x = 4: (4, 1) turns to (5, 1).
        ("rotated", "aligned", "red horse 6 6/yellow horse 3 3/pink horse 2 2/green horse 5 5/blue horse 4 4"
                               "/blue fish 3 5/blue dog 6 2/blue cat 5 3/blue bird 2 6", "yellow dog 5 1"),
        # turned back: (1,1) (4,4) (0,0) (3,3), centre, (0,4) (4,0) (1,3) (3,1). Pink: x = 1, dog: y = 4; (1, 4) turns to (5, 7).
        ("rotated", "misaligned", "pink horse 2 4/blue dog 8 4/green bird 0 4/red fish 6 4/yellow cat 4 4"
                                  "/green dog 4 8/blue bird 4 0/pink fish 4 6/red horse 4 2", "pink dog 5 7"),
        # turned back: horse: y = 0, green: x = 3, the crossing (3, 0) fifth. Blue is x = 1, fish y = 3: (1, 3) turns to (4, 6).
        ("rotated", "blocked", "pink horse 2 2/yellow horse 4 0/blue horse 1 3/red horse 0 4/green horse 3 1"
                               "/green dog 7 5/green cat 5 3/green fish 6 4/green bird 4 2", "blue fish 4 6"),
        # turned back: pink: x = 0, bird: y = 4, in no order. Green: x = 3, cat: y = 3; (3, 3) turns to (6, 4).
        ("rotated", "interleaved", "red bird 8 4/pink fish 1 5/pink horse 0 4/yellow bird 6 6/pink bird 4 8"
                                   "/pink cat 3 7/blue bird 5 7/pink dog 2 6/green bird 7 5", "green cat 6 4"),
    ],
)  # fmt: skip
def test_grid(rotation, curriculum, study, novel):
    assert written(GRID, rotation, curriculum) == (study.split("/"), novel)


@pytest.mark.parametrize(
    ("rotation", "curriculum", "study", "novel"),
    [
        # dimension 2 is relevant: 2 and 3 take label 1. Runs: high-high, high-low, low-low, low-high.
        ("unrotated", "blocked", "3_2 2_3 1/3_3 2_2 1/3_3 2_0 0/3_2 2_1 0/3_0 2_0 0/3_1 2_1 0/3_0 2_3 1/3_1 2_3 1", "3_0 2_2 1"),
        # dimension 3 is relevant: 2 and 3 take label 1.
        ("unrotated", "interleaved",
         "2_1 3_3 1/2_3 3_2 1/2_1 3_1 0/2_3 3_0 0/2_2 3_1 0/2_0 3_3 1/2_2 3_3 1/2_0 3_1 0", "2_0 3_2 1"),
        # the difference, dimension 3 minus dimension 2, is relevant: above 0 label 1.
        ("rotated", "blocked", "3_1 2_1 0/3_0 2_0 0/3_2 2_1 1/3_2 2_0 1/3_2 2_3 0/3_0 2_3 0/3_3 2_2 1/3_3 2_1 1", "3_1 2_2 0"),
        # the sum is relevant: above 3 label 1, below 0; at 3 the difference decides, as the quadrants say.
        ("rotated", "interleaved", "2_3 3_3 1/2_1 3_2 0/2_3 3_1 1/2_0 3_1 0/2_1 3_0 0/2_1 3_1 0/2_1 3_3 1/2_2 3_1 1", "2_0 3_3 0"),
    ],
)  # fmt: skip
def test_category(rotation, curriculum, study, novel):
    assert written(CATEGORY, rotation, curriculum) == (study.split("/"), novel)
