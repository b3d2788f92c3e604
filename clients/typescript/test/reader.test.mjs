// UserReader and LoginReader: what they refuse, and what they show.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  LoginReader,
  loginRefusal,
  RefreshToken,
  UnavailableError,
  UnreadableError,
  UserReader,
} from "@biome/users";
import { FakeUserTable } from "@biome/users/testing";
import { addressKey } from "../dist/addresses.js";
import { atRest } from "../dist/items.js";
import { WITHOUT_CREDENTIALS } from "../dist/reader.js";

const NOBODY = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77";
const COMMAND = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11";
const SOON = new Date(Date.now() + 3_600_000);
const PAST = new Date(Date.now() - 3_600_000);

function world(attributes = {}) {
  const table = new FakeUserTable();
  const ada = table.addUser("Ada@example.com", { password_hash: "$argon2id$", ...attributes });
  const token = RefreshToken.create(ada);
  table.addSession(token);
  const calls = [];
  const send = table.send;
  table.send = (command) => {
    calls.push(command.input);
    return send(command);
  };
  const login = new LoginReader({ client: table });
  const check = (given = token) =>
    login.checkToken(ada, token.sessionId, given.refreshFamilyHash, given.refreshTokenHash);
  return { table, ada, token, calls, login, check, users: new UserReader({ client: table }) };
}

test("a user is read by id and by address, in any case", async () => {
  const { login, ada } = world({ locked_until: SOON, ban: { until: PAST }, roles: ["customer"] });
  const view = await login.get(ada.toUpperCase());
  assert.deepEqual(
    [view.userId, view.email, view.passwordHash, view.roles, view.lockedUntil, view.ban],
    [ada, "Ada@example.com", "$argon2id$", ["customer"], SOON, { until: PAST }],
  );
  assert.deepEqual(await login.byEmail(" ADA@EXAMPLE.com"), view);
  assert.equal(loginRefusal(view), "UserLocked");
  assert.equal(await login.get(NOBODY), undefined);
  assert.equal(await login.byEmail("nobody@example.com"), undefined);
});

test("many users are read in calls of 100, each once", async () => {
  const { table, login, calls } = world();
  const ids = Array.from({ length: 250 }, (_, n) => table.addUser(`user${n}@example.com`));
  const found = await login.getMany([...ids, ...ids, NOBODY]);
  assert.deepEqual([...found.keys()], ids);
  assert.equal(calls.length, 3);
});

test("an address is of its present owner, and a held one has no owner", async () => {
  const { table, login, ada } = world();
  table.changeUser(ada, { email: "other@example.com" });
  assert.equal(await login.byEmail("ada@example.com"), undefined);
  table.changeUser(ada, { email: "ada@example.com" });
  table.items.get("EMAIL#ada@example.com EMAIL").held = { BOOL: true };
  assert.equal(await login.byEmail("ada@example.com"), undefined);
});

test("a session accepts its token, and the one that was just replaced", async () => {
  const { table, ada, token, check, users } = world();
  assert.equal((await check()).refusal, undefined);
  assert.equal((await users.checkSession(ada, token.sessionId)).refusal, undefined);
  assert.equal((await check(RefreshToken.create(ada))).refusal, "RefreshTokenUnknown");
  const next = token.next();
  assert.equal((await check(next)).refusal, "RefreshTokenReused");
  const item = table.items.get(`USER#${ada} SESSION#${token.sessionId}`);
  item.replaced_token_hash = { S: atRest(next.refreshTokenHash).slice(0, 32) };
  item.replaced_at = { S: new Date().toISOString() };
  assert.equal((await check(next)).refusal, undefined);
  item.replaced_at = { S: new Date(Date.now() - 10_000).toISOString() };
  assert.equal((await check(next)).refusal, "RefreshTokenReused");
});

for (const [refusal, attributes] of [
  ["UserErased", { erased: true, ban: {} }],
  ["UserBanned", { ban: {}, deactivated: true }],
  ["UserBanned", { ban: { until: SOON } }],
  ["UserDeactivated", { deactivated: true }],
  ["SessionEnded", { live_sessions: "" }],
  [undefined, { ban: { until: PAST }, locked_until: SOON }],
]) {
  test(`a session of a user with ${JSON.stringify(attributes)}: ${refusal}`, async () => {
    const { table, ada, check } = world();
    table.changeUser(ada, attributes);
    assert.equal((await check()).refusal, refusal);
  });
}

test("an unknown user or session and an expired session may not continue", async () => {
  const { ada, token, users, table } = world();
  assert.equal((await users.checkSession(NOBODY, NOBODY)).refusal, "UserNotFound");
  assert.equal((await users.checkSession(ada, NOBODY)).refusal, "SessionNotFound");
  table.addSession(token, PAST);
  assert.equal((await users.checkSession(ada, token.sessionId)).refusal, "SessionExpired");
});

test("the sessions of a user are listed, oldest first, without those that expired", async () => {
  const { table, ada, token, users } = world();
  const [second, old] = [RefreshToken.create(ada), RefreshToken.create(ada)];
  table.addSession(old, PAST);
  table.addSession(second);
  const found = await users.sessions(ada);
  assert.deepEqual(found.map((each) => each.sessionId), [token.sessionId, second.sessionId]);
  assert.deepEqual(await users.sessions(NOBODY), []);
});

