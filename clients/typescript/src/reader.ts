/** Read users: by id, by address and by session. */

import { setTimeout as pause } from "node:timers/promises";
import { BatchGetItemCommand, DynamoDBClient, QueryCommand } from "@aws-sdk/client-dynamodb";
import { addressKey, folded } from "./addresses.js";
import { clientSettings } from "./clients.js";
import { errorCode, UnavailableError } from "./errors.js";
import {
  accepts,
  atRest,
  hasFamily,
  liveSessions,
  type OutcomeView,
  parseOutcome,
  parseOwner,
  parseSecondFactor,
  parseSession,
  parseUser,
  type RawItem,
  type SecondFactorView,
  type SessionView,
  type StoredSession,
  type UserView,
} from "./items.js";
import type { ReadCache, ReadStart } from "./read-cache.js";

export type { OutcomeView, SecondFactorView, SessionView, UserView } from "./items.js";

/** Keys of one BatchGetItem. */
const MAX_KEYS = 100;
/** Calls for keys that DynamoDB leaves unprocessed, and the first pause in milliseconds. */
const ATTEMPTS = 6;
const FIRST_PAUSE = 50;
/** Attempts to read an address and its owner, who may change between the reads. */
const OWNER_READS = 3;
const ID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

/** Attributes that a reader without credentials requests: those that its policy allows. */
export const WITHOUT_CREDENTIALS: readonly string[] = [
  ...["pk", "sk", "schema", "user_id", "version", "created_at", "updated_at"],
  ...["first_name", "last_name", "email", "email_verified", "password_hash_legacy"],
  ...["credential_version", "roles", "locale", "time_zone", "terms", "failed_logins"],
  ...["last_failure_at", "lock_count", "locked_until", "last_totp_step"],
  ...["two_factor_enabled", "two_factor_unverified", "ban", "deactivated"],
  ...["deactivation_reason", "erased", "live_sessions", "session_id", "expires_at"],
  ...["revision", "started_at", "last_used_at", "replaced_at", "methods", "device"],
  ...["held", "command_type", "status", "code", "recorded_at", "source", "by_email"],
];

/** Reason that a user may not log in now, in the order of the checks of StartSession. */
export type LoginRefusal = "UserErased" | "UserBanned" | "UserLocked" | "UserDeactivated";

/**
 * Why a session may not continue. After RefreshTokenReused send RotateRefreshToken anyway: the worker
 * then ends the session and publishes the event.
 */
export type SessionRefusal =
  | "UserNotFound"
  | "UserErased"
  | "UserBanned"
  | "UserDeactivated"
  | "SessionNotFound"
  | "SessionExpired"
  | "SessionEnded"
  | "RefreshTokenReused"
  | "RefreshTokenUnknown";

/** Whether a session may continue: without a refusal, it may. */
export interface SessionCheck {
  refusal?: SessionRefusal;
  userId: string;
  sessionId: string;
  session?: SessionView;
  user?: UserView;
}

/** Return true if the user is locked out at this time after too many login failures. */
export function isLocked(user: UserView, now = new Date()): boolean {
  return user.lockedUntil !== undefined && user.lockedUntil > now;
}

/** Return true if a ban is in force at this time. */
export function isBanned(user: UserView, now = new Date()): boolean {
  return user.ban !== undefined && (user.ban.until === undefined || user.ban.until > now);
}

/** Return why the user may not log in at this time; undefined if only the password decides. */
export function loginRefusal(user: UserView, now = new Date()): LoginRefusal | undefined {
  if (user.erased) return "UserErased";
  if (isBanned(user, now)) return "UserBanned";
  if (isLocked(user, now)) return "UserLocked";
  return user.deactivated ? "UserDeactivated" : undefined;
}

export interface UserReaderOptions {
  /** The table's name; `users` by default. */
  table?: string;
  /**
   * A client for DynamoDB; by default created from the SDK's own variables and files, with finite
   * timeouts.
   */
  client?: DynamoDBClient;
  /** The cache of reads with `{ cached: true }`, which has no effect without one. */
  cache?: ReadCache;
  /** Returns the current time. */
  clock?: () => Date;
}

export interface ReadOptions {
  /** Whether the answer may come from the cache; do not use it to check a password. */
  cached?: boolean;
}

type Key = readonly [partition: string, sort: string];

/**
 * Reads users without their credentials. It works with the policy reader-without-credentials.
 *
 * Every read is consistent and current, unless the caller passes `{ cached: true }`. All methods throw `UnavailableError` if a read fails (try
 * again), `UnreadableError` if a stored item cannot be read, and `RangeError` for an invalid id,
 * address or hash.
 */
