"""The words in the tables' columns, in the order in which people are shown them."""

CURRICULA = ("blocked", "interleaved", "aligned", "misaligned")
ROTATIONS = ("unrotated", "rotated")
GROUPS = ("A", "B", "C", "D")
SUBSETS = (*(f"study_{group}" for group in GROUPS), "novel")
