/** Match answers with the callers that wait for them, in bounded memory. */

import { NoAnswerError, NotListeningError, UsersError } from "./errors.js";

/** Result of a command; a dead letter was not decided, and waits for an operator. */
export type AnswerKind = "accepted" | "no effect" | "rejected" | "dead-lettered";

/** Result of one command, by the first of its events. */
export interface Answer {
  commandId: string;
  kind: AnswerKind;
  /** Reason of a rejection or of a dead letter. */
  code?: string;
  /** Absent if the command named an address that no user has. */
  userId?: string;
  /** The user's version after the command; absent if the version did not change. */
  sequence?: number;
  /** The complete CloudEvent. */
  event: { readonly [attribute: string]: unknown };
}

/** Parse a message of the topic, raw or in an SNS notification; undefined if not an answer. */
export function readAnswer(body: unknown): Answer | undefined {
  let event = parse(body);
  if (event && "TopicArn" in event) event = parse(event["Message"]);
  const { causationid: commandId, type, subject, sequence, data } = event ?? {};
  if (!event || typeof commandId !== "string" || typeof type !== "string") return undefined;
  const answer: Answer = { commandId: commandId.toLowerCase(), kind: "accepted", event };
  const code = isObject(data) ? String(data["code"]) : "undefined";
  if (type === "biome.user.CommandRejected.v1") Object.assign(answer, { kind: "rejected", code });
  if (type === "biome.user.CommandDeadLettered.v1") {
    Object.assign(answer, { kind: "dead-lettered", code });
  }
  if (type === "biome.user.CommandHadNoEffect.v1") answer.kind = "no effect";
  if (type === "biome.user.RefreshTokenReuseDetected.v1") {
    // accompanies a rejection, and may arrive before it
    Object.assign(answer, { kind: "rejected", code: "RefreshTokenReused" });
  }
  if (typeof subject === "string") answer.userId = subject;
  if (typeof sequence === "string" && /^[0-9]{1,20}$/.test(sequence)) {
    answer.sequence = Number(sequence);
  }
  return answer;
}

function parse(body: unknown): Record<string, unknown> | undefined {
  if (typeof body !== "string") return undefined;
  try {
    const found: unknown = JSON.parse(body);
    return isObject(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface Waiter {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

/** Stores answers until they are requested, and requests until they are answered. */
export class AnswerBook {
  readonly #limit: number;
  readonly #answers = new Map<string, Answer>();
  readonly #waiting = new Map<string, Set<Waiter>>();
  #closed: string | undefined;

  /** Keep the last `limit` answers, and allow as many commands to be awaited at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether any caller waits for an answer. */
  get awaited(): boolean {
    return this.#waiting.size > 0;
  }

  /**
   * Store an answer, and resolve the waits for it.
   *
   * The first answer to a command is kept, but a dead letter may be decided after a redrive.
   */
  add(answer: Answer): void {
    const id = answer.commandId;
    const known = this.#answers.get(id);
    if (known && known.kind !== "dead-lettered") return;
    this.#answers.set(id, answer);
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size <= this.#limit) break;
      this.#answers.delete(oldest);
    }
    const waiters = this.#waiting.get(id) ?? [];
    this.#waiting.delete(id);
    for (const each of waiters) each.resolve(answer);
  }

  /** Wait for an answer until the signal is aborted; its reason is the error then. */
  wait(commandId: string, signal: AbortSignal): Promise<Answer> {
    const id = commandId.toLowerCase();
    const known = this.#answers.get(id);
    if (known) return Promise.resolve(known);
    if (this.#closed !== undefined) return Promise.reject(new NotListeningError(this.#closed));
    if (this.#waiting.size >= this.#limit && !this.#waiting.has(id)) {
      return Promise.reject(new UsersError(`more than ${this.#limit} commands are pending`));
    }
    const waiters = this.#waiting.get(id) ?? new Set<Waiter>();
    this.#waiting.set(id, waiters);
    return new Promise<Answer>((resolve, reject) => {
      const waiter = { resolve, reject };
      waiters.add(waiter);
      const stop = (): void => {
        waiters.delete(waiter);
        if (waiters.size === 0 && this.#waiting.get(id) === waiters) this.#waiting.delete(id);
        reject(signal.reason as Error);
      };
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** End all waits with NoAnswerError, and refuse new ones with NotListeningError. */
  close(why: string): void {
    this.#closed ??= why;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const waiters of waiting) {
      for (const each of waiters) each.reject(new NoAnswerError(`no answer: ${why}`));
    }
  }
}
