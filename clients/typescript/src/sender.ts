/** Send commands: checked before they are sent, ten per call, and safe to send again. */

import { createHash, randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import {
  GetQueueUrlCommand,
  SendMessageBatchCommand,
  type SendMessageBatchRequestEntry,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { isAddress } from "./addresses.js";
import { clientSettings } from "./clients.js";
import { newCommandId } from "./command-id.js";
import { type Commands, CONTRACTS } from "./commands.js";
import { errorCode, InvalidCommandError, NotSentError } from "./errors.js";

/** Calls for one batch; each repeats only the entries that SQS refused before. */
const MAX_ATTEMPTS = 4;
/** Milliseconds before the second call at most; doubles with each call, with full jitter. */
const FIRST_PAUSE = 100;
/** Entries of one call. */
const MAX_BATCH = 10;
/** Bytes of one call. SQS accepts 1 MiB now, but 256 KiB on queues created before that change. */
const MAX_CALL_BYTES = 262_144;
/**
 * The worker derives the id of a user that a command creates without one: UUIDv5 of the command's id
 * in this namespace.
 */
const USER_NAMESPACE = "b10e0000-0000-4000-8000-000000000001";
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Optional attributes of a command beside its fields. */
export interface Envelope {
  /**
   * Id of the user. Not for a command that names the user by e-mail address. Optional for a command
   * that creates a user: the worker then derives the id from the command's id.
   */
  userId?: string | undefined;
  /** A new UUIDv7 by default. Pass the same id again to repeat a command safely. */
  commandId?: string | undefined;
  /** Time of the request, which the command's age counts from; now by default. */
  time?: Date | undefined;
  /** The command is rejected with CommandExpired if it is not decided by then. */
  expiresAt?: Date | undefined;
  /** Rejected with VersionConflict unless the user has this version (0: does not exist). */
  expectedVersion?: number | undefined;
  /** Copied to every event; the command's own id by default. */
  correlationId?: string | undefined;
  /** Id of the person or service on whose behalf the command is sent, not an address. */
  actor?: string | undefined;
  /** W3C Trace Context. */
  traceparent?: string | undefined;
  tracestate?: string | undefined;
  /** Tenant of a fair standard queue; by default the sender's own. */
  fairGroup?: string | undefined;
}

export type CommandName = keyof Commands;

/** A command and its envelope; `request` creates one. */
export type CommandRequest = {
  [Name in CommandName]: {
    readonly name: Name;
    readonly data: Commands[Name];
    readonly envelope: Envelope & { readonly commandId: string };
  };
}[CommandName];

/** Return a request with an id, which stays the same when it is sent again. */
export function request<Name extends CommandName>(
  name: Name,
  data: Commands[Name],
  envelope: Envelope = {},
): CommandRequest {
  const filled = { time: new Date(), ...envelope, commandId: envelope.commandId ?? newCommandId() };
  return { name, data, envelope: filled } as CommandRequest;
}

export interface UserCommandsOptions {
  /** The queue's name, or its URL; `user-commands` by default. */
  queue?: string;
  /** URI reference of the sender, such as `/signup`; 1 to 256 characters. */
  source: string;
  /** The tenant on a fair standard queue. On FIFO queues, messages are grouped by user. */
  fairGroup?: string;
  /**
   * A client for SQS; by default created from the SDK's own environment variables and files, with
   * finite timeouts.
   */
  client?: SQSClient;
}

export interface SendOptions {
  /** Ends the sending; the commands that may not be on the queue are in the error. */
  abortSignal?: AbortSignal;
}

interface Entry {
  place: number;
  request: CommandRequest;
  row: SendMessageBatchRequestEntry;
  size: number;
}

/** Sends commands to one queue. */
export class UserCommands {
  readonly #queue: string;
  readonly #source: string;
  readonly #fairGroup: string | undefined;
  readonly #client: SQSClient;
  #url: Promise<string> | undefined;

  constructor(options: UserCommandsOptions) {
    if (options.source.length < 1 || options.source.length > 256) {
      throw new InvalidCommandError("source must have 1 to 256 characters");
    }
    this.#queue = options.queue ?? "user-commands";
    this.#source = options.source;
    this.#fairGroup = options.fairGroup;
    // the endpoint is that of the client, and not what is in the queue's URL
    this.#client =
      options.client ?? new SQSClient({ ...clientSettings(), useQueueUrlAsEndpoint: false });
  }

  /**
   * Send one command and return its id.
   *
   * @throws {InvalidCommandError} The command or its envelope is invalid; nothing was sent.
   * @throws {NotSentError} The command may not have been sent; contains it for sending it again.
   */
  async send<Name extends CommandName>(
    name: Name,
    data: Commands[Name],
    envelope: Envelope = {},
    options: SendOptions = {},
  ): Promise<string> {
    const one = request(name, data, envelope);
    await this.sendMany([one], options);
    return one.envelope.commandId;
  }

  /**
   * Send commands in order, ten per call, and return their ids in the same order.
   *
   * All commands are checked before the first one is sent. If one cannot be sent, the commands
   * after it are not tried.
   *
   * @throws {InvalidCommandError} A command is invalid; nothing was sent.
   * @throws {NotSentError} Some may not have been sent; contains the ids of those sent, and the rest.
   */
  async sendMany(requests: Iterable<CommandRequest>, options: SendOptions = {}): Promise<string[]> {
    const entries = [...requests].map((each, place) => this.#entry(each, place));
    const sent = new Set<number>();
    try {
      for (const call of calls(entries, this.#fifo)) {
        const code = await this.#sendCall(call, sent, options);
        if (code !== undefined) throw notSent(code, entries, sent);
      }
    } catch (error) {
      throw error instanceof NotSentError ? error : notSent(errorCode(error), entries, sent, error);
    }
    return entries.map((entry) => entry.request.envelope.commandId);
  }

  get #fifo(): boolean {
    return this.#queue.endsWith(".fifo");
  }

  #entry(one: CommandRequest, place: number): Entry {
    const body = JSON.stringify(message(one, this.#source), wellFormed);
    const size = Buffer.byteLength(body);
    if (size > MAX_CALL_BYTES) {
      throw new InvalidCommandError(`is larger than ${MAX_CALL_BYTES} bytes`);
    }
    const row: SendMessageBatchRequestEntry = { Id: `${place}`, MessageBody: body };
    const group = this.#group(one);
    if (group !== undefined) row.MessageGroupId = group;
    if (this.#fifo) row.MessageDeduplicationId = randomUUID();
    return { place, request: one, row, size };
  }

  #group({ name, data, envelope }: CommandRequest): string | undefined {
    if (!this.#fifo) return envelope.fairGroup ?? this.#fairGroup;
    if (envelope.userId !== undefined) return envelope.userId.toLowerCase();
    if (CONTRACTS[name].userId === "or email" && "email" in data && data.email) {
      // hashed, because a group must not contain personal data
      const address = data.email.trim().toLowerCase().normalize("NFC");
      return createHash("sha256").update(address).digest("hex");
    }
    // the commands that follow a registration name its user, and must be in its group
    return derivedUserId(envelope.commandId);
  }

  /** Send up to ten commands, and add the places of those sent; return the code of an error. */
  async #sendCall(
    call: readonly Entry[],
    sent: Set<number>,
    { abortSignal }: SendOptions,
  ): Promise<string | undefined> {
    abortSignal?.throwIfAborted();
    const rest = new Map(call.map((entry) => [entry.row.Id, entry]));
    const QueueUrl = await untilAborted(this.#queueUrl(), abortSignal);
    for (let attempt = 1; ; attempt++) {
      const Entries = [...rest.values()].map((entry) => entry.row);
      const answer = await this.#client.send(new SendMessageBatchCommand({ QueueUrl, Entries }), {
        ...(abortSignal && { abortSignal }),
      });
      for (const { Id } of answer.Successful ?? []) {
        const entry = rest.get(Id);
        if (entry !== undefined) sent.add(entry.place);
        rest.delete(Id);
      }
      if (rest.size === 0) return undefined;
      const refused = (answer.Failed ?? []).filter((row) => rest.has(row.Id));
      const final = refused.find((row) => row.SenderFault);
      if (final || attempt === MAX_ATTEMPTS) return (final ?? refused[0])?.Code ?? "NoAnswer";
      const milliseconds = Math.random() * FIRST_PAUSE * 2 ** attempt;
      await pause(milliseconds, undefined, { ...(abortSignal && { signal: abortSignal }) });
    }
  }

  /** Return the queue's URL. All callers wait for one call; an error is not remembered. */
  #queueUrl(): Promise<string> {
    if (this.#queue.includes("://")) return Promise.resolve(this.#queue);
    this.#url ??= this.#client
      .send(new GetQueueUrlCommand({ QueueName: this.#queue }))
      .then(({ QueueUrl }) => {
        if (QueueUrl === undefined) throw new TypeError("SQS returned no URL");
        return QueueUrl;
      })
      .catch((error: unknown) => {
        this.#url = undefined;
        throw error;
      });
    return this.#url;
  }
}

/** Return the result of a promise that others share; throw when the signal is aborted before. */
async function untilAborted<T>(shared: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return shared;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason as Error);
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([shared, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/**
 * Return the CloudEvent that the queue carries.
 *
 * @throws {InvalidCommandError} An attribute breaks a rule; the message names it.
 */
export function message({ name, data, envelope }: CommandRequest, source: string): object {
  const contract = CONTRACTS[name];
  if (contract === undefined) throw new InvalidCommandError("is not a command of the contracts");
  const fields = Object.fromEntries(
    Object.entries(data).filter(([, value]) => value !== null && value !== undefined),
  );
  check(name, fields, envelope);
  return {
    specversion: "1.0",
    id: envelope.commandId,
    source,
    type: contract.type,
    subject: envelope.userId,
    time: text(envelope.time ?? new Date(), "time"),
    datacontenttype: "application/json",
    expirytime: envelope.expiresAt && text(envelope.expiresAt, "expiresAt"),
    expectedversion: envelope.expectedVersion,
    correlationid: envelope.correlationId ?? envelope.commandId,
    actor: envelope.actor,
    traceparent: envelope.traceparent,
    tracestate: envelope.tracestate,
    data: fields,
  };
}

function check(name: CommandName, fields: object, envelope: CommandRequest["envelope"]): void {
  const { userId, commandId, expectedVersion, correlationId, actor } = envelope;
  const contract = CONTRACTS[name];
  const fail = (problem: string): never => {
    throw new InvalidCommandError(`${name}: ${problem}`);
  };
  for (const field of ["email", "new_email"]) {
    const address: unknown = (fields as Record<string, unknown>)[field];
    if (address !== undefined && !(typeof address === "string" && isAddress(address))) {
      fail(`${field} must be an e-mail address of the form local@domain`);
    }
  }
  if (!ID.test(commandId)) fail("commandId must be a UUID");
  if (userId !== undefined && !ID.test(userId)) fail("userId must be a UUID");
  if (contract.userId === "required" && userId === undefined) fail("userId is required");
  if (contract.userId === "or email" && (userId === undefined) !== "email" in fields) {
    fail("needs userId or email, and not both");
  }
  if (contract.atLeastOneField && Object.keys(fields).length === 0) {
    fail("needs at least one field");
  }
  if (expectedVersion !== undefined && !(Number.isInteger(expectedVersion) && expectedVersion >= 0)) {
    fail("expectedVersion must be a whole number from 0");
  }
  if (correlationId !== undefined && (correlationId.length < 1 || correlationId.length > 128)) {
    fail("correlationId must have 1 to 128 characters");
  }
  if (actor !== undefined && !/^[^@]{1,256}$/u.test(actor)) {
    fail("actor must have 1 to 256 characters, without @");
  }
}

/** Return a value of the message; refuse half of a surrogate pair, which the worker refuses too. */
function wellFormed(_name: string, value: unknown): unknown {
  if (typeof value === "string" && !value.isWellFormed()) {
    throw new InvalidCommandError("must be valid Unicode");
  }
  return value;
}

/** Return the id of the user that a command creates without one; see `USER_NAMESPACE`. */
function derivedUserId(commandId: string): string {
  const namespace = Buffer.from(USER_NAMESPACE.replaceAll("-", ""), "hex");
  const hash = createHash("sha1").update(namespace).update(commandId.toLowerCase()).digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  return hash.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function text(moment: Date, name: string): string {
  if (Number.isNaN(moment.getTime())) throw new InvalidCommandError(`${name} must be a valid date`);
  return moment.toISOString();
}

/**
 * Yield the entries in order, ten at a time and up to the size of a call.
 *
 * On a FIFO queue no call carries two messages of a group, since SQS may refuse the first and accept
 * the second.
 */
function* calls(entries: readonly Entry[], apart: boolean): Generator<Entry[]> {
  let call: Entry[] = [];
  let size = 0;
  for (const entry of entries) {
    const full = call.length === MAX_BATCH || size + entry.size > MAX_CALL_BYTES;
    const group = entry.row.MessageGroupId;
    const twice = apart && call.some(({ row }) => row.MessageGroupId === group);
    if (call.length > 0 && (full || twice)) {
      yield call;
      [call, size] = [[], 0];
    }
    call.push(entry);
    size += entry.size;
  }
  if (call.length > 0) yield call;
}

function notSent(
  code: string,
  entries: readonly Entry[],
  sent: ReadonlySet<number>,
  cause?: unknown,
): NotSentError {
  const done = entries.filter((entry) => sent.has(entry.place));
  const rest = entries.filter((entry) => !sent.has(entry.place));
  const ids = done.map((entry) => entry.request.envelope.commandId);
  return new NotSentError(code, ids, rest.map((entry) => entry.request), cause);
}
