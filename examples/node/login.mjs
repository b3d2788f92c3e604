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
import { createHash, createHmac, randomBytes, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { domainToASCII } from "node:url";
import { parseArgs } from "node:util";
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { hashPassword, verifyPassword } from "./passwords.mjs";
import * as totp from "./second_factor.mjs";
import * as users from "./users.mjs";

const LIFETIME = 30 * 86_400_000; // ms
const RESET_LIFETIME = 3_600_000;
const DECIDED_WITHIN = 10_000; // ms to wait for the worker; a command takes a few dozen
const NO_SOONER = 300; // ms until a wrong password is answered: more than hash, reads, message take
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

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

const sqs = new SQSClient({ useQueueUrlAsEndpoint: false }); // but AWS_ENDPOINT_URL, if any
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const after = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();

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
const tokenKey = readKey("TOKEN_KEY"); // the text, as password_reset.mjs uses it

// --- tokens ------------------------------------------------------------------------------------

const secret = () => randomBytes(32).toString("base64url");

/** A refresh token: opaque to clients; only the hashes of family and part are sent to the worker. */
function makeToken(userId, sessionId, family = secret(), part = secret()) {
  const text = [userId, sessionId, family, part].join(".");
  return { userId, sessionId, family, text, familyHash: sha256(family), hash: sha256(part) };
}

/** Read the refresh token of a request; throw SyntaxError if there is none. */
function tokenOf({ headers: { authorization = "" } }) {
  const [userId, sessionId, family, part, more] = authorization.replace(/^Bearer /, "").split(".");
  if (!UUID.test(userId) || !UUID.test(sessionId) || !family || !part || more !== undefined) {
    throw new SyntaxError("not a token");
  }
  return makeToken(userId, sessionId, family, part);
}

const handOut = (token, expires_at) => [200, { refresh_token: token.text, expires_at }];

/** Derive the token of a mail; in production with GenerateMac of KMS. */
// "reset" is the purpose: a token of another kind of mail is not valid.
const deriveToken = (tokenId) =>
  createHmac("sha256", tokenKey).update(`reset\n${tokenId}`).digest("hex");

// --- commands ----------------------------------------------------------------------------------

let queueUrl;

/** Send a command and return its id. */
async function send(name, subject, data, extensions = {}) {
  queueUrl ??= (await sqs.send(new GetQueueUrlCommand({ QueueName: "user-commands" }))).QueueUrl;
  const command = {
    specversion: "1.0",
    id: randomUUID(),
    source: "/login",
    type: `biome.user.${name}.v1`,
    subject,
    time: new Date().toISOString(),
    data,
    ...extensions,
  };
  const message = { QueueUrl: queueUrl, MessageBody: JSON.stringify(command) };
  await sqs.send(new SendMessageCommand(message));
  return command.id;
}

/**
 * Send a command and wait for its outcome; return the answer if it was not accepted, else null.
 * The worker stores the outcome together with the change, under the id of the command.
 */
async function decide(name, subject, data, extensions) {
  const commandId = await send(name, subject, data, extensions);
  const deadline = Date.now() + DECIDED_WITHIN;
  while (Date.now() < deadline) {
    const outcome = await users.outcomeOf(subject, commandId);
    if (outcome) return outcome.code === null ? null : (REJECTIONS[outcome.code] ?? LATER);
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
  const answer = await checkLogin(email, password, {
    code: code && totp.parseCode(code),
    recovery: recovery_code && totp.recoveryCodeHash(recovery_code),
  });
  if (answer === WRONG) await sleep(Math.max(0, start + NO_SOONER - performance.now()));
  return answer;
}

async function checkLogin(email, password, typed) {
  const user = await users.userByEmail(email);
  if (!(await knowsPassword(user, password))) return WRONG;
  // only a person who knows the password is told the reason
  const refusal = users.whyNoAccess(user);
  if (refusal) return [403, { error: refusal }];
  const { answer, proof } = await checkSecondFactor(user, typed);
  return answer ?? startSession(user, password, proof);
}

/** Check a password and record a failure; during a lock no password is accepted. */
async function knowsPassword(user, password) {
  const matches = await verifyPassword(user?.password_hash?.S, password);
  if (!user || users.isLocked(user)) return false;
  if (!matches) await send("RecordLoginFailure", user.user_id.S, {});
  return matches;
}

/** Check a one-time password; the worker checks a recovery code. */
async function checkSecondFactor(user, { code, recovery }) {
  const userId = user.user_id.S;
  const factor = user.two_factor_enabled?.BOOL ? await users.secondFactor(userId) : null;
  if (!factor) return { proof: { methods: ["pwd"] } };
  if (recovery) return { proof: { methods: ["pwd", "mfa"], recovery_code_hash: recovery } };
  if (!code) return { answer: SECOND_FACTOR_REQUIRED };
  const secret = totp.decrypt(secondFactorKey, factor.ciphertext, userId);
  const totp_step = totp.findStep(secret, code, factor.lastStep);
  if (totp_step !== null) return { proof: { methods: ["pwd", "otp"], totp_step } };
  await send("RecordLoginFailure", userId, { stage: "second_factor" });
  return { answer: WRONG_CODE };
}

async function startSession(user, password, proof) {
  const userId = user.user_id.S;
  const token = makeToken(userId, randomUUID());
  const expires_at = after(LIFETIME);
  const credential_version = Number(user.credential_version.N);
  const data = {
    session_id: token.sessionId,
    refresh_family_hash: token.familyHash,
    refresh_token_hash: token.hash,
    expires_at,
    credential_version,
    ...proof,
  };
  const rejection = await decide("StartSession", userId, data, { expirytime: after(60_000) });
  if (rejection) return rejection;
  if (user.password_hash_legacy?.BOOL) {
    // the hash of another system is replaced now
    const password_hash = await hashPassword(password);
    await send("UpgradePasswordHash", userId, { password_hash, credential_version });
  }
  return handOut(token, expires_at);
}

// --- sessions ----------------------------------------------------------------------------------

const refused = (code) => [401, { error: code }];

async function session(token) {
  const { refusal } = await users.checkSession(token);
  return refusal ? refused(refusal) : [200, { user_id: token.userId }];
}

/** Exchange a token for the next one. */
async function refresh(token) {
  const { refusal } = await users.checkSession(token);
  const following = makeToken(token.userId, token.sessionId, token.family);
  const expires_at = after(LIFETIME);
  const data = {
    session_id: token.sessionId,
    refresh_family_hash: token.familyHash,
    refresh_token_hash: token.hash,
    next_refresh_token_hash: following.hash,
    expires_at,
  };
  // the worker ends the session of a token that was used twice
  if (refusal === "RefreshTokenReused") await send("RotateRefreshToken", token.userId, data);
  if (refusal) return refused(refusal);
  return (await decide("RotateRefreshToken", token.userId, data)) ?? handOut(following, expires_at);
}

/** Send a command about the session of a token, if it may continue. */
async function endBy(command, token) {
  const { refusal } = await users.checkSession(token);
  if (refusal) return refused(refusal);
  return (await decide(command, token.userId, { session_id: token.sessionId })) ?? DONE;
}

async function listSessions(token) {
  const { user, refusal } = await users.checkSession(token);
  if (refusal) return refused(refusal);
  const listed = (await users.sessionsOf(user)).map((item) => ({
    session_id: item.session_id.S,
    current: item.session_id.S === token.sessionId,
    started_at: item.started_at?.S ?? null,
    last_used_at: item.last_used_at?.S ?? null,
    methods: item.methods?.S.split(" ") ?? [],
  }));
  return [200, { sessions: listed }];
}

/** Check session and password, before a change that a stolen session must not make. */
async function authenticate(token, password) {
  const { user, refusal } = await users.checkSession(token);
  if (refusal) return { answer: refused(refusal) };
  return (await knowsPassword(user, password)) ? { user } : { answer: WRONG };
}

// --- change and reset of the password ----------------------------------------------------------

/** Set a new password. All sessions end, so the person logs in again. */
async function changePassword(token, { password, new_password }) {
  const { user, answer } = await authenticate(token, password);
  if (!user) return answer;
  const credential_version = Number(user.credential_version.N);
  const data = { password_hash: await hashPassword(new_password), credential_version };
  return (await decide("ChangePassword", token.userId, data)) ?? DONE;
}

/**
 * Return an address as it was typed, or throw SyntaxError if it is invalid: the worker would
 * dead-letter the command.
 */
function parseAddress(text) {
  const address = text.trim();
  const [, local, domain] = /^([^\s\p{C}()<>[\]:;@\\,"]{1,64})@([^@]+)$/u.exec(address) ?? [];
  if (!local || local.split(".").includes("")) throw new SyntaxError("not an address");
  const labels = domainToASCII(domain).split(".");
  const isLabel = (label) => /^[a-z0-9-]{1,63}$/.test(label) && !/^-|-$/.test(label);
  const isHost = labels.length > 1 && labels.every(isLabel) && !/^[0-9]+$/.test(labels.at(-1));
  const length = Buffer.byteLength(`${local}@${labels.join(".")}`);
  if (!isHost || length > 254) throw new SyntaxError("not an address");
  return address;
}

/**
 * Ask for a reset mail. The answer and its time are the same for an unknown address: the command
 * names the user by address, so the service need not look for the user.
 */
async function requestReset({ email }) {
  const token_id = randomUUID();
  await send("RequestPasswordReset", undefined, {
    email: parseAddress(email),
    token_id,
    token_hash: sha256(deriveToken(token_id)),
    expires_at: after(RESET_LIFETIME),
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
  if (!UUID.test(userId) || !derived || more !== undefined) throw new SyntaxError("not a token");
  const user = await users.userById(userId);
  if (!user || user.erased?.BOOL) return TOKEN_INVALID;
  const data = { token_hash: sha256(derived), password_hash: await hashPassword(password) };
  return (await decide("ResetPassword", userId, data)) ?? DONE;
}

// --- enabling the second factor ----------------------------------------------------------------

/** Create a secret for an authenticator app. Nothing is stored yet. */
async function prepareSecondFactor(token) {
  const { user, refusal } = await users.checkSession(token);
  if (refusal) return refused(refusal);
  const made = totp.newSecret();
  const uri = totp.setupUri(made, user.email.S);
  const setup = totp.encrypt(secondFactorKey, made, token.userId);
  return [200, { secret: totp.base32(made), uri, setup }];
}

/**
 * Enable the second factor if a code shows that the app has the secret. The recovery codes are
 * returned once; only their hashes are stored.
 */
async function confirmSecondFactor(token, { setup, code, password }) {
  const typed = totp.parseCode(code);
  let secret;
  try {
    secret = totp.decrypt(secondFactorKey, setup, token.userId);
  } catch {
    throw new SyntaxError("not a setup of this user");
  }
  const { user, answer } = await authenticate(token, password);
  if (!user) return answer;
  if (totp.findStep(secret, typed) === null) return WRONG_CODE;
  const codes = totp.newRecoveryCodes();
  const data = { secret_ciphertext: setup, recovery_code_hashes: codes.map(totp.recoveryCodeHash) };
  // rejected if anything of the user has changed since the session was checked
  const unchanged = { expectedversion: Number(user.version.N) };
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
    if (!(error instanceof SyntaxError)) console.error(`error: ${error.name}`);
    [status, body] = error instanceof SyntaxError ? [400, { error: "BadRequest" }] : LATER;
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
