/** Tokens of mails and sessions: random or derived values, and the hashes that commands carry. */

import { createHash, createHmac, randomBytes, randomUUID } from "node:crypto";

/** Bytes of a key that mailed tokens are derived from. */
const SHORTEST_KEY = 32;
const ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const IS_ID = new RegExp(`^${ID}$`);
const REFRESH_TOKEN = new RegExp(`^(${ID})\\.(${ID})\\.([A-Za-z0-9_-]{43})\\.([A-Za-z0-9_-]{43})$`);

/** Return the SHA-256 of a token in hexadecimal, as commands carry it. */
export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/**
 * Tokens that a mail contains, derived from a key that the edge and the mailer share.
 *
 * The queue, the events and the table contain only the id and the hash of a token. In production the
 * key may stay in KMS: call GenerateMac with `message`, and use its answer in hexadecimal.
 */
export class MailedTokens {
  readonly #key: Uint8Array;

  /** @throws {RangeError} The key is shorter than 32 bytes. */
  constructor(key: Uint8Array) {
    if (key.length < SHORTEST_KEY) {
      throw new RangeError(`the key must have ${SHORTEST_KEY} bytes or more`);
    }
    this.#key = key;
  }

  /**
   * Return what the token is the HMAC of: a token is valid for one purpose only.
   *
   * @throws {RangeError} The purpose is not one word, or the id is not a UUID.
   */
  static message(purpose: string, tokenId: string): string {
    const id = tokenId.toLowerCase();
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(purpose) || !IS_ID.test(id)) {
      throw new RangeError("the purpose must be one word, such as reset, and the id a UUID");
    }
    return `${purpose}\n${id}`;
  }

  /** Return the token of an id, for a purpose such as `reset`. */
  token(purpose: string, tokenId: string): string {
    const hmac = createHmac("sha256", this.#key);
    return hmac.update(MailedTokens.message(purpose, tokenId)).digest("hex");
  }
}

/**
 * A refresh token, as the client of a login service keeps it.
 *
 * It names the user and the session, and has two secret parts: one that stays for the whole session,
 * and one that each exchange replaces.
 */
export class RefreshToken {
  readonly #family: string;
  readonly #part: string;

  private constructor(
    readonly userId: string,
    readonly sessionId: string,
    family: string,
    part: string,
  ) {
    this.#family = family;
    this.#part = part;
  }

  /** Return the token of a new session. */
  static create(userId: string): RefreshToken {
    return new RefreshToken(userId.toLowerCase(), randomUUID(), secret(), secret());
  }

  /** Return the token that a client presents; undefined if the text is not a refresh token. */
  static parse(text: string): RefreshToken | undefined {
    const [, userId, sessionId, family, part] = REFRESH_TOKEN.exec(text) ?? [];
    if (!userId || !sessionId || !family || !part) return undefined;
    return new RefreshToken(userId, sessionId, family, part);
  }

  /** Return the token that replaces this one. */
  next(): RefreshToken {
    return new RefreshToken(this.userId, this.sessionId, this.#family, secret());
  }

  /** The hash of the part that stays, as commands carry it. */
  get refreshFamilyHash(): string {
    return tokenHash(this.#family);
  }

  /** The hash of the part that is replaced, as commands carry it. */
  get refreshTokenHash(): string {
    return tokenHash(this.#part);
  }

  /** Return the fields of StartSession and RotateRefreshToken that name session and token. */
  fields(): { session_id: string; refresh_family_hash: string; refresh_token_hash: string } {
    return {
      session_id: this.sessionId,
      refresh_family_hash: this.refreshFamilyHash,
      refresh_token_hash: this.refreshTokenHash,
    };
  }

  /** Return the text for the client. */
  text(): string {
    return `${this.userId}.${this.sessionId}.${this.#family}.${this.#part}`;
  }
}

function secret(): string {
  return randomBytes(32).toString("base64url");
}
