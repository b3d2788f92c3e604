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
import { parseArgs } from "node:util";
import {
  findTotpStep,
  InvalidCommandError,
  LoginFlow,
  LoginReader,
  MailedTokens,
  newRecoveryCodes,
  newTotpSecret,
  NoAnswerError,
  recoveryCodeHash,
  RefreshToken,
  RefusedError,
  SessionRefusedError,
  setupUri,
  tokenHash,
  UserCommands,
} from "@biome/users";
import { hashPassword, verifyPassword } from "./passwords.mjs";
import { decrypt, encrypt } from "./second_factor.mjs";

const RESET_LIFETIME = 3_600_000; // ms

const DONE = [200, {}];
const WRONG = [401, { error: "WrongEmailOrPassword" }];
const WRONG_CODE = [401, { error: "WrongCode" }];
const TOKEN_INVALID = [401, { error: "TokenInvalid" }];
const LATER = [503, { error: "TryAgain" }];
/** The answer by the code; after any other code, trying again may help. */
const REJECTIONS = {
  WrongEmailOrPassword: WRONG,
  CredentialStale: WRONG, // access has ended since the password was read
  UserLocked: WRONG,
  UserErased: WRONG,
  UserBanned: [403, { error: "UserBanned" }],
  UserDeactivated: [403, { error: "UserDeactivated" }],
  SecondFactorRequired: [401, { error: "SecondFactorRequired" }],
  WrongCode: WRONG_CODE,
  SecondFactorReplayed: WRONG_CODE,
  CodeInvalid: WRONG_CODE,
  TwoFactorAlreadyEnabled: [409, { error: "TwoFactorAlreadyEnabled" }],
  TokenInvalid: TOKEN_INVALID,
  TokenExpired: TOKEN_INVALID,
  SessionNotFound: [401, { error: "SessionNotFound" }],
  SessionExpired: [401, { error: "SessionExpired" }],
  RefreshTokenReused: [401, { error: "RefreshTokenReused" }],
};

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
const commands = new UserCommands({ source: "/login" });
const users = new LoginReader();
/** The steps of a login. */
const flow = new LoginFlow({
  users,
  commands,
  passwords: { hash: hashPassword, verify: verifyPassword },
  decrypt: (ciphertext, userId) => decrypt(secondFactorKey, ciphertext, userId),
});

/** Read the refresh token of a request; throw SyntaxError if it has no valid one. */
function tokenOf({ headers: { authorization = "" } }) {
  const token = RefreshToken.parse(authorization.replace(/^Bearer /, ""));
  if (!token) throw new SyntaxError("not a token");
  return token;
}

const handOut = ({ token, expiresAt }) => [
  200,
  { refresh_token: token.text(), expires_at: expiresAt.toISOString() },
];

// --- sessions ----------------------------------------------------------------------------------

/** Send a command about the session of a token, if it may continue. */
async function endBy(command, token) {
  await flow.check(token);
  await flow.decide(command, { session_id: token.sessionId }, { userId: token.userId });
  return DONE;
}

async function listSessions(token) {
  await flow.check(token);
  const sessions = (await users.sessions(token.userId)).map((each) => ({
    session_id: each.sessionId,
    current: each.sessionId === token.sessionId,
    started_at: each.startedAt?.toISOString() ?? null,
    last_used_at: each.lastUsedAt?.toISOString() ?? null,
    methods: each.methods,
  }));
  return [200, { sessions }];
}

// --- change and reset of the password ----------------------------------------------------------

/** Set a new password. All sessions end, so the person logs in again. */
async function changePassword(token, { password, new_password }) {
  const { userId, credentialVersion } = await flow.authenticate(token, password);
  const password_hash = await hashPassword(new_password);
  const data = { password_hash, credential_version: credentialVersion };
  await flow.decide("ChangePassword", data, { userId });
  return DONE;
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
    expires_at: new Date(Date.now() + RESET_LIFETIME).toISOString(),
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
  await flow.decide("ResetPassword", data, { userId });
  return DONE;
}

// --- enabling the second factor ----------------------------------------------------------------

/** Create a secret for an authenticator app. Nothing is stored yet. */
async function prepareSecondFactor(token) {
  const user = await flow.check(token);
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
  if (!/^[0-9]{6}$/.test(code.replaceAll(/\s/g, ""))) throw new SyntaxError("not a code");
  let secret;
  try {
    secret = decrypt(secondFactorKey, setup, token.userId);
  } catch {
    throw new SyntaxError("not a setup of this user");
  }
  const { userId, version } = await flow.authenticate(token, password);
  if (findTotpStep(secret, code) === undefined) return WRONG_CODE;
  const codes = newRecoveryCodes();
  const data = { secret_ciphertext: setup, recovery_code_hashes: codes.map(recoveryCodeHash) };
  // rejected if anything of the user has changed since the session was checked
  await flow.decide("EnableTwoFactor", data, { userId, expectedVersion: version });
  return [200, { recovery_codes: codes }];
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
  "POST /login": async (request) => {
    const fields = await fieldsOf(request, ["email", "password"], ["code", "recovery_code"]);
    const { email, password, code, recovery_code: recoveryCode } = fields;
    return handOut(await flow.logIn(email, password, { code, recoveryCode }));
  },
  "GET /session": async (request) => [200, { user_id: (await flow.check(tokenOf(request))).userId }],
  "POST /refresh": async (request) => handOut(await flow.refresh(tokenOf(request))),
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

/** Return the answer to an error: it never admits a person, and shows no cause. */
function refusal(error) {
  if (error instanceof SessionRefusedError) return [401, { error: error.code }];
  if (error instanceof RefusedError) return REJECTIONS[error.code] ?? LATER;
  if (error instanceof NoAnswerError) return LATER;
  const invalid = [SyntaxError, RangeError, InvalidCommandError].some((e) => error instanceof e);
  if (invalid) return [400, { error: "BadRequest" }];
  console.error(`error: ${error.name}`);
  return LATER;
}

async function answer(request, response) {
  const route = routes[`${request.method} ${request.url}`] ?? (() => [404, { error: "NotFound" }]);
  const [status, body] = await (async () => route(request))().catch(refusal);
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
