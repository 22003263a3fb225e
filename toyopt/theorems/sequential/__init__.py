"""Theorem 3.3 and the exact growth of Sequential's gap."""
