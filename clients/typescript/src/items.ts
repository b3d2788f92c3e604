/**
 * Read the stored items of users: attributes in DynamoDB JSON, of every format that exists.
 *
 * The attributes are described in docs/how-to/reading.md. An error names the attribute, never its value.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { UnreadableError } from "./errors.js";

export type RawItem = Record<string, AttributeValue>;

/** Hexadecimal digits of the stored hash of the part of a refresh token that is replaced. */
export const PART_DIGITS = 32;

/** A user, as read. */
export interface UserView {
  userId: string;
  /** Number of the user's events; compare it with their `sequence`. */
  version: number;
  /** Absent if the user is erased. */
  email?: string;
  firstName: string;
  lastName: string;
  emailVerified: boolean;
  /** Absent if no password is set, and from a `UserReader`. */
  passwordHash?: string;
  /** Whether `passwordHash` is of another system: replace it at the next login. */
  passwordHashLegacy: boolean;
  /** The version for StartSession, ChangePassword and UpgradePasswordHash. */
  credentialVersion: number;
  roles: string[];
  lockedUntil?: Date;
  /** A ban, which may have expired; without an end, it is permanent. */
  ban?: { until?: Date };
  deactivated: boolean;
  erased: boolean;
  twoFactorEnabled: boolean;
  locale?: string;
  timeZone?: string;
  /** Ids of the sessions that have not ended, oldest first; some may have expired. */
  liveSessions: string[];
}

/** A session, as a list of "your devices" shows it. */
export interface SessionView {
  sessionId: string;
  startedAt?: Date;
  /** Time of the start or of the last exchange of the refresh token. */
  lastUsedAt?: Date;
  expiresAt: Date;
  /** Methods by which the user was authenticated (RFC 8176). */
  methods: string[];
  device?: string;
}

/** A user's second factor, as a login service needs it. */
export interface SecondFactorView {
  /** The secret, as the edge encrypted it. */
  secretCiphertext: string;
  /** A step up to this one has been used: do not accept it. */
  lastTotpStep: number;
}

/** Outcome of a command, as the worker stored it. */
export interface OutcomeView {
  commandId: string;
  /** Reason of a rejection; absent if the command was accepted. */
  code?: string;
  /** The user's version after the command. */
  version: number;
}

/** A session with its hashes, which are hashed once more than in commands. */
export interface StoredSession {
  view: SessionView;
  /** Absent if it was not read. */
  family?: string;
  /** The live parts. */
  parts: string[];
  replaced?: string;
  replacedAt?: Date;
}

/** The attributes of an item of one kind. */
class Item {
  readonly format: number;
  readonly #kind: string;
  readonly #values: RawItem;
  readonly #path: string;

  constructor(kind: string, values: RawItem, newest = 1, path = "") {
    this.#kind = kind;
    this.#values = values;
    this.#path = path;
    this.format = path ? newest : this.number("schema");
    if (this.format < 1 || this.format > newest) {
      throw this.unreadable("schema", `is not a format from 1 to ${newest}`);
    }
  }

  text(name: string): string {
    const value = this.optionalText(name);
    if (value === undefined) throw this.unreadable(name, "is missing");
    return value;
  }

  optionalText(name: string): string | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    if (typeof value.S !== "string") throw this.unreadable(name, "must be a string (S)");
    return value.S;
  }

  words(name: string): string[] {
    return (this.optionalText(name) ?? "").split(" ").filter((word) => word !== "");
  }

  texts(name: string): string[] {
    const value = this.#values[name];
    if (value === undefined) return [];
    const found = value.L?.map((each) => each?.S);
    if (!found?.every((each) => typeof each === "string")) {
      throw this.unreadable(name, "must be a list (L) of strings (S)");
    }
    return found;
  }

  flag(name: string): boolean {
    const value = this.#values[name];
    if (value === undefined) return false;
    if (typeof value.BOOL !== "boolean") throw this.unreadable(name, "must be a boolean (BOOL)");
    return value.BOOL;
  }

  number(name: string, missing?: number): number {
    const value = this.#values[name];
    if (value === undefined && missing !== undefined) return missing;
    if (value === undefined) throw this.unreadable(name, "is missing");
    if (typeof value.N !== "string" || !/^[0-9]+$/.test(value.N)) {
      throw this.unreadable(name, "must be a whole number (N)");
    }
    return Number(value.N);
  }

  /** Return a time in epoch seconds, which are negative before 1970. */
  epoch(name: string): Date {
    const text = this.#values[name]?.N;
    const time = new Date(typeof text === "string" && text !== "" ? Number(text) * 1000 : NaN);
    if (Number.isNaN(time.getTime())) {
      throw this.unreadable(name, "must be a time in epoch seconds (N)");
    }
    return time;
  }

  time(name: string): Date | undefined {
    const text = this.optionalText(name);
    if (text === undefined) return undefined;
    const time = new Date(/T.*(Z|[+-]\d\d:\d\d)$/.test(text) ? text : NaN);
    if (Number.isNaN(time.getTime())) {
      throw this.unreadable(name, "must be an RFC 3339 time with offset");
    }
    return time;
  }

  nested(name: string): Item | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    if (typeof value.M !== "object") throw this.unreadable(name, "must be a map (M)");
    return new Item(this.#kind, value.M, 1, `${this.#path}${name}.`);
  }

  unreadable(name: string, rule: string): UnreadableError {
    return new UnreadableError(`${this.#kind} item, attribute ${this.#path}${name}: ${rule}`);
  }
}

