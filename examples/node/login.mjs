// A login service: reads users, checks passwords and second factors, and sends commands.
//
// POST /login           email, password; code or recovery_code: returns a refresh token
// GET /session          returns the user id of the session
// POST /refresh         returns the next refresh token
// DELETE /session       logs out
// GET /sessions         lists the sessions; DELETE /sessions?others ends all others
// POST /password        password, new_password: changes the password and ends all sessions
// POST /reset-request   email: sends a reset mail, if a user has the address
// POST /reset           token, password: sets the password and ends all sessions
// POST /second-factor   returns secret and URI for an authenticator app, and `setup`
// POST /second-factor/confirm   setup, code, password: enables it; returns the recovery codes
//
// All but /login, /reset-request and /reset take the refresh token as `Authorization: Bearer`.
// `setup` is the encrypted secret: nothing is stored until a code shows that the app has the secret.
//
// Two environment variables, each 32 random bytes in Base64: SECOND_FACTOR_KEY encrypts the secrets
// of second factors; TOKEN_KEY derives the tokens of reset mails, and the mailer has it too.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import {
  findTotpStep,
  InvalidCommandError,
  isLocked,
  LoginReader,
  loginRefusal,
  MailedTokens,
  newRecoveryCodes,
  newTotpSecret,
  recoveryCodeHash,
  RefreshToken,
  setupUri,
  tokenHash,
  UserCommands,
} from "@biome/users";
import { hashPassword, verifyPassword } from "./passwords.mjs";
import { decrypt, encrypt } from "./second_factor.mjs";

const LIFETIME = 30 * 86_400_000; // ms
const RESET_LIFETIME = 3_600_000;
const DECIDED_WITHIN = 10_000; // ms to wait for the worker; a command takes a few dozen
const NO_SOONER = 300; // ms until a wrong password is answered: more than hash, reads, message take

const DONE = [200, {}];
const WRONG = [401, { error: "WrongEmailOrPassword" }];
const WRONG_CODE = [401, { error: "WrongCode" }];
const SECOND_FACTOR_REQUIRED = [401, { error: "SecondFactorRequired" }];
const TOKEN_INVALID = [401, { error: "TokenInvalid" }];
const LATER = [503, { error: "TryAgain" }];
/** The answer by the worker's code; after any other code, trying again may help. */
const REJECTIONS = {
  CredentialStale: WRONG, // access has ended since the password was read
  UserLocked: WRONG,
  UserErased: WRONG,
  UserBanned: [403, { error: "UserBanned" }],
  UserDeactivated: [403, { error: "UserDeactivated" }],
  SecondFactorRequired: SECOND_FACTOR_REQUIRED,
  SecondFactorReplayed: WRONG_CODE,
  CodeInvalid: WRONG_CODE,
  TwoFactorAlreadyEnabled: [409, { error: "TwoFactorAlreadyEnabled" }],
  TokenInvalid: TOKEN_INVALID,
  TokenExpired: TOKEN_INVALID,
  SessionNotFound: [401, { error: "SessionNotFound" }],
  SessionExpired: [401, { error: "SessionExpired" }],
  RefreshTokenReused: [401, { error: "RefreshTokenReused" }],
};

const commands = new UserCommands({ source: "/login" });
const users = new LoginReader();
const after = (milliseconds) => new Date(Date.now() + milliseconds);

/** Read 32 bytes in Base64 from an environment variable; exit if it is missing or invalid. */
function readKey(name) {
  const key = process.env[name] ?? "";
  const bytes = Buffer.from(key, "base64");
  if (bytes.length === 32 && bytes.toString("base64") === key) return key;
  console.error(
    `${name} must contain 32 bytes in Base64. Create it with "openssl rand -base64 32".`,
  );
  process.exit(1);
}

const secondFactorKey = Buffer.from(readKey("SECOND_FACTOR_KEY"), "base64");
const tokens = new MailedTokens(Buffer.from(readKey("TOKEN_KEY"))); // the text of the key