export class UserReader {
  protected readonly table: string;
  protected readonly client: DynamoDBClient;
  protected readonly now: () => Date;
  /** Attributes to request; undefined: all. */
  protected readonly attributes: readonly string[] | undefined = WITHOUT_CREDENTIALS;
  readonly #cache: ReadCache | undefined;

  constructor(options: UserReaderOptions = {}) {
    this.table = options.table ?? "users";
    this.client = options.client ?? new DynamoDBClient(clientSettings());
    this.now = options.clock ?? (() => new Date());
    this.#cache = options.cache;
  }

  /** Read a user by id. An erased user is returned, with `erased` set. */
  async get(userId: string, options: ReadOptions = {}): Promise<UserView | undefined> {
    const id = parseId(userId);
    const cache = options.cached ? this.#cache : undefined;
    const read = async (): Promise<UserView | undefined> => (await this.#readUsers([id])).get(id);
    if (!cache) return read();
    return this.#findUsers(cache, [id]).get(id) ?? cache.share(id, read, (user) => user !== undefined);
  }

  /** Read users by their ids, 100 per call; users that do not exist are absent. */
  async getMany(userIds: Iterable<string>, options: ReadOptions = {}): Promise<Map<string, UserView>> {
    const wanted = [...new Set([...userIds].map(parseId))];
    const cache = options.cached ? this.#cache : undefined;
    const known = cache ? this.#findUsers(cache, wanted) : new Map<string, UserView>();
    const read = await this.#readUsers(wanted.filter((id) => !known.has(id)));
    return new Map([...known, ...read]);
  }

  /**
   * Invalidate the cached user and the user's sessions.
   *
   * Call it from a subscriber to the events: a ban or a logout is then known as soon as its event
   * arrives.
   */
  forget(userId: string): void {
    this.#cache?.forget(parseId(userId));
  }

  /** Read the user with an address, ignoring case; never from the cache. */
  async byEmail(email: string): Promise<UserView | undefined> {
    const address = addressKey(email);
    for (let attempt = 0; attempt < OWNER_READS; attempt++) {
      const [item] = await this.read([[`EMAIL#${address}`, "EMAIL"]]);
      const owner = item && parseOwner(item);
      if (owner === undefined) return undefined;
      const user = await this.get(owner);
      if (user?.email !== undefined && folded(user.email) === address) return user;
    }
    return undefined;
  }

  /** Read the sessions of a user that have neither ended nor expired, oldest first. */
  async sessions(userId: string): Promise<SessionView[]> {
    const id = parseId(userId);
    const [before] = await this.read([userKey(id)]);
    const named = before ? [...liveSessions(before).keys()] : [];
    if (named.length === 0) return [];
    const keys = [userKey(id), ...named.map((each) => sessionKey(id, each))];
    const [user, ...items] = await this.read(keys);
    const live = user ? liveSessions(user) : new Map<string, Date>();
    const views = items.flatMap((item) => (item ? [this.parseSession(item).view] : []));
    const found = new Map(views.map((view) => [view.sessionId, view]));
    const now = this.now();
    return [...live].flatMap(([sessionId, end]) => {
      const view = found.get(sessionId);
      return view && end > now ? [view] : [];
    });
  }

  /**
   * Return whether a session may continue, and if not, why.
   *
   * The cache answers only that a session may continue. A refusal is always read again: otherwise a
   * session that has just started would be refused.
   */
  async checkSession(
    userId: string,
    sessionId: string,
    options: ReadOptions = {},
  ): Promise<SessionCheck> {
    const ids = [parseId(userId), parseId(sessionId)] as const;
    const cache = options.cached ? this.#cache : undefined;
    const read = async (): Promise<SessionCheck> =>
      this.check(...ids, ...(await this.readSession(...ids)));
    if (!cache) return read();
    const known = this.#checkInCache(cache, ...ids);
    cache.count(known ? 1 : 0, known ? 0 : 1);
    return known ?? cache.share(ids.join(" "), read, (check) => check.refusal === undefined);
  }

  /**
   * Read how a command to a user ended; undefined if it is not decided yet.
   *
   * The outcome is stored in the transaction that changes the user. A service that has sent a command
   * can wait for it by repeated reads.
   */
  async outcome(userId: string, commandId: string): Promise<OutcomeView | undefined> {
    const key: Key = [`USER#${parseId(userId)}`, `COMMAND#${parseId(commandId)}`];
    const [item] = await this.read([key]);
    return item && parseOutcome(item);
  }

  protected async readSession(
    userId: string,
    sessionId: string,
  ): Promise<[UserView | undefined, StoredSession | undefined]> {
    const start = this.#cache?.begin();
    const items = await this.read([userKey(userId), sessionKey(userId, sessionId)]);
    const user = items[0] && this.#view(items[0], start);
    const session = items[1] && this.parseSession(items[1]);
    if (user && session && start) {
      this.#cache?.keep(`${userId} ${sessionId}`, { version: user.version, session }, start);
    }
    return [user, session];
  }

  async #readUsers(ids: readonly string[]): Promise<Map<string, UserView>> {
    const start = this.#cache?.begin();
    const items = await this.read(ids.map(userKey));
    const views = items.flatMap((item) => (item ? [this.#view(item, start)] : []));
    return new Map(views.map((view) => [view.userId, view]));
  }

  /** Parse a user, and store it in the cache, where callers share it and must not change it. */
  #view(item: RawItem, start: ReadStart | undefined): UserView {
    const view = parseUser(item);
    if (!start) return view;
    for (const part of [view.roles, view.liveSessions, view.ban, view]) Object.freeze(part);
    this.#cache?.keep(view.userId, view, start);
    return view;
  }

  #findUsers(cache: ReadCache, ids: readonly string[]): Map<string, UserView> {
    const asked = ids.map((id) => [id, cache.find(id) as UserView | undefined] as const);
    const found = new Map(asked.flatMap(([id, view]) => (view ? [[id, view] as const] : [])));
    cache.count(found.size, ids.length - found.size);
    return found;
  }

  /** Return the check by cached data, but only if the session may continue. */
  #checkInCache(cache: ReadCache, userId: string, sessionId: string): SessionCheck | undefined {
    const user = cache.find(userId) as UserView | undefined;
    const known = cache.find(`${userId} ${sessionId}`) as
      | { version: number; session: StoredSession }
      | undefined;
    // every change of a session increments the version of its user, so with an unchanged version the
    // session is unchanged
    if (!user || user.version !== known?.version) return undefined;
    const check = this.check(userId, sessionId, user, known.session);
    return check.refusal ? undefined : check;
  }

