"""Pretrained language models on the grid task, in context: what they are asked, how answers are scored, and the loop."""
