"""Extensions from outside, as docs/extend.md explains them."""
