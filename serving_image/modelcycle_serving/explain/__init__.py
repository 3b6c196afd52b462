"""Explanations on request: how much each feature contributed to one answer.

`service` belongs to the server's event loop and imports nothing heavy; all the rest runs in a process of its own (`worker`), started
by the first request, so that neither its memory, its work nor its faults touch the answering of requests.
"""