  protected parseSession(item: RawItem): StoredSession {
    return parseSession(item, this.attributes === undefined);
  }

  protected check(
    userId: string,
    sessionId: string,
    user: UserView | undefined,
    session: StoredSession | undefined,
  ): SessionCheck {
    const refusal = sessionRefusal(user, session, this.now());
    return {
      userId,
      sessionId,
      ...(refusal && { refusal }),
      ...(user && { user }),
      ...(session && { session: session.view }),
    };
  }

  /** Return items in the order of their keys, read consistently; undefined if one does not exist. */
  protected async read(keys: readonly Key[]): Promise<(RawItem | undefined)[]> {
    const found = new Map<string, RawItem>();
    let unread = keys.map(([pk, sk]): RawItem => ({ pk: { S: pk }, sk: { S: sk } }));
    for (let attempt = 0; unread.length > 0; attempt++) {
      if (attempt === ATTEMPTS) {
        throw new UnavailableError("a read failed: DynamoDB leaves keys unprocessed");
      }
      if (attempt > 0) await pause(Math.random() * FIRST_PAUSE * 2 ** attempt);
      const left: RawItem[] = [];
      for (let start = 0; start < unread.length; start += MAX_KEYS) {
        left.push(...(await this.#readBatch(unread.slice(start, start + MAX_KEYS), found)));
      }
      unread = left;
    }
    return keys.map(([pk, sk]) => found.get(`${pk} ${sk}`));
  }

  async #readBatch(Keys: RawItem[], found: Map<string, RawItem>): Promise<RawItem[]> {
    const request = { Keys, ConsistentRead: true, ...projection(this.attributes) };
    return reading(async () => {
      const command = new BatchGetItemCommand({ RequestItems: { [this.table]: request } });
      const answer = await this.client.send(command);
      for (const item of answer.Responses?.[this.table] ?? []) {
        found.set(`${item["pk"]?.S} ${item["sk"]?.S}`, item);
      }
      return answer.UnprocessedKeys?.[this.table]?.Keys ?? [];
    });
  }
}

export interface LoginReaderOptions extends UserReaderOptions {
  /**
   * Milliseconds in which a refresh token that was just replaced is accepted again: the worker's
   * setting REFRESH_LEEWAY.
   */
  refreshLeeway?: number;
}

/** Reads users with their credentials, for a login service. It works with the policy reader. */
export class LoginReader extends UserReader {
  protected override readonly attributes = undefined;
  readonly #leeway: number;

