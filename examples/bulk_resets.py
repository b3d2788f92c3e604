"""Write a password reset for each user that an import created: `bulk_resets.py REPORT > FILE`.

REPORT is the report of `user-worker import` in CSV. FILE is the input of a second import, of the
command RequestPasswordReset. The tokens are neither in FILE nor in a queue: as in
password_reset.py, the mailer derives each token from its id, with the key TOKEN_KEY.
"""

import csv
import os
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from biome_users import MailedTokens, token_hash

LIFETIME = timedelta(days=7)
"""Time to send the resets. The worker lets each token expire an hour after it applies the reset."""


def main(report: str, tokens: MailedTokens) -> None:
    """Write a row for each accepted row of the report; count them on standard error."""
    expires_at = (datetime.now(UTC) + LIFETIME).isoformat(timespec="seconds")
    output = csv.writer(sys.stdout)
    output.writerow(["user_id", "token_id", "token_hash", "expires_at"])
    count = 0
    with Path(report).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"outcome", "user_id"} <= set(rows.fieldnames or ()):
            raise ValueError("no columns outcome and user_id")
        for row in rows:
            if row["outcome"] != "accepted":
                continue
            token_id = str(uuid.uuid4())
            hashed = token_hash(tokens.token("reset", token_id))
            output.writerow([row["user_id"], token_id, hashed, expires_at])
            count += 1
    print(f"{count} resets", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and the report
        sys.exit("usage: TOKEN_KEY=... bulk_resets.py REPORT > FILE, with the mailer's key")
    try:
        main(sys.argv[1], MailedTokens(os.environ.get("TOKEN_KEY", "").encode()))
    except (OSError, ValueError, csv.Error) as error:
        sys.exit(f"error: {error!r}; REPORT is the report of an import, TOKEN_KEY the mailer's key")
