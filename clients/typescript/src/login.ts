/** The steps of a login service, in the order that docs/how-to/reading.md describes. */

import { setTimeout as pause } from "node:timers/promises";
import type { Commands } from "./commands.js";
import { NoAnswerError, RefusedError, SessionRefusedError, UnavailableError } from "./errors.js";
import { isLocked, type LoginReader, loginRefusal, type UserView } from "./reader.js";
import { findTotpStep, recoveryCodeHash } from "./second-factor.js";
import type { CommandName, Envelope, UserCommands } from "./sender.js";
import { RefreshToken } from "./tokens.js";

const WRONG = "WrongEmailOrPassword";
const WRONG_CODE = "WrongCode";
/** Access has ended since the password was read; the person must not learn more. */
const SHOWN_AS_WRONG = new Set([WRONG, "CredentialStale", "UserLocked", "UserErased"]);
const SHOWN_AS_WRONG_CODE = new Set(["SecondFactorReplayed", "CodeInvalid"]);
/** Milliseconds between two reads of an outcome; the worker takes a few dozen. */
const PAUSE = 50;

/** Hashes and checks passwords; examples/node/passwords.mjs implements it with argon2id. */
export interface Passwords {
  /** Return the argon2id hash of a password. */
  hash(password: string): Promise<string>;
  /**
   * Return true if a password is the one that was hashed. Without a hash, check a dummy hash, which
   * must take equally long, and return false.
   */
  verify(hash: string | undefined, password: string): Promise<boolean>;
}

export interface LoginFlowOptions {
  users: LoginReader;
  commands: UserCommands;
  passwords: Passwords;
  /** Decrypts the secret of a second factor. */
  decrypt(ciphertext: string, userId: string): Uint8Array | Promise<Uint8Array>;
  /** Milliseconds that a session lasts after its last use; 30 days by default. */
  lifetime?: number;
  /** Milliseconds to wait for the outcome of a command; 10 s by default. */
  timeout?: number;
  /**
   * Milliseconds after which a wrong password is answered, 300 by default: longer than a hash, the
   * reads and a message take, so that the time does not reveal who is a user.
   */
  wrongAfter?: number;
}

/** What a person types for the second factor, if anything. */
export interface TypedFactor {
  code?: string | undefined;
  recoveryCode?: string | undefined;
}

/** A session that was started or continued; give the token to the person. */
export interface Login {
  token: RefreshToken;
  expiresAt: Date;
}

type Proof = Pick<Commands["StartSession"], "methods" | "recovery_code_hash" | "totp_step">;

/**
 * Logs users in, continues their sessions, and checks their passwords again.
 *
 * All methods throw `RefusedError` with the code for the person, `SessionRefusedError` if the session
 * of a token may not continue, and `NoAnswerError` if the worker does not decide in time. Limit
 * attempts by network address before all of them.
 */
export class LoginFlow {
  readonly #options: Required<LoginFlowOptions>;

  constructor(options: LoginFlowOptions) {
    // a default also replaces an option that is undefined, which a spread would keep
    const { lifetime = 30 * 86_400_000, timeout = 10_000, wrongAfter = 300 } = options;
    this.#options = { ...options, lifetime, timeout, wrongAfter };
  }