  constructor(options: LoginReaderOptions = {}) {
    super(options);
    this.#leeway = options.refreshLeeway ?? 10_000;
  }

  /** Read a user's second factor; undefined if the user does not exist or has not enabled it. */
  async secondFactor(userId: string): Promise<SecondFactorView | undefined> {
    const key = userKey(parseId(userId));
    const [user, factor] = await this.read([key, [key[0], "TWO_FACTOR"]]);
    return user && factor && parseSecondFactor(user, factor);
  }

  /**
   * Return whether a session may continue and accepts a refresh token.
   *
   * Pass the hashes as in commands: SHA-256, 64 hexadecimal digits.
   */
  async checkToken(
    userId: string,
    sessionId: string,
    refreshFamilyHash: string,
    refreshTokenHash: string,
  ): Promise<SessionCheck> {
    const hashes = [parseHash(refreshFamilyHash), parseHash(refreshTokenHash)] as const;
    const ids = [parseId(userId), parseId(sessionId)] as const;
    return this.#checkToken(...ids, ...(await this.readSession(...ids)), ...hashes);
  }

  /**
   * Check the session of a token, for callers that have only the token.
   *
   * Undefined if no session has such a family. The index that is read first may lag behind the table,
   * so a new session may not be found for a moment.
   */
  async byRefreshToken(
    refreshFamilyHash: string,
    refreshTokenHash: string,
  ): Promise<SessionCheck | undefined> {
    const hashes = [parseHash(refreshFamilyHash), parseHash(refreshTokenHash)] as const;
    const query = new QueryCommand({
      TableName: this.table,
      IndexName: "RefreshTokenIndex",
      KeyConditionExpression: "refresh_family_hash = :h",
      ExpressionAttributeValues: { ":h": { S: atRest(hashes[0]) } },
    });
    const { Items = [] } = await reading(() => this.client.send(query));
    for (const { pk, sk } of Items) {
      const ids = [pk?.S?.replace("USER#", "") ?? "", sk?.S?.replace("SESSION#", "") ?? ""] as const;
      const [user, session] = await this.readSession(...ids);
      if (user && session && hasFamily(session, hashes[0])) {
        return this.#checkToken(...ids, user, session, ...hashes);
      }
    }
    return undefined;
  }

  #checkToken(
    userId: string,
    sessionId: string,
    user: UserView | undefined,
    session: StoredSession | undefined,
    family: string,
    part: string,
  ): SessionCheck {
    const check = this.check(userId, sessionId, user, session);
    if (check.refusal || !session) return check;
    if (!hasFamily(session, family)) return { ...check, refusal: "RefreshTokenUnknown" };
    if (accepts(session, part, this.now(), this.#leeway)) return check;
    return { ...check, refusal: "RefreshTokenReused" };
  }
}

function sessionRefusal(
  user: UserView | undefined,
  session: StoredSession | undefined,
  now: Date,
): SessionRefusal | undefined {
  if (!user) return "UserNotFound";
  if (user.erased) return "UserErased";
  if (isBanned(user, now)) return "UserBanned";
  if (user.deactivated) return "UserDeactivated";
  if (!session) return "SessionNotFound";
  if (session.view.expiresAt <= now) return "SessionExpired";
  return user.liveSessions.includes(session.view.sessionId) ? undefined : "SessionEnded";
}

/** Translate every error that a read throws: also those of credentials and parsers. */
async function reading<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw new UnavailableError(`a read failed with ${errorCode(error)}`, { cause: error });
  }
}

/** Return the parameters of a read of attributes; aliases allow names that are reserved. */
function projection(attributes: readonly string[] | undefined): object {
  if (!attributes) return {};
  const names = Object.fromEntries(attributes.map((name, number) => [`#p${number}`, name]));
  const ProjectionExpression = Object.keys(names).join(", ");
  return { ProjectionExpression, ExpressionAttributeNames: names };
}

const userKey = (userId: string): Key => [`USER#${userId}`, "USER"];
const sessionKey = (userId: string, sessionId: string): Key => [
  `USER#${userId}`,
  `SESSION#${sessionId}`,
];

function parseId(given: string): string {
  const id = given.toLowerCase();
  if (!ID.test(id) || /^[0-]+$|^[f-]+$/.test(id)) {
    throw new RangeError("must be a UUID of the form 8-4-4-4-12, not nil or max");
  }
  return id;
}

function parseHash(given: string): string {
  if (!/^[0-9a-fA-F]{64}$/.test(given)) {
    throw new RangeError("must be 64 hexadecimal digits (SHA-256)");
  }
  return given;
}
