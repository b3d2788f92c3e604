"""Receive from the topic how commands ended, in the process that sent them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Any, Final, Protocol, Self

from biome_users import _aws
from biome_users._subscription import MISSING, QueueReader, TopicSubscription
from biome_users.answers import DEFAULT_LIMIT, Answer, AnswerBook
from biome_users.errors import NoAnswerError, NotListeningError, UsersError

READ_TIMEOUT: Final = 30.0
"""Seconds; longer than the longest poll."""
LONGEST_PAUSE: Final = 10.0
"""Maximum seconds between two attempts to receive; pauses double, with full jitter."""
FIRST_PAUSE: Final = 0.1
CHECK_EVERY: Final = 300.0
"""Seconds between two checks of queue and subscription while no caller waits."""
CHECK_LEAST: Final = 10.0
"""Seconds between two checks while a caller waits and no message arrives."""
RENEWAL_REPORTED: Final = 60.0
"""Seconds; a wait that starts within this time of a renewal reports it too.

A caller sends its command first and waits afterwards, so the answer may be lost before the wait
starts.
"""
SHORT_POLL: Final = 0.1
"""Seconds; an empty response that is faster is not a long poll, but perhaps a proxy's page."""

_logger = logging.getLogger(__name__)


class OutcomeListener:
    """Receives the answers to the commands of one source, on a queue that no other process reads.

    A message is delivered to only one reader of a queue: with a shared queue, another process would
    receive the answer. Each process therefore has its own queue, and preferably its own source,
    such as `/signup/3`; otherwise it also receives the answers to the other processes' commands.

    Start it before the first command is sent, and after a fork: with `start` and `close`, `with` or
    `async with`. It can be used once: after `close`, create another one. In a process that is
    forked after `start`, it raises NotListeningError.

    No error ends the listening. A queue or a subscription that is lost (deleted, or changed in
    access policy or filter) is created again. The loss is detected by an error, after 20 s without
    messages while a caller waits, and otherwise every five minutes. Answers that were published in
    between are missed; NoAnswerError then says so.
    """

    def __init__(
        self,
        *,
        source: str,
        topic: str = "user-events",
        queue: str | None = None,
        limit: int = DEFAULT_LIMIT,
        sqs: Any = None,
        sns: Any = None,
    ) -> None:
        """Set the source of the commands, and the topic or queue to receive from.

        Args:
            source: the `source` of the commands; unused if `queue` is given.
            topic: the ARN of the topic, or its name in the account and region of the clients. A
                name costs two more calls at the start.
            queue: name or URL of a queue that only this process reads, already subscribed with the
                filter policy `{"command_source": [source]}`. By default, a queue is created and
                subscribed, and both are removed by `close`.
            limit: maximum number of answers to keep until they are requested (the oldest are
                discarded), and of commands to wait for.
            sqs: a boto3 client for SQS, with a read timeout above 20 s; created by default.
            sns: a boto3 client for SNS; created by default if needed.
        """
        self._source = source
        self._topic = topic
        self._queue = queue
        self._book = AnswerBook(limit)
        self._sqs = sqs
        self._sns = sns
        self._feed: _Feed | None = None
        self._started = threading.Lock()
        """Held from the start on, and never waited for."""
        self._process: int | None = None
        """Id of the listening process."""
        self._closing = threading.Event()
        self._read_error: str | None = None
        """Why the queue cannot be read now, or `None`."""
        self._check_error: str | None = None
        """Why queue and subscription could not be checked or created again, or `None`."""
        self._renewed: tuple[float, str] | None = None
        """When something was last created again, on the monotonic clock, and what."""

    def start(self) -> None:
        """Start listening; takes a second, until the new queue is usable.

        When it returns, the queue has its access policy and the subscription is confirmed, so
        commands can be sent. See docs/how-to/sending.md for what AWS does not guarantee.

        Raises:
            ClientError: AWS returned an error (or a BotoCoreError: no answer). Nothing is left
                behind, and `start` can be called again.
            NotSubscribedError: the queue's policy or the subscription is not active.
            NotListeningError: the listener was closed.
            UsersError: it was started before, perhaps in the process this one was forked from.
        """
        if self._closing.is_set():
            raise NotListeningError("the listener was closed: create another one")
        if not self._started.acquire(blocking=False):
            raise UsersError("the listener is already started; create one in each process")
        try:
            self._feed = feed = self._make_feed()
            reader = feed.open()
            try:
                threading.Thread(
                    target=self._listen, args=(feed, reader), name="user-outcomes", daemon=True
                ).start()
            except BaseException:
                feed.close()
                raise
        except BaseException:
            self._started.release()
            raise
        self._process = os.getpid()

    def close(self) -> None:
        """Stop listening, end all waits, and remove what `start` created.

        A poll in progress ends by itself. In a process that was forked after `start`, nothing is
        removed, because it belongs to the other process.
        """
        self._closing.set()
        if self._process not in {None, os.getpid()}:
            return
        self._book.close("the listener was closed")
        if self._feed is not None:
            self._feed.close()

    def __enter__(self) -> Self:
        """Start the listener."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the listener."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start the listener in a thread."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the listener in a thread."""
        await asyncio.to_thread(self.close)

    def expect(self, command_id: str) -> Future[Answer]:
        """Return a future for a command's answer, before or after sending; `forget` it at the end.

        The future fails with NoAnswerError if the listener is closed before.

        Raises:
            UsersError: too many commands are awaited; see `limit`.
            NotListeningError: not started, closed, or started in another process.
        """
        if self._process is None:
            raise NotListeningError("the listener is not started: call start, or use `with`")
        if self._process != os.getpid():
            raise NotListeningError(
                "the listener was started in another process: create one in each, after the fork"
            )
        return self._book.ask(command_id)

    def forget(self, command_id: str, future: Future[Answer]) -> None:
        """Stop waiting for an answer that did not arrive."""
        self._book.forget(command_id, future)

    def answer(self, command_id: str, timeout: float = 30.0) -> Answer:
        """Wait for a command's answer, at most `timeout` seconds.

        Raises:
            NoAnswerError: no answer arrived. It may arrive later, or the command was decided
                before: a repeated command gets no second answer.
            UsersError: too many commands are awaited; see `limit`.
            NotListeningError: not started, closed, or started in another process.
        """
        future, began = self.expect(command_id), time.monotonic()
        try:
            return future.result(timeout)
        except NoAnswerError:  # closed in the meantime
            raise
        except (TimeoutError, CancelledError):
            raise self._no_answer(timeout, began) from None
        finally:
            self.forget(command_id, future)

    async def aanswer(self, command_id: str, seconds: float = 30.0) -> Answer:
        """Wait like `answer`, in a coroutine."""
        future, began = self.expect(command_id), time.monotonic()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except NoAnswerError:
            raise
        except TimeoutError:
            raise self._no_answer(seconds, began) from None
        finally:
            self.forget(command_id, future)

    def _no_answer(self, seconds: float, began: float) -> NoAnswerError:
        text = f"no answer in {seconds:g} s"
        if self._read_error:
            text += f"; the queue cannot be read: {self._read_error}"
        if self._check_error:
            text += f"; queue or subscription cannot be renewed: {self._check_error}"
        if self._renewed and self._renewed[0] >= began - RENEWAL_REPORTED:
            text += f"; {self._renewed[1]} had to be created again: the answer may have been missed"
        return NoAnswerError(text)

    # --- the listening thread ---

    def _make_feed(self) -> _Feed:
        sqs = self._sqs or _aws.client("sqs", read_timeout=READ_TIMEOUT)
        if self._queue is not None:
            return _GivenQueue(sqs, self._queue)
        return TopicSubscription(
            sqs,
            self._sns or _aws.client("sns"),
            self._topic,
            wanted={"command_source": [self._source]},
            sleep=self._closing.wait,
        )

    def _listen(self, feed: _Feed, reader: QueueReader) -> None:
        try:
            self._receive(feed, reader)
        except BaseException as error:  # noqa: BLE001 - the thread ends: callers learn why
            _logger.critical("outcome_listening_ended error=%s", type(error).__name__)
            self._book.close(f"the listening thread ended with {type(error).__name__}")
        finally:
            feed.close()

    def _receive(self, feed: _Feed, reader: QueueReader) -> None:
        pause, checked, missing = FIRST_PAUSE, time.monotonic(), False
        while not self._closing.is_set():
            began = time.monotonic()
            due = CHECK_LEAST if self._book.awaited else CHECK_EVERY
            if missing or began - checked >= due:
                reader, checked = self._check(feed, reader), time.monotonic()
            try:
                bodies = reader.poll()
            except Exception as error:  # noqa: BLE001 - any other error would stop the listening
                if self._closing.is_set():
                    return
                missing = _aws.error_code(error) in MISSING
                self._note_read_error(_aws.error_code(error))
                self._closing.wait(pause * random.random())  # noqa: S311  # jitter, not a secret
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._read_error, pause, missing = None, FIRST_PAUSE, False
            for body in bodies:
                self._deliver(body)
            if bodies:
                checked = time.monotonic()  # a message proves that queue and subscription exist
            elif time.monotonic() - began < SHORT_POLL:
                self._closing.wait(1.0)

    def _check(self, feed: _Feed, reader: QueueReader) -> QueueReader:
        """Return the reader to continue with: a new one if the queue had to be created again."""
        try:
            renewed = feed.renew_if_lost()
        except Exception as error:  # noqa: BLE001 - the next check may succeed
            if self._check_error != (code := _aws.error_code(error)):
                _logger.warning("outcome_subscription_check_failed error=%s", code)
            self._check_error = code
            return reader
        self._check_error = None
        if renewed is None:
            return reader
        reader, lost = renewed
        self._renewed = time.monotonic(), lost
        _logger.warning("outcome_subscription_renewed lost=%r", lost)
        return reader

    def _deliver(self, body: str) -> None:
        try:
            if (answer := Answer.read(body)) is not None:
                self._book.add(answer)
        except Exception:
            _logger.exception("outcome_delivery_failed")

    def _note_read_error(self, code: str) -> None:
        """Log the first error of an episode, and further errors only with another code."""
        if code != self._read_error:
            _logger.warning("outcomes cannot be received: %s", code)
        self._read_error = code


class _Feed(Protocol):
    """Source of answers: a queue that the listener creates, or one that it is given."""

    def open(self) -> QueueReader: ...

    def renew_if_lost(self) -> tuple[QueueReader, str] | None: ...

    def close(self) -> None: ...


class _GivenQueue:
    """A queue created and subscribed by the infrastructure; nothing is created or removed here."""

    def __init__(self, sqs: Any, queue: str) -> None:
        self._sqs = sqs
        self._queue = queue
        self._url = ""

    def open(self) -> QueueReader:
        """Find the queue."""
        self._url = self._find()
        return QueueReader(self._sqs, self._url)

    def renew_if_lost(self) -> tuple[QueueReader, str] | None:
        """Look up the queue again, in case it was created again under the same name."""
        found = self._find()
        if found == self._url:
            return None
        self._url = found
        return QueueReader(self._sqs, found), "the queue"

    def close(self) -> None:
        """Do nothing."""

    def _find(self) -> str:
        if "://" in self._queue:
            return self._queue
        url: str = self._sqs.get_queue_url(QueueName=self._queue)["QueueUrl"]
        return url
