"""Theorem 4.1, Remark 4.2 and the last iterate of ALRIGHT."""
