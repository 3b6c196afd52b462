"""Exact counts of serving pods as frozen data, behind a port. Knows no kind of ours and judges nothing."""
