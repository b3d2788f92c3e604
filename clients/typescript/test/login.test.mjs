// LoginFlow: the order of the steps, what a person learns, and what the worker is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  LoginFlow,
  LoginReader,
  NoAnswerError,
  newRecoveryCodes,
  RefreshToken,
  RefusedError,
  recoveryCodeHash,
  SessionRefusedError,
  totpCode,
  UnavailableError,
} from "@biome/users";
import { FakeUserCommands, FakeUserTable } from "@biome/users/testing";

const EMAIL = "ada@example.com";
const RIGHT = "the password";
const HASH = "$argon2id$of the password";
const SOON = new Date(Date.now() + 3_600_000);

/** A table with a user who has a session, and a worker that decides each command at once. */
function world(attributes = {}, options = {}) {
  const table = new FakeUserTable();
  const commands = new FakeUserCommands();
  const known = { password_hash: HASH, credential_version: 3, ...attributes };
  const ada = table.addUser(EMAIL, known);
  const token = RefreshToken.create(ada);
  table.addSession(token);
  const here = { table, commands, ada, token, checked: [], code: undefined, silent: false };
  const send = commands.sendMany;
  commands.sendMany = async (requests) => {
    const ids = await send.call(commands, requests);
    if (!here.silent) for (const id of ids) table.addOutcome(ada, id, here.code);
    return ids;
  };
  const passwords = {
    hash: async () => HASH,
    verify: async (hash, password) => {
      here.checked.push(hash);
      return hash === HASH && password === RIGHT;
    },
  };
  const users = new LoginReader({ client: table });
  const decrypt = (ciphertext) => Buffer.from(ciphertext);
  const limits = { timeout: 100, wrongAfter: 0, ...options };
  here.users = users;
  here.flow = new LoginFlow({ users, commands, passwords, decrypt, ...limits });
  here.sent = () => commands.sent.map(({ name }) => name);
  return here;
}

const refused = (promise, code, kind = RefusedError) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof kind, String(error));
    assert.equal(error.code, code);
    return true;
  });

test("a login starts a session with the hashes of its token", async () => {
  const { flow, commands, ada } = world();
  const { token, expiresAt } = await flow.logIn(EMAIL, RIGHT);
  const [{ name, data, envelope }] = commands.sent;
  assert.equal(name, "StartSession");
  assert.deepEqual(data, {
    ...token.fields(),
    expires_at: expiresAt.toISOString(),
    credential_version: 3,
    methods: ["pwd"],
  });
  assert.equal(envelope.userId, ada);
  assert.ok(envelope.expiresAt < expiresAt); // a login that waits for an hour must not start one
});

for (const [who, attributes, right, wrong] of [
  ["known", {}, undefined, ["RecordLoginFailure"]],
  ["locked", { locked_until: SOON }, "WrongEmailOrPassword", []],
  ["banned", { ban: { reason: "spam" } }, "UserBanned", ["RecordLoginFailure"]],
  ["deactivated", { deactivated: true }, "UserDeactivated", ["RecordLoginFailure"]],
  ["without a password", { password_hash: undefined }, "WrongEmailOrPassword", ["RecordLoginFailure"]],
]) {
  test(`a user who is ${who} gets the answer of the rules, after one check of a hash`, async () => {
    const here = world(attributes);
    await refused(here.flow.logIn(EMAIL, "wrong"), "WrongEmailOrPassword");
    assert.deepEqual(here.sent(), wrong);
    const login = here.flow.logIn(EMAIL, RIGHT);
    if (right) await refused(login, right);
    else await login;
    assert.equal(here.checked.length, 2);
  });
}

for (const email of ["nobody@example.com", "not an address"]) {
  test(`an address that no user has gets the same answer: ${email}`, async () => {
    const here = world();
    await refused(here.flow.logIn(email, RIGHT), "WrongEmailOrPassword");
    assert.deepEqual([here.checked, here.sent()], [[undefined], []]);
  });
}

for (const [code, shown] of [
  ["CredentialStale", "WrongEmailOrPassword"],
  ["UserLocked", "WrongEmailOrPassword"],
  ["SecondFactorReplayed", "WrongCode"],
  ["CodeInvalid", "WrongCode"],
  ["UserBanned", "UserBanned"],
  ["SomethingNew", "SomethingNew"],
]) {
  test(`the worker's ${code} is shown as ${shown}`, async () => {
    const here = world();
    here.code = code;
    await refused(here.flow.logIn(EMAIL, RIGHT), shown);
  });
}

