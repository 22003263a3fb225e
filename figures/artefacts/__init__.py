"""The figures and tables, one module each: parameters, computation, caption."""
