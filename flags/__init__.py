"""Flags: what may be passed, what the presets make of it, and the rules that join several of them."""
