"""How commands ended, heard from the topic by the process that sent them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Final, Self

from botocore.exceptions import BotoCoreError, ClientError

from adapters import aws
from adapters.subscription import LONGEST_POLL, OUTCOMES, QueueReader, temporary_subscription
from user_client.answers import DEFAULT_LIMIT, Answer, AnswerBook
from user_client.errors import NoAnswerError

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

READ_TIMEOUT: Final = 30.0
"""Seconds: more than the longest poll."""
LONGEST_PAUSE: Final = 10.0
"""Seconds between two tries to receive, doubled from one to the other, with full jitter."""
FIRST_PAUSE: Final = 0.1

_logger = logging.getLogger(__name__)


class OutcomeListener:
    """Hears the answers to the commands of one source, on a queue that no other process reads.

    A message goes to one reader of a queue only: were the queue shared, another process would
    get the answer. So each process has its own queue, and best its own source too, such as
    `/signup/3`, or it hears the answers to the others' commands as well.

    Start it before the first command is sent, and after a fork: with `start` and `close`, `with` or
    `async with`.
    """

    def __init__(
        self,
        *,
        source: str,
        topic: str = "user-events",
        queue: str | None = None,
        limit: int = DEFAULT_LIMIT,
        sqs: SQSClient | None = None,
        sns: SNSClient | None = None,
    ) -> None:
        """Say whose answers to hear, and where.

        Args:
            source: the `source` of the commands; not used where `queue` is given.
            topic: the ARN of the topic, or its name in the account and region of the clients.
            queue: name or URL of a queue of this process's own that is subscribed already, with
                the filter policy `{"command_source": [source]}`. Left out, a queue is made and
                subscribed, and both are removed by `close`.
            limit: how many answers are kept until they are asked for, the oldest giving way, and
                how many commands can be waited for.
            sqs: boto3's client for SQS, with a read timeout above 20 s; made if left out.
            sns: boto3's client for SNS; made if left out and needed.
        """
        self._source = source
        self._topic = topic
        self._queue = queue
        self._book = AnswerBook(limit)
        self._sqs = sqs
        self._sns = sns
        self._cleanup = contextlib.ExitStack()
        self._closing = threading.Event()
        self._trouble: str | None = None

    def start(self) -> None:
        """Begin to listen; from here on no answer is missed.

        Raises:
            ClientError: AWS says no, or nothing (a BotoCoreError).
            AwsConfigurationError: no region or no credentials.
        """
        sqs = self._sqs or aws.client("sqs", read_timeout=READ_TIMEOUT)
        reader = self._reader(sqs)
        threading.Thread(
            target=self._listen, args=(reader,), name="user-outcomes", daemon=True
        ).start()

    def close(self) -> None:
        """Listen no longer, and remove what `start` made; a poll under way ends by itself."""
        self._closing.set()
        self._cleanup.close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start, in a thread."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close, in a thread."""
        await asyncio.to_thread(self.close)

    def expect(self, command_id: str) -> Future[Answer]:
        """Give the future answer of a command, sent or not yet; hand it to `forget` in the end.

        Raises:
            UserClientError: too many are waited for; see `limit`.
        """
        return self._book.ask(command_id)

    def forget(self, command_id: str, future: Future[Answer]) -> None:
        """Wait no longer for an answer that did not come."""
        self._book.forget(command_id, future)

    def answer(self, command_id: str, timeout: float = 30.0) -> Answer:
        """Wait for a command's answer, at most so many seconds.

        Raises:
            NoAnswerError: none came. It may be on its way, or the command was decided before:
                a repetition has no second answer.
            UserClientError: too many are waited for; see `limit`.
        """
        future = self.expect(command_id)
        try:
            return future.result(timeout)
        except (TimeoutError, CancelledError):
            raise self._no_answer(timeout) from None
        finally:
            self.forget(command_id, future)

    async def aanswer(self, command_id: str, seconds: float = 30.0) -> Answer:
        """Do as `answer`, in a coroutine."""
        future = self.expect(command_id)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError:
            raise self._no_answer(seconds) from None
        finally:
            self.forget(command_id, future)

    def _no_answer(self, seconds: float) -> NoAnswerError:
        trouble = f"; the queue cannot be read: {self._trouble}" if self._trouble else ""
        return NoAnswerError(f"no answer in {seconds:g} s{trouble}")

    def _reader(self, sqs: SQSClient) -> QueueReader:
        if self._queue is None:
            sns = self._sns or aws.client("sns")
            wanted = {"command_source": [self._source]}
            made = temporary_subscription(sqs, sns, self._topic, OUTCOMES, wanted=wanted)
            return self._cleanup.enter_context(made)
        url = self._queue
        if "://" not in url:
            url = sqs.get_queue_url(QueueName=url)["QueueUrl"]
        return QueueReader(sqs, url)

    def _listen(self, reader: QueueReader) -> None:
        pause = FIRST_PAUSE
        while not self._closing.is_set():
            try:
                bodies = reader.poll(LONGEST_POLL)
            except (ClientError, BotoCoreError) as error:
                if self._closing.is_set():
                    return
                self._trouble = aws.error_code(error)
                _logger.warning("outcomes cannot be received: %s", self._trouble)
                self._closing.wait(pause * random.random())  # noqa: S311  # jitter, no secret
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._trouble, pause = None, FIRST_PAUSE
            for body in bodies:
                if (answer := Answer.read(body)) is not None:
                    self._book.tell(answer)
