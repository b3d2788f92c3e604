// parseEvent, the inbox, tokens, the second factor and the fakes.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import {
  findTotpStep,
  Inbox,
  InvalidCommandError,
  InvalidEventError,
  MailedTokens,
  MemoryInboxStore,
  newRecoveryCodes,
  newTotpSecret,
  parseEvent,
  recoveryCodeHash,
  RefreshToken,
  setupUri,
  totpCode,
} from "@biome/users";
import { FakeUserCommands, sampleBody, sampleEvent } from "@biome/users/testing";
import { EVENT_TYPES } from "../dist/event-types.js";

const USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77";
const TOKEN_ID = "7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01";

test("every event is read raw and in a notification", () => {
  for (const type of EVENT_TYPES) {
    const body = sampleBody(type);
    const event = parseEvent(body);
    assert.equal(event.type, type);
    assert.equal(event.known, true);
    const notification = JSON.stringify({ TopicArn: "arn", Message: body });
    assert.deepEqual(parseEvent(notification), event);
  }
});

test("an unknown type is an event with its fields", () => {
  const raw = { ...JSON.parse(sampleBody("biome.user.UserBanned.v1")), type: "biome.user.New.v3" };
  const event = parseEvent(JSON.stringify(raw));
  assert.equal(event.known, false);
  assert.deepEqual(event.data, raw.data);
});

for (const body of [
  "",
  "{",
  "null",
  "[]",
  '"text"',
  '{"source": "urn:other"}',
  '{"source": "urn:biome:user-worker"}',
  '{"source": "urn:biome:user-worker", "type": 1, "data": {}}',
  '{"source": "urn:biome:user-worker", "type": "t", "data": []}',
  '{"TopicArn": "arn"}',
  '{"TopicArn": "arn", "Message": "{"}',
]) {
  test(`anything else is not an event: ${body}`, () => {
    assert.throws(() => parseEvent(body), InvalidEventError);
  });
}

const event = (sequence, userId = USER, type = "biome.user.ProfileUpdated.v1") =>
  ({ ...sampleEvent(type, { userId, sequence }), id: randomUUID() });
const shuffled = (items) => {
  const rest = [...items];
  return items.map(() => rest.splice(Math.floor(Math.random() * rest.length), 1)[0]);
};

test("in any order and with repetitions each event is processed once, in order", async () => {
  for (let round = 0; round < 200; round++) {
    const users = [randomUUID(), randomUUID()];
    const events = users.flatMap((user) => [1, 2, 3, 4, 5].map((place) => event(place, user)));
    const inbox = new Inbox(new MemoryInboxStore());
    const processed = [];
    for (const each of shuffled([...events, ...events])) {
      processed.push(...(await inbox.take(each)));
    }
    for (const user of users) {
      const mine = processed.filter(({ userId }) => userId === user);
      assert.deepEqual(mine.map(({ sequence }) => sequence), [1, 2, 3, 4, 5]);
    }
  }
});

test("a missing event is a gap after a while and can be skipped", async () => {
  const inbox = new Inbox(new MemoryInboxStore(), 60);
  assert.equal((await inbox.take(event(1), 0)).length, 1);
  assert.deepEqual(await inbox.take(event(3), 10), []);
  assert.deepEqual([await inbox.gaps(69), await inbox.gaps(70)], [[], [USER]]);
  assert.deepEqual((await inbox.skipTo(USER, 2)).map(({ sequence }) => sequence), [3]);
  assert.deepEqual(await inbox.gaps(1e9), []);
});

test("an erasure overtakes all events before it", async () => {
  const inbox = new Inbox(new MemoryInboxStore());
  const erased = event(4, USER, "biome.user.UserErased.v1");
  assert.deepEqual(await inbox.take(event(3), 0), []);
  assert.deepEqual(await inbox.take(erased, 0), [erased]);
  assert.deepEqual(await inbox.take(event(1), 0), []);
  assert.deepEqual(await inbox.gaps(1e9), []);
});

