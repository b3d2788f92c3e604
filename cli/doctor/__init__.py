"""`user-worker doctor`: looks at all that a newcomer or an operator stumbles over."""

from cli.doctor.examination import examine, show_examination

__all__ = ["examine", "show_examination"]
