/** Read events: from the body of an SQS message, raw or in an SNS notification. */

import { InvalidEventError } from "./errors.js";
import { EVENT_TYPES, type Events } from "./event-types.js";

const SOURCE = "urn:biome:user-worker";

/** Attributes of every event beside its type and its fields. */
export interface EventAttributes {
  /** The same each time the event is delivered: use it to recognise repetitions. */
  id: string;
  /** When the worker committed the event. */
  time: Date;
  /** Id of the command that caused the event. */
  commandId: string;
  /** Absent if the command named an address that no user has. */
  userId?: string;
  /** The user's version after the event: 1, 2, 3, ... Absent in answers that changed nothing. */
  sequence?: number;
  correlationId?: string;
  actor?: string;
  traceparent?: string;
  tracestate?: string;
}

/** An event of a known type: `switch (event.type)` narrows its `data`. */
export type KnownEvent = {
  [Type in keyof Events]: EventAttributes & { known: true; type: Type; data: Events[Type] };
}[keyof Events];

/** An event of a type that this version does not know: a later worker may publish it. */
export type UnknownEvent = EventAttributes & {
  known: false;
  type: string;
  data: { readonly [field: string]: unknown };
};

export type UserEvent = KnownEvent | UnknownEvent;

/**
 * Return the event in the body of a message.
 *
 * The attributes are checked. The fields are not: read unknown and missing ones with care, as with
 * every other service.
 *
 * @throws {InvalidEventError} The message is not an event of the user worker.
 */
export function parseEvent(body: string): UserEvent {
  const found = unwrapped(body);
  if (found?.["source"] !== SOURCE) throw new InvalidEventError("is not an event of the user worker");
  const type = string(found, "type");
  const data = found["data"];
  if (!isRecord(data)) throw new InvalidEventError("data must be an object");
  const time = new Date(string(found, "time"));
  if (Number.isNaN(time.getTime())) throw new InvalidEventError("time must be a time");
  const event: EventAttributes & { known: boolean; type: string; data: object } = {
    id: string(found, "id"),
    type,
    known: EVENT_TYPES.has(type),
    time,
    commandId: string(found, "causationid"),
    data,
  };
  if ("subject" in found) event.userId = string(found, "subject");
  if ("sequence" in found) event.sequence = sequence(string(found, "sequence"));
  if ("correlationid" in found) event.correlationId = string(found, "correlationid");
  for (const name of ["actor", "traceparent", "tracestate"] as const) {
    if (name in found) event[name] = string(found, name);
  }
  return event as UserEvent;
}

function unwrapped(body: string): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(body);
    if (!isRecord(found)) return undefined;
    if (!("TopicArn" in found)) return found;
    const inner: unknown = JSON.parse(String(found["Message"])); // without raw message delivery
    return isRecord(inner) ? inner : undefined;
  } catch {
    throw new InvalidEventError("is not JSON");
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function string(found: Record<string, unknown>, name: string): string {
  const value = found[name];
  if (typeof value !== "string") throw new InvalidEventError(`${name} must be text`);
  return value;
}

function sequence(value: string): number {
  if (!/^[0-9]{1,20}$/.test(value)) throw new InvalidEventError("sequence must have digits only");
  return Number(value);
}