test("ids are deleted when no repetition can arrive", async () => {
  const inbox = new Inbox(new MemoryInboxStore());
  const answer = sampleEvent("biome.user.CommandRejected.v1");
  assert.deepEqual([await inbox.take(answer, 0), await inbox.take(answer, 0)], [[answer], []]);
  await inbox.prune(16 * 86_400_000);
  assert.deepEqual(await inbox.take(answer, 0), [answer]);
});

test("the tokens are those of the Python client", () => {
  const tokens = new MailedTokens(Buffer.alloc(32, "k"));
  // biome_users: MailedTokens(b"k" * 32).token("reset", TOKEN_ID)
  const expected = "a382fed19757c398ee3d0841c18b10b8b763b3cbee05eb1d2d53620582b6ed22";
  assert.equal(tokens.token("reset", TOKEN_ID), expected);
  assert.notEqual(tokens.token("reset", TOKEN_ID), tokens.token("verify", TOKEN_ID));
  assert.equal(tokens.token("reset", TOKEN_ID), tokens.token("reset", TOKEN_ID.toUpperCase()));
  assert.throws(() => new MailedTokens(Buffer.alloc(31)), RangeError);
  assert.throws(() => tokens.token("reset\n", TOKEN_ID), RangeError);
});

test("a refresh token survives its text and changes one part", () => {
  const token = RefreshToken.create(USER);
  const read = RefreshToken.parse(token.text());
  assert.equal(read.text(), token.text());
  const following = token.next();
  assert.equal(following.refreshFamilyHash, token.refreshFamilyHash);
  assert.notEqual(following.refreshTokenHash, token.refreshTokenHash);
  assert.ok(!JSON.stringify(token).includes(token.text().split(".")[3]));
  for (const text of ["", "a.b.c.d", `${token.text()}x`, `${token.text()}\n`]) {
    assert.equal(RefreshToken.parse(text), undefined);
  }
});

test("one-time passwords are those of RFC 6238, appendix B", () => {
  const secret = Buffer.from("12345678901234567890");
  const codes = [[59, "287082"], [1111111109, "081804"], [1234567890, "005924"], [2e10, "353130"]];
  for (const [now, code] of codes) {
    const step = Math.floor(now / 30);
    assert.equal(totpCode(secret, step), code);
    assert.equal(findTotpStep(secret, ` ${code} `, -1, now * 1000), step);
    assert.equal(findTotpStep(secret, code, step, now * 1000), undefined);
  }
  assert.equal(findTotpStep(secret, "28708", -1, 59_000), undefined);
  assert.equal(newTotpSecret().length, 20);
  const uri = setupUri(secret, "ada@example.com", "Biome & Co");
  assert.match(uri, /^otpauth:\/\/totp\/Biome%20%26%20Co%3Aada%40example\.com\?secret=[A-Z2-7]{32}&/);
});

test("recovery codes are recognised in any case and grouping", () => {
  for (const code of newRecoveryCodes()) {
    assert.equal(recoveryCodeHash(` ${code.toUpperCase().replaceAll("-", " ")}`), recoveryCodeHash(code));
  }
  for (const code of ["", "abcd", "abcd-efgh-ijkl-mno1"]) assert.equal(recoveryCodeHash(code), undefined);
});

test("the fake checks and keeps commands, and fails once if the test says so", async () => {
  const users = new FakeUserCommands();
  const id = await users.send("UnbanUser", {}, { userId: USER });
  assert.deepEqual(users.sent.map((each) => [each.name, each.envelope.commandId]), [["UnbanUser", id]]);
  await assert.rejects(users.send("UnbanUser", {}), InvalidCommandError);
  users.error = new Error("down");
  await assert.rejects(users.send("UnbanUser", {}, { userId: USER }), /down/);
  await users.send("UnbanUser", {}, { userId: USER });
  assert.equal(users.sent.length, 2);
});