/** Read the refresh token of a request; throw SyntaxError if it has no valid one. */
function tokenOf({ headers: { authorization = "" } }) {
  const token = RefreshToken.parse(authorization.replace(/^Bearer /, ""));
  if (!token) throw new SyntaxError("not a token");
  return token;
}

const handOut = (token, expiresAt) => [
  200,
  { refresh_token: token.text(), expires_at: expiresAt.toISOString() },
];

// --- commands ----------------------------------------------------------------------------------

/**
 * Send a command and wait for its outcome; return the answer if it was not accepted, else null.
 * The worker stores the outcome together with the change, under the id of the command.
 */
async function decide(name, userId, data, envelope = {}) {
  const commandId = await commands.send(name, data, { userId, ...envelope });
  const deadline = Date.now() + DECIDED_WITHIN;
  while (Date.now() < deadline) {
    const outcome = await users.outcome(userId, commandId);
    if (outcome) return outcome.code === undefined ? null : (REJECTIONS[outcome.code] ?? LATER);
    await sleep(50);
  }
  return LATER;
}

// --- login -------------------------------------------------------------------------------------

/**
 * Check password and second factor, and start a session. A wrong password is answered after a
 * fixed time: a known user costs a read and a message more than an unknown one.
 */
async function login({ email, password, code, recovery_code }) {
  const start = performance.now();
  const recovery = recovery_code && recoveryCodeHash(recovery_code);
  if ((code && !isCode(code)) || (recovery_code && !recovery)) throw new SyntaxError("not a code");
  const answer = await checkLogin(email, password, { code, recovery });
  if (answer === WRONG) await sleep(Math.max(0, start + NO_SOONER - performance.now()));
  return answer;
}

const isCode = (text) => /^[0-9]{6}$/.test(text.replaceAll(/\s/g, ""));

async function checkLogin(email, password, typed) {
  const user = await users.byEmail(email).catch((error) => {
    if (error instanceof RangeError) return undefined; // not an address, so no user has it
    throw error;
  });
  if (!(await knowsPassword(user, password))) return WRONG;
  // only a person who knows the password is told the reason
  const refusal = loginRefusal(user);
  if (refusal) return [403, { error: refusal }];
  const { answer, proof } = await checkSecondFactor(user, typed);
  return answer ?? startSession(user, password, proof);
}

/** Check a password and record a failure; during a lock no password is accepted. */
async function knowsPassword(user, password) {
  const matches = await verifyPassword(user?.passwordHash, password);
  if (!user || isLocked(user)) return false;
  if (!matches) await commands.send("RecordLoginFailure", {}, { userId: user.userId });
  return matches;
}

/** Check a one-time password; the worker checks a recovery code. */
async function checkSecondFactor({ userId, twoFactorEnabled }, { code, recovery }) {
  const factor = twoFactorEnabled ? await users.secondFactor(userId) : undefined;
  if (!factor) return { proof: { methods: ["pwd"] } };
  if (recovery) return { proof: { methods: ["pwd", "mfa"], recovery_code_hash: recovery } };
  if (!code) return { answer: SECOND_FACTOR_REQUIRED };
  const secret = decrypt(secondFactorKey, factor.secretCiphertext, userId);
  const totp_step = findTotpStep(secret, code, factor.lastTotpStep);
  if (totp_step !== undefined) return { proof: { methods: ["pwd", "otp"], totp_step } };
  await commands.send("RecordLoginFailure", { stage: "second_factor" }, { userId });
  return { answer: WRONG_CODE };
}

async function startSession({ userId, credentialVersion, passwordHashLegacy }, password, proof) {
  const token = RefreshToken.create(userId);
  const expiresAt = after(LIFETIME);
  const data = {
    session_id: token.sessionId,
    refresh_family_hash: token.refreshFamilyHash,
    refresh_token_hash: token.refreshTokenHash,
    expires_at: expiresAt.toISOString(),
    credential_version: credentialVersion,
    ...proof,
  };
  const rejection = await decide("StartSession", userId, data, { expiresAt: after(60_000) });
  if (rejection) return rejection;
  if (passwordHashLegacy) {
    // the hash of another system is replaced now
    const upgrade = {
      password_hash: await hashPassword(password),
      credential_version: credentialVersion,
    };
    await commands.send("UpgradePasswordHash", upgrade, { userId });
  }
  return handOut(token, expiresAt);
}

