/** Fakes for the unit tests of a service: no AWS and no worker. */

import { createHash } from "node:crypto";
import {
  type AttributeValue,
  BatchGetItemCommand,
  DynamoDBClient,
  QueryCommand,
} from "@aws-sdk/client-dynamodb";
import { addressKey } from "./addresses.js";
import type { Events } from "./event-types.js";
import { parseEvent, type KnownEvent } from "./events.js";
import { atRest, PART_DIGITS, type RawItem } from "./items.js";
import { SAMPLES } from "./samples.js";
import { message, type CommandRequest, UserCommands } from "./sender.js";
import type { RefreshToken } from "./tokens.js";

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

/** Values of attributes of docs/how-to/reading.md, such as `{ locked_until: new Date() }`. */
export interface UserAttributes {
  [name: string]: string | number | boolean | Date | string[] | UserAttributes | undefined;
}

/**
 * Keeps users in memory for a reader: `new LoginReader({ client: new FakeUserTable() })`.
 *
 * Set `error` to make the next read fail with it.
 */
export class FakeUserTable extends DynamoDBClient {
  readonly items = new Map<string, RawItem>();
  error: Error | undefined;

  constructor() {
    super({ region: "none", credentials: { accessKeyId: "none", secretAccessKey: "none" } });
  }

  /** Store a user and return the id, by default one derived from the address. */
  addUser(email: string, attributes: UserAttributes = {}): string {
    const digest = createHash("sha256").update(addressKey(email)).digest("hex");
    const derived = digest.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/, "$1-$2-4$3-8$4-$5");
    const userId = String(attributes["user_id"] ?? derived);
    const names = { first_name: "Ada", last_name: "Lovelace", email, version: 1 };
    this.#put(`USER#${userId}`, "USER", 1, { ...names, user_id: userId, ...attributes });
    this.#put(`EMAIL#${addressKey(email)}`, "EMAIL", 1, { user_id: userId });
    return userId;
  }

  /** Replace attributes of a user. */
  changeUser(userId: string, attributes: UserAttributes): void {
    const key = `USER#${userId} USER`;
    this.items.set(key, { ...this.items.get(key), ...rendered(attributes) });
  }

  /** Enable the second factor of a user. */
  addSecondFactor(userId: string, secretCiphertext: string): void {
    this.changeUser(userId, { two_factor_enabled: true });
    this.#put(`USER#${userId}`, "TWO_FACTOR", 1, { secret_ciphertext: secretCiphertext });
  }

  /** Store the session of a refresh token; without an end, it lasts a day from now. */
  addSession(token: RefreshToken, expiresAt = new Date(Date.now() + 86_400_000)): void {
    const { userId, sessionId } = token;
    const seconds = Math.floor(expiresAt.getTime() / 1000);
    this.#put(`USER#${userId}`, `SESSION#${sessionId}`, 2, {
      session_id: sessionId,
      expires_at: seconds,
      refresh_family_hash: atRest(token.refreshFamilyHash),
      refresh_token_hashes: atRest(token.refreshTokenHash).slice(0, PART_DIGITS),
    });
    const before = this.items.get(`USER#${userId} USER`)?.["live_sessions"]?.S ?? "";
    this.changeUser(userId, { live_sessions: `${before} ${sessionId}:${seconds}`.trim() });
  }

  /** Store how a command ended: accepted, or rejected with a code. */
  addOutcome(userId: string, commandId: string, code?: string): void {
    const status = code === undefined ? "accepted" : "rejected";
    this.#put(`USER#${userId}`, `COMMAND#${commandId}`, 2, { status, code, version: 1 });
  }

  override send = (async (command: unknown): Promise<object> => {
    const { error } = this;
    this.error = undefined;
    if (error) throw error;
    if (command instanceof BatchGetItemCommand) {
      const [[table, request] = []] = Object.entries(command.input.RequestItems ?? {});
      const found = request?.Keys?.map(({ pk, sk }) => this.items.get(`${pk?.S} ${sk?.S}`));
      return { Responses: { [table ?? ""]: found?.filter((item) => item !== undefined) } };
    }
    if (!(command instanceof QueryCommand)) throw new TypeError("only reads of a reader");
    const wanted = command.input.ExpressionAttributeValues?.[":h"]?.S;
    const all = [...this.items.values()];
    return { Items: all.filter((item) => item["refresh_family_hash"]?.S === wanted) };
  }) as DynamoDBClient["send"];

  #put(pk: string, sk: string, schema: number, values: UserAttributes): void {
    this.items.set(`${pk} ${sk}`, rendered({ pk, sk, schema, ...values }));
  }
}

function rendered(values: UserAttributes): RawItem {
  const entries = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, attribute(value)] as const],
  );
  return Object.fromEntries(entries);
}

function attribute(value: Exclude<UserAttributes[string], undefined>): AttributeValue {
  if (typeof value === "string") return { S: value };
  if (typeof value === "number") return { N: String(value) };
  if (typeof value === "boolean") return { BOOL: value };
  if (value instanceof Date) return { S: value.toISOString() };
  if (Array.isArray(value)) return { L: value.map((each) => ({ S: each })) };
  return { M: rendered(value) };
}
