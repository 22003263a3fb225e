"""Figures and tables of the report, and the pipeline that makes them."""
