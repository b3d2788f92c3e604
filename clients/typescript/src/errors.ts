/** Errors of this library. No message contains a value of a command or an event. */

import type { CommandRequest } from "./sender.js";

/** Base class of this library's errors. */
export class UsersError extends Error {
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = new.target.name;
  }
}

/** A command or its envelope breaks a rule of the contract; nothing was sent. */
export class InvalidCommandError extends UsersError {}

/** A message is not an event of the user worker. */
export class InvalidEventError extends UsersError {}

/**
 * Some or all commands may not have been sent.
 *
 * `sendMany(error.unsent)` sends them again under the same ids; a command that is on the queue
 * already has no second effect. `cause` is the error of the SDK, if there is one.
 */
export class NotSentError extends UsersError {
  constructor(
    /** Error code of AWS, or the name of the error if AWS did not answer. */
    readonly code: string,
    /** Ids of the commands that are on the queue, in order. */
    readonly sent: readonly string[],
    /** The other commands in order, with their ids. */
    readonly unsent: readonly CommandRequest[],
    cause?: unknown,
  ) {
    super(`${unsent.length} of ${sent.length + unsent.length} commands not sent: ${code}`, { cause });
  }
}

/** No answer to a command in time; the message names causes that are known. */
export class NoAnswerError extends UsersError {}

/** The listener is not receiving: not started, or closed. */
export class NotListeningError extends UsersError {}

/** AWS accepted the calls, but the subscription is not active; the message says why. */
export class NotSubscribedError extends UsersError {}

/** A read failed: try again. `cause` is the error of the SDK, if there is one. */
export class UnavailableError extends UsersError {}

/**
 * A stored item cannot be read: damaged, or of a later format than this version knows.
 *
 * Do not treat it as an answer: such a user must neither be let in nor be treated as unknown.
 */
export class UnreadableError extends UsersError {}

/** The worker rejected a command, or a login was refused; `code` is the reason. */
export class RefusedError extends UsersError {
  /** Set the code, such as EmailTaken or WrongEmailOrPassword. */
  constructor(readonly code: string) {
    super(code);
  }
}

/** A session may not continue; `code` is a `SessionRefusal`. */
export class SessionRefusedError extends RefusedError {}

/** Return the name of an error, which is AWS's code for an error of AWS. */
export function errorCode(error: unknown): string {
  return error instanceof Error ? error.name : typeof error;
}