  /**
   * Check password and second factor, and start a session.
   *
   * @throws {RefusedError} WrongEmailOrPassword, SecondFactorRequired, WrongCode, UserBanned,
   *   UserDeactivated, or another code of StartSession.
   * @throws {RangeError} `code` or `recoveryCode` cannot be one.
   */
  async logIn(email: string, password: string, typed: TypedFactor = {}): Promise<Login> {
    const start = performance.now();
    const { code, recoveryCode } = typed;
    if (code !== undefined && !/^[0-9]{6}$/.test(code.replaceAll(/\s/g, ""))) {
      throw new RangeError("a one-time password has six digits");
    }
    const recovery = recoveryCode === undefined ? undefined : recoveryCodeHash(recoveryCode);
    if (recoveryCode !== undefined && !recovery) throw new RangeError("not a recovery code");
    try {
      return await this.#logIn(email, password, code, recovery);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      if (SHOWN_AS_WRONG_CODE.has(error.code)) throw new RefusedError(WRONG_CODE);
      if (!SHOWN_AS_WRONG.has(error.code)) throw error;
      await pause(Math.max(0, start + this.#options.wrongAfter - performance.now()));
      throw new RefusedError(WRONG);
    }
  }

  /** Check that the session of a token may continue; return its user. */
  async check(token: RefreshToken): Promise<UserView> {
    const { userId, sessionId, refreshFamilyHash, refreshTokenHash } = token;
    const { users } = this.#options;
    const check = await users.checkToken(userId, sessionId, refreshFamilyHash, refreshTokenHash);
    if (check.refusal || !check.user) throw new SessionRefusedError(check.refusal ?? "UserNotFound");
    return check.user;
  }

  /** Exchange a token for the next one; two tabs may exchange the same one within a moment. */
  async refresh(token: RefreshToken): Promise<Login> {
    const { userId } = token;
    const login = { token: token.next(), expiresAt: this.#end() };
    const data = {
      ...token.fields(),
      next_refresh_token_hash: login.token.refreshTokenHash,
      expires_at: login.expiresAt.toISOString(),
    };
    try {
      await this.check(token);
    } catch (error) {
      if (error instanceof SessionRefusedError && error.code === "RefreshTokenReused") {
        // the worker ends the session of a token that was used twice
        await this.#options.commands.send("RotateRefreshToken", data, { userId });
      }
      throw error;
    }
    try {
      await this.decide("RotateRefreshToken", data, { userId });
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      throw new SessionRefusedError(error.code); // the session has ended since the check
    }
    return login;
  }

  /** Check session and password, before a change that a stolen session must not make. */
  async authenticate(token: RefreshToken, password: string): Promise<UserView> {
    return this.#checkPassword(await this.check(token), password);
  }

  /**
   * Send a command and wait until the worker accepts it.
   *
   * The worker stores the outcome together with the change, under the id of the command.
   *
   * @throws {RefusedError} The worker rejected it.
   * @throws {NoAnswerError} No outcome in time; the command may still be accepted.
   */
  async decide<Name extends CommandName>(
    name: Name,
    data: Commands[Name],
    envelope: Envelope & { userId: string },
  ): Promise<void> {
    const { commands, users, timeout } = this.#options;
    const commandId = await commands.send(name, data, envelope);
    const deadline = performance.now() + timeout;
    while (performance.now() < deadline) {
      const outcome = await users.outcome(envelope.userId, commandId).catch((error: unknown) => {
        if (error instanceof UnavailableError) return undefined; // read again while there is time
        throw error;
      });
      if (outcome?.code !== undefined) throw new RefusedError(outcome.code);
      if (outcome) return;
      await pause(PAUSE);
    }
    throw new NoAnswerError(`no outcome in ${timeout / 1000} s`);
  }

  async #logIn(email: string, password: string, code?: string, recovery?: string): Promise<Login> {
    const found = await this.#options.users.byEmail(email).catch((error: unknown) => {
      if (error instanceof RangeError) return undefined; // not an address, so no user has it
      throw error;
    });
    const user = await this.#checkPassword(found, password);
    // only a person who knows the password is told the reason
    const refusal = loginRefusal(user);
    if (refusal) throw new RefusedError(refusal);
    return this.#startSession(user, password, await this.#checkSecondFactor(user, code, recovery));
  }

  /** Return the user if the password is right, or else record a failure; refuse all during a lock. */
  async #checkPassword(user: UserView | undefined, password: string): Promise<UserView> {
    const { passwords, commands } = this.#options;
    const matches = await passwords.verify(user?.passwordHash, password);
    if (!user || isLocked(user)) throw new RefusedError(WRONG);
    if (matches) return user;
    await commands.send("RecordLoginFailure", {}, { userId: user.userId });
    throw new RefusedError(WRONG);
  }

  /** Check a one-time password; the worker checks a recovery code. */
  async #checkSecondFactor(user: UserView, code?: string, recovery?: string): Promise<Proof> {
    const { users, commands, decrypt } = this.#options;
    const { userId } = user;
    const factor = user.twoFactorEnabled ? await users.secondFactor(userId) : undefined;
    if (!factor) return { methods: ["pwd"] };
    if (recovery !== undefined) return { methods: ["pwd", "mfa"], recovery_code_hash: recovery };
    if (code === undefined) throw new RefusedError("SecondFactorRequired");
    const secret = await decrypt(factor.secretCiphertext, userId);
    const totp_step = findTotpStep(secret, code, factor.lastTotpStep);
    if (totp_step !== undefined) return { methods: ["pwd", "otp"], totp_step };
    await commands.send("RecordLoginFailure", { stage: "second_factor" }, { userId });
    throw new RefusedError(WRONG_CODE);
  }

  async #startSession(user: UserView, password: string, proof: Proof): Promise<Login> {
    const { commands, passwords } = this.#options;
    const { userId, credentialVersion: credential_version } = user;
    const login = { token: RefreshToken.create(userId), expiresAt: this.#end() };
    const expires_at = login.expiresAt.toISOString();
    const data = { ...login.token.fields(), expires_at, credential_version, ...proof };
    await this.decide("StartSession", data, { userId, expiresAt: new Date(Date.now() + 60_000) });
    if (user.passwordHashLegacy) {
      // the hash of another system is replaced now
      const password_hash = await passwords.hash(password);
      await commands.send("UpgradePasswordHash", { password_hash, credential_version }, { userId });
    }
    return login;
  }

  #end(): Date {
    return new Date(Date.now() + this.#options.lifetime);
  }
}