// --- sessions ----------------------------------------------------------------------------------

const refused = (code) => [401, { error: code }];
const check = ({ userId, sessionId, refreshFamilyHash, refreshTokenHash }) =>
  users.checkToken(userId, sessionId, refreshFamilyHash, refreshTokenHash);

async function session(token) {
  const { refusal } = await check(token);
  return refusal ? refused(refusal) : [200, { user_id: token.userId }];
}

/** Exchange a token for the next one. */
async function refresh(token) {
  const { refusal } = await check(token);
  const following = token.next();
  const expiresAt = after(LIFETIME);
  const data = {
    session_id: token.sessionId,
    refresh_family_hash: token.refreshFamilyHash,
    refresh_token_hash: token.refreshTokenHash,
    next_refresh_token_hash: following.refreshTokenHash,
    expires_at: expiresAt.toISOString(),
  };
  const { userId } = token;
  // the worker ends the session of a token that was used twice
  if (refusal === "RefreshTokenReused") await commands.send("RotateRefreshToken", data, { userId });
  if (refusal) return refused(refusal);
  return (await decide("RotateRefreshToken", userId, data)) ?? handOut(following, expiresAt);
}

/** Send a command about the session of a token, if it may continue. */
async function endBy(command, token) {
  const { refusal } = await check(token);
  if (refusal) return refused(refusal);
  return (await decide(command, token.userId, { session_id: token.sessionId })) ?? DONE;
}

async function listSessions(token) {
  const { refusal } = await check(token);
  if (refusal) return refused(refusal);
  const sessions = (await users.sessions(token.userId)).map((each) => ({
    session_id: each.sessionId,
    current: each.sessionId === token.sessionId,
    started_at: each.startedAt?.toISOString() ?? null,
    last_used_at: each.lastUsedAt?.toISOString() ?? null,
    methods: each.methods,
  }));
  return [200, { sessions }];
}

/** Check session and password, before a change that a stolen session must not make. */
async function authenticate(token, password) {
  const { user, refusal } = await check(token);
  if (refusal) return { answer: refused(refusal) };
  return (await knowsPassword(user, password)) ? { user } : { answer: WRONG };
}

// --- change and reset of the password ----------------------------------------------------------

/** Set a new password. All sessions end, so the person logs in again. */
async function changePassword(token, { password, new_password }) {
  const { user, answer } = await authenticate(token, password);
  if (!user) return answer;
  const password_hash = await hashPassword(new_password);
  const data = { password_hash, credential_version: user.credentialVersion };
  return (await decide("ChangePassword", token.userId, data)) ?? DONE;
}

/**
 * Ask for a reset mail. The answer and its time are the same for an unknown address: the command
 * names the user by address, so the service need not look for the user.
 */
async function requestReset({ email }) {
  const token_id = randomUUID();
  await commands.send("RequestPasswordReset", {
    email,
    token_id,
    token_hash: tokenHash(tokens.token("reset", token_id)),
    expires_at: after(RESET_LIFETIME).toISOString(),
  });
  return [202, {}];
}

/**
 * Set a new password with the token of the mail. All sessions end. The mailer writes
 * `<user id>.<derived token>`: PasswordResetRequested has the user id as its subject, and the id to
 * derive the token from as `token_id`.
 */
async function reset({ token, password }) {
  const [userId, derived, more] = token.split(".");
  if (!derived || more !== undefined) throw new SyntaxError("not a token");
  const user = await users.get(userId);
  if (!user || user.erased) return TOKEN_INVALID;
  const data = { token_hash: tokenHash(derived), password_hash: await hashPassword(password) };
  return (await decide("ResetPassword", userId, data)) ?? DONE;
}

// --- enabling the second factor ----------------------------------------------------------------

