"""Recorded results: numbers of a run of `paper_repro.py` and of `llm` in docs/recorded, and the tables made of them."""