/** Return an object without the properties that are undefined. */
function present<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as T;
}

export function parseUser(raw: RawItem): UserView {
  const item = new Item("user", raw);
  const ban = item.nested("ban");
  return present<UserView>({
    userId: item.text("user_id"),
    version: item.number("version"),
    email: item.optionalText("email"),
    firstName: item.text("first_name"),
    lastName: item.text("last_name"),
    emailVerified: item.flag("email_verified"),
    passwordHash: item.optionalText("password_hash"),
    passwordHashLegacy: item.flag("password_hash_legacy"),
    credentialVersion: item.number("credential_version", 0),
    roles: item.texts("roles"),
    lockedUntil: item.time("locked_until"),
    ban: ban && present<{ until?: Date }>({ until: ban.time("until") }),
    deactivated: item.flag("deactivated"),
    erased: item.flag("erased"),
    twoFactorEnabled: item.flag("two_factor_enabled"),
    locale: item.optionalText("locale"),
    timeZone: item.optionalText("time_zone"),
    liveSessions: [...liveSessions(raw).keys()],
  });
}

/** Return the sessions of a user that have not ended, oldest first, and when they expire. */
export function liveSessions(raw: RawItem): Map<string, Date> {
  const item = new Item("user", raw);
  const found = new Map<string, Date>();
  for (const word of item.words("live_sessions")) {
    const [id = "", end = ""] = word.split(":");
    const time = new Date(/^[0-9]+$/.test(end) ? Number(end) * 1000 : NaN);
    if (Number.isNaN(time.getTime())) {
      throw item.unreadable("live_sessions", "has an invalid time");
    }
    found.set(id, time);
  }
  return found;
}

export function parseSecondFactor(user: RawItem, factor: RawItem): SecondFactorView {
  return {
    secretCiphertext: new Item("two factor", factor).text("secret_ciphertext"),
    lastTotpStep: new Item("user", user).number("last_totp_step", 0),
  };
}

/** Return the id of the user that has an address; undefined if it is held for an erased user. */
export function parseOwner(raw: RawItem): string | undefined {
  const item = new Item("address", raw);
  const owner = item.text("user_id");
  return item.flag("held") ? undefined : owner;
}

/** Return the view of an outcome. Codes that this version does not know are valid. */
export function parseOutcome(raw: RawItem): OutcomeView {
  const item = new Item("outcome", raw, 2);
  const [status, code] = [item.text("status"), item.optionalText("code")];
  if (status !== (code === undefined ? "accepted" : "rejected")) {
    throw item.unreadable("status", "must be accepted, or rejected with a code");
  }
  const commandId = item.text("sk").replace("COMMAND#", "");
  return present<OutcomeView>({ commandId, code, version: item.number("version") });
}

/** Return a session; without credentials, its hashes were not requested. */
export function parseSession(raw: RawItem, credentials: boolean): StoredSession {
  const item = new Item("session", raw, 2);
  const view = present<SessionView>({
    sessionId: item.text("session_id"),
    startedAt: item.time("started_at"),
    lastUsedAt: item.time("last_used_at"),
    expiresAt: item.epoch("expires_at"),
    methods: item.words("methods"),
    device: item.optionalText("device"),
  });
  const replacedAt = item.time("replaced_at");
  if (!credentials) return present<StoredSession>({ view, parts: [], replacedAt });
  // in the first format, one token stands for both of its parts
  const family = item.text(item.format === 1 ? "refresh_token_hash" : "refresh_family_hash");
  const parts =
    item.format === 1 ? [family.slice(0, PART_DIGITS)] : item.words("refresh_token_hashes");
  const replaced = item.optionalText("replaced_token_hash");
  return present<StoredSession>({ view, family, parts, replaced, replacedAt });
}

/** Return true if a token has the secret that all tokens of this session share. */
export function hasFamily(session: StoredSession, familyHash: string): boolean {
  return session.family !== undefined && equal(session.family, atRest(familyHash));
}

/** Return true if a part is live, or was replaced last and less than `leeway` ago. */
export function accepts(
  session: StoredSession,
  tokenHash: string,
  now: Date,
  leeway: number,
): boolean {
  const part = atRest(tokenHash).slice(0, PART_DIGITS);
  const matches = session.parts.filter((each) => equal(each, part));
  const replaced = session.replaced !== undefined && equal(session.replaced, part);
  if (matches.length > 0) return true;
  // the part was replaced in the future if a clock was set back, or a worker's is ahead
  const age = Math.abs(now.getTime() - (session.replacedAt?.getTime() ?? -Infinity));
  return replaced && age < leeway;
}

/** Return the hash that the table has for a hash of a command. */
export function atRest(tokenHash: string): string {
  return createHash("sha256").update(Buffer.from(tokenHash, "hex")).digest("hex");
}

function equal(stored: string, presented: string): boolean {
  const [a, b] = [Buffer.from(stored), Buffer.from(presented)];
  return a.length === b.length && timingSafeEqual(a, b);
}
