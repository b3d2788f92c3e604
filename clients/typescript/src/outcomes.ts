/** Receive from the topic how commands ended, in the process that sent them. */

import { setTimeout as pause } from "node:timers/promises";
import { SNSClient } from "@aws-sdk/client-sns";
import { SQSClient } from "@aws-sdk/client-sqs";
import { type Answer, AnswerBook, readAnswer } from "./answers.js";
import { clientSettings, limits } from "./clients.js";
import { errorCode, NoAnswerError, NotListeningError, UsersError } from "./errors.js";
import { type Feed, GivenQueue, isMissing, poll, TopicSubscription } from "./subscription.js";

/** Milliseconds; the tests set shorter ones. */
export const timing = {
  /** Until a new queue is usable. */
  usableAfter: 1_000,
  /** At most before another attempt to receive; pauses double, with full jitter. */
  firstPause: 100,
  longestPause: 10_000,
  /** Between two checks of queue and subscription while no caller waits. */
  checkEvery: 300_000,
  /** Between two checks while a caller waits and no message arrives. */
  checkLeast: 10_000,
  /** A wait that starts within this time of a renewal reports it: its answer may be lost. */
  renewalReported: 60_000,
  /** An empty response that is faster is not a long poll, but perhaps a proxy's page. */
  shortPoll: 100,
};

export interface OutcomeListenerOptions {
  /** The `source` of the commands, preferably of this process only, such as `/signup/3`. */
  source: string;
  /** ARN of the topic, or its name in the account and region of the clients: two more calls. */
  topic?: string;
  /**
   * Name or URL of a queue that only this process reads, already subscribed with the filter policy
   * `{"command_source": [source]}`. By default, a queue is created and subscribed, and both are
   * removed by `close`.
   */
  queue?: string;
  /** Answers to keep until they are requested, and commands to wait for at once. */
  limit?: number;
  sqs?: SQSClient;
  sns?: SNSClient;
}

export interface AnswerOptions {
  /** Milliseconds to wait; 30 s by default. */
  timeout?: number;
  abortSignal?: AbortSignal;
}

/**
 * Receives the answers to the commands of one source, on a queue that no other process reads.
 *
 * Start it before the first command is sent. It can be used once. No error ends the listening: a
 * queue or a subscription that is lost is created again. Answers that were published in between are
 * missed; NoAnswerError then says so.
 */
export class OutcomeListener {
  readonly #feed: Feed;
  readonly #sqs: SQSClient;
  readonly #book: AnswerBook;
  readonly #closing = new AbortController();
  #state: "new" | "starting" | "listening" = "new";
  #listening: Promise<void> | undefined;
  #readError: string | undefined;
  #checkError: string | undefined;
  #renewed: { at: number; lost: string } | undefined;

  constructor(options: OutcomeListenerOptions) {
    // the endpoint is that of the client, and not what is in the queue's URL
    const longPolling = clientSettings(limits.longPoll);
    this.#sqs = options.sqs ?? new SQSClient({ ...longPolling, useQueueUrlAsEndpoint: false });
    this.#book = new AnswerBook(options.limit ?? 10_000);
    this.#feed =
      options.queue === undefined
        ? new TopicSubscription(
            this.#sqs,
            options.sns ?? new SNSClient(clientSettings()),
            options.topic ?? "user-events",
            options.source,
            () => pause(timing.usableAfter),
          )
        : new GivenQueue(this.#sqs, options.queue);
  }

  /**
   * Start listening; takes a second, until the new queue is usable.
   *
   * An error leaves nothing behind, and `start` can be called again.
   */
  async start(): Promise<this> {
    if (this.#closing.signal.aborted) {
      throw new NotListeningError("the listener was closed: create another one");
    }
    if (this.#state !== "new") throw new UsersError("the listener is already started");
    this.#state = "starting";
    try {
      const url = await this.#feed.open();
      this.#state = "listening";
      this.#listening = this.#listen(url);
      return this;
    } catch (error) {
      this.#state = "new";
      throw error;
    }
  }

  /** Stop listening, end all waits, and remove what `start` created. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#book.close("the listener was closed");
    await this.#listening;
    await this.#feed.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * Wait for a command's answer.
   *
   * @throws {NoAnswerError} No answer in time. It may arrive later, or the command was decided
   *   before: a repeated command gets no second answer.
   * @throws {NotListeningError} The listener is not started, or closed.
   */
  async answer(commandId: string, options: AnswerOptions = {}): Promise<Answer> {
    if (this.#state !== "listening") throw new NotListeningError("the listener is not started");
    const { timeout = 30_000, abortSignal } = options;
    const began = performance.now();
    const ended = new AbortController();
    const timer = setTimeout(() => ended.abort(this.#noAnswer(timeout, began)), timeout);
    const signals = abortSignal ? [ended.signal, abortSignal] : [ended.signal];
    try {
      return await this.#book.wait(commandId, AbortSignal.any(signals));
    } finally {
      clearTimeout(timer);
    }
  }

  #noAnswer(milliseconds: number, began: number): NoAnswerError {
    let text = `no answer in ${milliseconds / 1000} s`;
    if (this.#readError) text += `; the queue cannot be read: ${this.#readError}`;
    if (this.#checkError) {
      text += `; queue or subscription cannot be renewed: ${this.#checkError}`;
    }
    if (this.#renewed && this.#renewed.at >= began - timing.renewalReported) {
      text += `; ${this.#renewed.lost} had to be created again: the answer may have been missed`;
    }
    return new NoAnswerError(text);
  }

  async #listen(first: string): Promise<void> {
    const { signal } = this.#closing;
    let [url, checked, missing, longest] = [first, performance.now(), false, timing.firstPause];
    while (!signal.aborted) {
      const began = performance.now();
      const due = this.#book.awaited ? timing.checkLeast : timing.checkEvery;
      if (missing || began - checked >= due) {
        url = await this.#check(url);
        checked = performance.now();
      }
      try {
        const bodies = await poll(this.#sqs, url, signal);
        [this.#readError, missing, longest] = [undefined, false, timing.firstPause];
        for (const body of bodies) this.#deliver(body);
        // a message proves that queue and subscription exist
        if (bodies.length > 0) checked = performance.now();
        else if (performance.now() - began < timing.shortPoll) await this.#rest(1_000);
      } catch (error) {
        if (signal.aborted) return;
        missing = isMissing(error);
        this.#readError = errorCode(error);
        await this.#rest(Math.random() * longest);
        longest = Math.min(2 * longest, timing.longestPause);
      }
    }
  }

  /** Return the URL to continue with: another one if the queue had to be created again. */
  async #check(url: string): Promise<string> {
    try {
      const renewed = await this.#feed.renewIfLost();
      this.#checkError = undefined;
      if (!renewed) return url;
      this.#renewed = { at: performance.now(), lost: renewed.lost };
      return renewed.url;
    } catch (error) {
      this.#checkError = errorCode(error); // the next check may succeed
      return url;
    }
  }

  #deliver(body: unknown): void {
    const answer = readAnswer(body);
    if (answer) this.#book.add(answer);
  }

  async #rest(milliseconds: number): Promise<void> {
    await pause(milliseconds, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}
