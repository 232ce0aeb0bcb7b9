"""The words in the tables' columns, in the order in which people are shown them."""

GROUPS = ("A", "B", "C", "D")
SUBSETS = (*(f"study_{group}" for group in GROUPS), "novel")