test("a token alone finds its session", async () => {
  const { login, ada, token } = world();
  const check = await login.byRefreshToken(token.refreshFamilyHash, token.refreshTokenHash);
  assert.deepEqual([check.refusal, check.userId], [undefined, ada]);
  const other = RefreshToken.create(ada);
  assert.equal(await login.byRefreshToken(other.refreshFamilyHash, "0".repeat(64)), undefined);
});

test("a second factor and an outcome are read in one call each", async () => {
  const { table, login, ada, calls } = world({ last_totp_step: 7 });
  assert.equal(await login.secondFactor(ada), undefined);
  table.addSecondFactor(ada, "ciphertext");
  assert.deepEqual(await login.secondFactor(ada), {
    secretCiphertext: "ciphertext",
    lastTotpStep: 7,
  });
  assert.equal(await login.outcome(ada, COMMAND), undefined);
  table.addOutcome(ada, COMMAND, "TooManyMoons");
  assert.deepEqual(await login.outcome(ada, COMMAND), {
    commandId: COMMAND,
    code: "TooManyMoons",
    version: 1,
  });
  assert.equal(calls.length, 4);
});

test("a reader without credentials requests none", async () => {
  const { users, ada, token, calls } = world();
  await users.byEmail("ada@example.com");
  await users.sessions(ada);
  await users.checkSession(ada, token.sessionId);
  await users.outcome(ada, COMMAND);
  for (const { RequestItems } of calls) {
    const names = Object.values(RequestItems.users.ExpressionAttributeNames);
    assert.deepEqual(names, WITHOUT_CREDENTIALS);
  }
  assert.ok(!WITHOUT_CREDENTIALS.some((name) => /_hash$|hashes|secret|token/.test(name)));
});

for (const [sort, name, value] of [
  ["USER", "schema", { N: "2" }],
  ["USER", "schema", undefined],
  ["USER", "version", { S: "1" }],
  ["USER", "locked_until", { S: "tomorrow" }],
  ["USER", "ban", { S: "spam" }],
  ["SESSION", "schema", { N: "3" }],
  ["SESSION", "expires_at", { S: "never" }],
  ["SESSION", "refresh_family_hash", undefined],
]) {
  test(`a damaged ${name} of ${sort} is an error without the value`, async () => {
    const { table, ada, token, check } = world();
    const key = sort === "USER" ? "USER" : `SESSION#${token.sessionId}`;
    const item = table.items.get(`USER#${ada} ${key}`);
    if (value) item[name] = value;
    else delete item[name];
    await assert.rejects(check(), (error) => {
      assert.ok(error instanceof UnreadableError);
      assert.match(error.message, new RegExp(`item, attribute ${name}: `));
      return !/tomorrow|spam|never/.test(error.message);
    });
  });
}

test("any error of the SDK is UnavailableError, with its cause", async () => {
  const { table, login, ada, check } = world();
  const reads = [check, () => login.get(ada), () => login.byRefreshToken("0".repeat(64), "0".repeat(64))];
  for (const read of reads) {
    for (const error of [new TypeError("no object"), new RangeError("x"), new Error("ThrottlingException")]) {
      table.error = error;
      await assert.rejects(read(), (thrown) => thrown instanceof UnavailableError && thrown.cause === error);
    }
  }
});

test("keys that DynamoDB leaves unprocessed are requested again", async () => {
  const { table, login, ada } = world();
  const send = table.send;
  let left = 3;
  table.send = async (command) => {
    if (left-- > 0) return { Responses: {}, UnprocessedKeys: command.input.RequestItems };
    return send(command);
  };
  assert.equal((await login.get(ada)).userId, ada);
  left = Infinity;
  await assert.rejects(login.get(ada), UnavailableError);
});

test("an invalid id, hash or address is refused before any call", async () => {
  const { login, ada, calls } = world();
  for (const id of ["", "ada", `${ada} `, `USER#${ada}`, NOBODY.replaceAll(/\w/g, "0")]) {
    await assert.rejects(login.get(id), RangeError);
    await assert.rejects(login.checkSession(ada, id), RangeError);
    await assert.rejects(login.outcome(ada, id), RangeError);
  }
  for (const hash of ["", "0".repeat(63), "g".repeat(64)]) {
    await assert.rejects(login.checkToken(ada, ada, hash, "0".repeat(64)), RangeError);
  }
  for (const email of ["", "ada", "ada@", "@example.com", "a@b", "a b@example.com", "a..b@x.org"]) {
    await assert.rejects(login.byEmail(email), RangeError);
  }
  assert.equal(calls.length, 0);
});

test("each spelling of an address has one key", () => {
  for (const [text, key] of [
    [" ADA@STRAßE.example", "ada@xn--strae-oqa.example"],
    ["Ada@xn--strae-oqa.EXAMPLE", "ada@xn--strae-oqa.example"],
    ["zoe\u0308@example.com", "zoë@example.com"],
    ["ada@例え。jp", "ada@xn--r8jz45g.jp"],
  ]) {
    assert.equal(addressKey(text), key);
  }
});
