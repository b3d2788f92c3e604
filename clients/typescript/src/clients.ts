/** Settings of the AWS clients that this library creates: with finite timeouts. */

/** Milliseconds and attempts; the tests set shorter ones. The SDK's own timeouts are infinite. */
export const limits = {
  /** Until a connection is open. */
  connect: 3_000,
  /** Without a byte of the answer; a call that has none by then is tried again. */
  answer: 10_000,
  /** The same for a long poll, which takes 20 s. */
  longPoll: 30_000,
  /** Maximum number of attempts. */
  attempts: 3,
};

/** Return the settings of a client whose calls are answered within `answer` milliseconds. */
export function clientSettings(answer = limits.answer): {
  maxAttempts: number;
  requestHandler: { connectionTimeout: number; socketTimeout: number };
} {
  return {
    maxAttempts: limits.attempts,
    requestHandler: { connectionTimeout: limits.connect, socketTimeout: answer },
  };
}
