"""Deletion requests: what was asked, what of it can be done, and what must be forgotten."""

from qunlearn.deletion.plan import Plan, make_plan
from qunlearn.deletion.requests import Request, RequestError, finish, pending, read_request, reject

__all__ = ["Plan", "Request", "RequestError", "finish", "make_plan", "pending", "read_request", "reject"]
