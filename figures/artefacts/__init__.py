"""The figures and tables, one a file."""