/** Create a secret for an authenticator app. Nothing is stored yet. */
async function prepareSecondFactor(token) {
  const { user, refusal } = await check(token);
  if (refusal) return refused(refusal);
  const made = newTotpSecret();
  const uri = setupUri(made, user.email, "Biome");
  const setup = encrypt(secondFactorKey, made, token.userId);
  return [200, { secret: new URL(uri).searchParams.get("secret"), uri, setup }];
}

/**
 * Enable the second factor if a code shows that the app has the secret. The recovery codes are
 * returned once; only their hashes are stored.
 */
async function confirmSecondFactor(token, { setup, code, password }) {
  if (!isCode(code)) throw new SyntaxError("not a code");
  let secret;
  try {
    secret = decrypt(secondFactorKey, setup, token.userId);
  } catch {
    throw new SyntaxError("not a setup of this user");
  }
  const { user, answer } = await authenticate(token, password);
  if (!user) return answer;
  if (findTotpStep(secret, code) === undefined) return WRONG_CODE;
  const codes = newRecoveryCodes();
  const data = { secret_ciphertext: setup, recovery_code_hashes: codes.map(recoveryCodeHash) };
  // rejected if anything of the user has changed since the session was checked
  const unchanged = { expectedVersion: user.version };
  const rejection = await decide("EnableTwoFactor", token.userId, data, unchanged);
  return rejection ?? [200, { recovery_codes: codes }];
}

// --- HTTP --------------------------------------------------------------------------------------

/** Read the fields of a body, which are non-empty strings; throw SyntaxError otherwise. */
async function fieldsOf(request, required, optional = []) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    if ((size += part.length) > 4096) throw new SyntaxError("too large");
    parts.push(part);
  }
  const body = JSON.parse(Buffer.concat(parts)) ?? {};
  const present = optional.filter((name) => (body[name] ?? null) !== null);
  const fields = Object.fromEntries([...required, ...present].map((name) => [name, body[name]]));
  for (const text of Object.values(fields)) {
    if (typeof text !== "string" || !text.isWellFormed() || !text) {
      throw new SyntaxError("a field is missing, empty or not a string");
    }
  }
  return fields;
}

const routes = {
  "POST /login": async (request) =>
    login(await fieldsOf(request, ["email", "password"], ["code", "recovery_code"])),
  "GET /session": (request) => session(tokenOf(request)),
  "POST /refresh": (request) => refresh(tokenOf(request)),
  "DELETE /session": (request) => endBy("RevokeSession", tokenOf(request)),
  "GET /sessions": (request) => listSessions(tokenOf(request)),
  "DELETE /sessions?others": (request) => endBy("RevokeOtherSessions", tokenOf(request)),
  "POST /password": async (request) =>
    changePassword(tokenOf(request), await fieldsOf(request, ["password", "new_password"])),
  "POST /reset-request": async (request) => requestReset(await fieldsOf(request, ["email"])),
  "POST /reset": async (request) => reset(await fieldsOf(request, ["token", "password"])),
  "POST /second-factor": (request) => prepareSecondFactor(tokenOf(request)),
  "POST /second-factor/confirm": async (request) =>
    confirmSecondFactor(tokenOf(request), await fieldsOf(request, ["setup", "code", "password"])),
};

async function answer(request, response) {
  let status, body;
  try {
    const route = routes[`${request.method} ${request.url}`];
    [status, body] = route ? await route(request) : [404, { error: "NotFound" }];
  } catch (error) {
    // an error never admits a person, and shows no cause
    const invalid = [SyntaxError, RangeError, InvalidCommandError].some((e) => error instanceof e);
    if (!invalid) console.error(`error: ${error.name}`);
    [status, body] = invalid ? [400, { error: "BadRequest" }] : LATER;
  }
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  response.writeHead(status, headers).end(JSON.stringify(body));
}

// a proxy in front of it speaks TLS and limits attempts by address
const { values: options } = parseArgs({ options: { port: { type: "string", default: "8080" } } });
const server = createServer({ requestTimeout: 10_000 }, answer);
server.listen(Number(options.port), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    console.log("stopped");
    process.exit(0);
  });
}