test("a second factor is required, checked, and used once", async () => {
  const here = world({ last_totp_step: 7 });
  here.table.addSecondFactor(here.ada, "secret");
  await refused(here.flow.logIn(EMAIL, RIGHT), "SecondFactorRequired");
  await refused(here.flow.logIn(EMAIL, RIGHT, { code: totpCode(Buffer.from("secret"), 7) }), "WrongCode");
  assert.deepEqual(here.commands.sent.map(({ data }) => data), [{ stage: "second_factor" }]);
  const step = Math.floor(Date.now() / 30_000);
  await here.flow.logIn(EMAIL, RIGHT, { code: totpCode(Buffer.from("secret"), step) });
  const { data } = here.commands.sent.at(-1);
  assert.deepEqual([data.totp_step, data.methods], [step, ["pwd", "otp"]]);
  const [recoveryCode] = newRecoveryCodes();
  await here.flow.logIn(EMAIL, RIGHT, { recoveryCode });
  assert.equal(here.commands.sent.at(-1).data.recovery_code_hash, recoveryCodeHash(recoveryCode));
});

for (const typed of [{ code: "12345" }, { code: "" }, { recoveryCode: "x" }]) {
  test(`what cannot be a code is an error of the request: ${JSON.stringify(typed)}`, async () => {
    const here = world();
    await assert.rejects(here.flow.logIn(EMAIL, "wrong", typed), RangeError);
    assert.deepEqual([here.checked, here.sent()], [[], []]);
  });
}

test("the hash of another system is replaced after the login", async () => {
  const here = world({ password_hash_legacy: true });
  await here.flow.logIn(EMAIL, RIGHT);
  assert.deepEqual(here.sent(), ["StartSession", "UpgradePasswordHash"]);
});

test("a token is exchanged for the next one of the same session", async () => {
  const here = world();
  const { token } = await here.flow.refresh(here.token);
  const [{ name, data }] = here.commands.sent;
  assert.equal(name, "RotateRefreshToken");
  assert.equal(data.next_refresh_token_hash, token.refreshTokenHash);
  assert.equal(token.refreshFamilyHash, here.token.refreshFamilyHash);
});

test("a reused token is reported to the worker and refused", async () => {
  const here = world();
  await refused(here.flow.refresh(here.token.next()), "RefreshTokenReused", SessionRefusedError);
  assert.deepEqual(here.sent(), ["RotateRefreshToken"]);
});

for (const code of ["RefreshTokenReused", "SessionNotFound", "UserBanned"]) {
  test(`a session that ends during a refresh is refused as a session: ${code}`, async () => {
    const here = world();
    here.code = code;
    await refused(here.flow.refresh(here.token), code, SessionRefusedError);
  });
}

test("a failed read does not end the wait for an outcome", async () => {
  const here = world();
  const outcome = here.users.outcome;
  let failures = 1;
  here.users.outcome = async (...key) => {
    if (failures-- > 0) throw new UnavailableError("throttled");
    return outcome.apply(here.users, key);
  };
  await here.flow.refresh(here.token);
  assert.ok(failures < 0);
});

test("an option that is undefined has its default", async () => {
  const here = world({}, { timeout: undefined, wrongAfter: undefined });
  const start = performance.now();
  await refused(here.flow.logIn(EMAIL, "another"), "WrongEmailOrPassword");
  assert.ok(performance.now() - start >= 295); // the default is 300 ms
  await here.flow.refresh(here.token); // with a timeout of 0, it would throw NoAnswerError
});

test("a session that may not continue is refused without a command", async () => {
  const here = world({ ban: { reason: "spam" } });
  const { flow, token } = here;
  for (const action of [flow.check(token), flow.refresh(token), flow.authenticate(token, RIGHT)]) {
    await refused(action, "UserBanned", SessionRefusedError);
  }
  assert.deepEqual(here.sent(), []);
});

test("a stolen session does not replace the password", async () => {
  const here = world();
  assert.equal((await here.flow.authenticate(here.token, RIGHT)).userId, here.ada);
  await refused(here.flow.authenticate(here.token, "wrong"), "WrongEmailOrPassword");
  assert.deepEqual(here.sent(), ["RecordLoginFailure"]);
});

test("a command without an outcome is an error, and not a refusal", async () => {
  const here = world();
  here.silent = true;
  const revoke = () =>
    here.flow.decide("RevokeSession", { session_id: here.token.sessionId }, { userId: here.ada });
  await assert.rejects(revoke(), NoAnswerError);
  here.silent = false;
  here.code = "SessionNotFound";
  await refused(revoke(), "SessionNotFound");
});
