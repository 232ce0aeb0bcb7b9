"""The words that an episode is written with: names, item templates, separators, prefaces.

A text for a model trained from scratch is a row of tokens with one space between two of them. Every entry here is such
a row. Lists are numbered as the flags number them; the numbers are those of the published command line.
"""

# --real_words takes the first of these; the published lists have twenty of each as well.
COLORS = (
    *("red", "green", "blue", "yellow", "pink", "orange", "purple", "brown", "black", "white", "gray", "gold"),
    *("silver", "violet", "cyan", "beige", "navy", "teal", "maroon", "lime"),
)
ANIMALS = (
    *("dog", "cat", "bird", "fish", "horse", "cow", "sheep", "mouse", "lion", "bear", "frog", "duck"),
    *("rabbit", "deer", "wolf", "fox", "goat", "pig", "goose", "tiger"),
)

PAD, MASK = "<pad>", "<mask>"

# --sep_id
SEPARATORS = ("<sep>", ";", ",", "|")

# --template_id (grid); the answer, two digits, follows.
GRID_TEMPLATES = (
    "<color> <animal> :",
    "<color> , <animal> :",
    "( <color> <animal> ) :",
    "( <color> , <animal> ) :",
)

# --format (category): what stands before the symbols, between two of them, and after them.
CATEGORY_FORMATS = {
    "space": ("", "", ":"),
    "comma": ("", ",", ":"),
    "paren": ("(", "", ") :"),
    "paren_comma": ("(", ",", ") :"),
}

_INSTRUCTION = (
    "There are 5 kinds of animals , and each kind comes in 5 colors , which makes 25 colored animals in all . "
    "Each of them lives at its own place on a map . These are the xy-coordinates of some of them :"
)
_SYSTEM = "<<SYS>>\n You give clever , short and precise answers . \n<</SYS>>\n\n"
_EMPTY_SYSTEM = "<<SYS>>\n\n<</SYS>>\n\n"

# --preface_id
PREFACES = (
    "<|endoftext|>",
    f"<|endoftext|> {_INSTRUCTION}",
    _INSTRUCTION,
    "",
    f"<s>[INST] {_SYSTEM} {_INSTRUCTION}",
    f"<s>[INST] {_EMPTY_SYSTEM} {_INSTRUCTION}",
    "<s>[INST]",
    f"<s>[INST] {_EMPTY_SYSTEM}",
    f"<s>[INST] <<SYS>>\n {_INSTRUCTION} \n<</SYS>>\n\n",
)

# --test_preface_id
TEST_PREFACES = (
    "",
    "Where does the following animal live ?",
    "At which xy-coordinates does the following colored animal live ?",
    "Complete the next line with the xy-coordinates of the colored animal . [/INST]",
    "[/INST]",
)


def tokens(text: str) -> list[str]:
    """The tokens of a text: split at single spaces (a newline is part of a token, not a separator)."""
    return text.split(" ") if text else []
