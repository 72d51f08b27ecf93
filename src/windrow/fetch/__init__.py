"""Getting one answer to one request: the transport seam, and what belongs to addresses, redirects and encodings."""

from windrow.fetch.transport import Answer, Failure, Request, Send, Timeouts, Transport

__all__ = ["Answer", "Failure", "Request", "Send", "Timeouts", "Transport"]
