/** Fakes for the unit tests of a service: no AWS and no worker. */

import type { Events } from "./event-types.js";
import { parseEvent, type KnownEvent } from "./events.js";
import { SAMPLES } from "./samples.js";
import { message, type CommandRequest, UserCommands } from "./sender.js";

/**
 * Keeps commands in `sent` in place of a queue; checks them as `UserCommands` does.
 *
 * Set `error`, for example to a NotSentError, to make the next call fail with it.
 */
export class FakeUserCommands extends UserCommands {
  readonly sent: CommandRequest[] = [];
  error: Error | undefined;
  readonly #source: string;

  constructor(source = "/test") {
    super({ source, queue: "fake" });
    this.#source = source;
  }

  override async sendMany(requests: Iterable<CommandRequest>): Promise<string[]> {
    const all = [...requests];
    for (const each of all) message(each, this.#source);
    const { error } = this;
    this.error = undefined;
    if (error !== undefined) throw error;
    this.sent.push(...all);
    return all.map((each) => each.envelope.commandId);
  }
}

/** Values that replace those of a sample. */
export interface SampleChanges<Type extends keyof Events> {
  userId?: string;
  sequence?: number;
  data?: Partial<Events[Type]>;
}

/** Return an event of a type, with the values of the contract's example. */
export function sampleEvent<Type extends keyof Events>(
  type: Type,
  changes: SampleChanges<Type> = {},
): Extract<KnownEvent, { type: Type }> {
  return parseEvent(sampleBody(type, changes)) as Extract<KnownEvent, { type: Type }>;
}

/** Return an event as the body of an SQS message. */
export function sampleBody<Type extends keyof Events>(
  type: Type,
  changes: SampleChanges<Type> = {},
): string {
  const event = structuredClone(SAMPLES[type]) as { [name: string]: unknown; data: object };
  Object.assign(event.data, changes.data);
  if (changes.userId !== undefined) event["subject"] = changes.userId;
  if (changes.sequence !== undefined) {
    event["sequence"] = String(changes.sequence).padStart(20, "0");
  }
  return JSON.stringify(event);
}
