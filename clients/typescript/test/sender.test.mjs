// UserCommands: no id is lost, whatever SQS does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readFile, readdir } from "node:fs/promises";
import { SQSClient } from "@aws-sdk/client-sqs";
import { InvalidCommandError, NotSentError, request, UserCommands, UsersError } from "@biome/users";
import { CONTRACTS } from "../dist/commands.js";
import { message } from "../dist/sender.js";

const USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77";
const QUEUE = "http://sqs/1/commands";

/** A client that accepts every entry, unless `refusals` or `errors` say otherwise. */
class FakeSqs extends SQSClient {
  calls = [];
  accepted = [];
  refusals = [];
  errors = [];
  lookups = 0;

  constructor() {
    super({ region: "eu-west-1", credentials: { accessKeyId: "a", secretAccessKey: "b" } });
  }

  async send({ constructor, input }, options = {}) {
    options.abortSignal?.throwIfAborted();
    if (constructor.name === "GetQueueUrlCommand") {
      this.lookups++;
      const error = this.errors.shift();
      if (error) throw error;
      return { QueueUrl: `http://sqs/1/${input.QueueName}` };
    }
    this.calls.push(input.Entries);
    const error = this.errors.shift();
    if (error) throw error;
    const refusals = this.refusals.shift() ?? {};
    const done = input.Entries.filter(({ Id }) => !(Id in refusals));
    this.accepted.push(...done);
    const rows = Object.entries(refusals).filter(([, row]) => row !== null);
    return {
      Successful: done.map(({ Id }) => ({ Id, MessageId: "m", MD5OfMessageBody: "" })),
      Failed: rows.map(([Id, row]) => ({ Id, ...row })),
    };
  }
}

const setUp = (queue = QUEUE, options = {}) => {
  const sqs = new FakeSqs();
  return { sqs, users: new UserCommands({ queue, source: "/test", client: sqs, ...options }) };
};
const bans = (count) =>
  Array.from({ length: count }, () => request("BanUser", { reason: "spam" }, { userId: USER }));
const ids = (requests) => requests.map((each) => each.envelope.commandId);
const bodies = (sqs) => sqs.accepted.map((entry) => JSON.parse(entry.MessageBody));
const named = (name) => Object.assign(new Error(name), { name });

test("a command is sent as a CloudEvent", async () => {
  const { sqs, users } = setUp();
  const id = await users.send("BanUser", { reason: "spam", until: null }, {
    userId: USER,
    time: new Date("2026-11-30T12:00:00.123+01:00"),
    expiresAt: new Date("2026-12-01T00:00:00Z"),
    expectedVersion: 7,
    correlationId: "order-4711",
    actor: "support/7",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate: "vendor=1",
  });
  assert.deepEqual(bodies(sqs), [
    {
      specversion: "1.0",
      id,
      source: "/test",
      type: "biome.user.BanUser.v1",
      subject: USER,
      time: "2026-11-30T11:00:00.123Z",
      datacontenttype: "application/json",
      expirytime: "2026-12-01T00:00:00.000Z",
      expectedversion: 7,
      correlationid: "order-4711",
      actor: "support/7",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      tracestate: "vendor=1",
      data: { reason: "spam" },
    },
  ]);
});

test("many commands take a call for ten, in order", async () => {
  const { sqs, users } = setUp();
  const requests = bans(25);
  assert.deepEqual(await users.sendMany(requests), ids(requests));
  assert.deepEqual(sqs.calls.map((call) => call.length), [10, 10, 5]);
  assert.deepEqual(bodies(sqs).map(({ id }) => id), ids(requests));
});

test("large commands take more calls", async () => {
  const { sqs, users } = setUp();
  const large = () =>
    request("BanUser", { reason: "x" }, { userId: USER, traceparent: "x".repeat(100_000) });
  await users.sendMany(Array.from({ length: 5 }, large));
  assert.deepEqual(sqs.calls.map((call) => call.length), [2, 2, 1]);
});

test("the queue is looked up once, and an error is not remembered", async () => {
  const { sqs, users } = setUp("user-commands");
  sqs.errors = [named("CredentialsProviderError")];
  await assert.rejects(users.sendMany(bans(1)), NotSentError);
  await Promise.all([users.sendMany(bans(1)), users.sendMany(bans(1))]);
  assert.equal(sqs.lookups, 2);
});

test("on a FIFO queue a user's commands are in one group and in calls of their own", async () => {
  const { sqs, users } = setUp(`${QUEUE}.fifo`);
  await users.sendMany([...bans(2), request("UnbanUser", {}, { userId: USER.replace("5", "6") })]);
  assert.deepEqual(sqs.calls.map((call) => call.length), [1, 2]);
  assert.equal(sqs.accepted[0].MessageGroupId, USER);
  assert.equal(new Set(sqs.accepted.map((entry) => entry.MessageDeduplicationId)).size, 3);
});

test("the group of an address does not contain it", async () => {
  const { sqs, users } = setUp(`${QUEUE}.fifo`);
  const token = { token_id: USER, token_hash: "1".repeat(64), expires_at: "2026-12-24T18:00:00Z" };
  for (const email of ["Ada@Example.com", " ada@example.COM"]) {
    await users.send("RequestPasswordReset", { email, ...token });
  }
  const groups = new Set(sqs.accepted.map((entry) => entry.MessageGroupId));
  assert.equal(groups.size, 1);
  assert.doesNotMatch([...groups][0], /ada/);
});

test("a registration without a user is in the group of the user that it creates", async () => {
  const { sqs, users } = setUp(`${QUEUE}.fifo`);
  const commandId = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11";
  const ada = { email: "a@example.com", first_name: "A", roles: ["customer"] };
  await users.send("CreateUser", ada, { commandId });
  assert.equal(sqs.accepted[0].MessageGroupId, "7642c4c5-062b-59e6-9b59-7f849c18442c");
});

test("a tenant is the group on a standard queue", async () => {
  const { sqs, users } = setUp(QUEUE, { fairGroup: "a" });
  await users.send("UnbanUser", {}, { userId: USER });
  await users.send("UnbanUser", {}, { userId: USER, fairGroup: "b" });
  assert.deepEqual(sqs.accepted.map((entry) => entry.MessageGroupId), ["a", "b"]);
});

test("refused entries are sent again until they are accepted", async () => {
  const { sqs, users } = setUp();
  const refused = { Code: "InternalError", SenderFault: false };
  sqs.refusals = [{ 1: refused, 3: null }, { 3: refused }];
  const requests = bans(5);
  assert.deepEqual(await users.sendMany(requests), ids(requests));
  const sent = sqs.calls.map((call) => call.map(({ Id }) => Id));
  assert.deepEqual(sent, [["0", "1", "2", "3", "4"], ["1", "3"], ["3"]]);
});

for (const [row, code, calls] of [
  [{ Code: "Invalid", SenderFault: true }, "Invalid", 2],
  [{ Code: "InternalError", SenderFault: false }, "InternalError", 5],
  [null, "NoAnswer", 5],
]) {
  test(`an entry that stays refused ends the sending: ${code}`, async () => {
    const { sqs, users } = setUp();
    const requests = bans(22);
    sqs.refusals = [{}, ...Array.from({ length: 4 }, () => ({ 12: row }))];
    const error = await users.sendMany(requests).catch((thrown) => thrown);
    assert.ok(error instanceof NotSentError && error instanceof UsersError);
    assert.equal(error.code, code);
    assert.equal(sqs.calls.length, calls);
    assert.deepEqual(error.unsent, [requests[12], ...requests.slice(20)]);
    assert.equal(error.sent.length, 19);
    sqs.refusals = [];
    await users.sendMany(error.unsent);
    assert.deepEqual(bodies(sqs).map(({ id }) => id).sort(), ids(requests).sort());
  });
}

for (const thrown of [
  named("RequestThrottled"),
  named("ExpiredTokenException"),
  named("TimeoutError"),
  new TypeError("fetch failed"),
  Object.assign(new Error("cut"), { code: "ECONNRESET" }),
  "a string",
]) {
  test(`any error of the SDK keeps the ids: ${thrown.name ?? thrown}`, async () => {
    const { sqs, users } = setUp();
    sqs.errors = [undefined, thrown];
    const requests = bans(15);
    const error = await users.sendMany(requests).catch((found) => found);
    assert.ok(error instanceof NotSentError);
    assert.equal(error.cause, thrown);
    assert.deepEqual(error.sent, ids(requests).slice(0, 10));
    assert.deepEqual(error.unsent, requests.slice(10));
  });
}

test("an abort keeps the ids", async () => {
  const { users } = setUp();
  const requests = bans(3);
  const options = { abortSignal: AbortSignal.abort() };
  const error = await users.sendMany(requests, options).catch((thrown) => thrown);
  assert.ok(error instanceof NotSentError);
  assert.deepEqual(error.unsent, requests);
});

for (const [envelope, problem] of [
  [{ userId: "42" }, /userId/],
  [{}, /userId is required/],
  [{ userId: USER, commandId: "x" }, /commandId/],
  [{ userId: USER, expectedVersion: -1 }, /expectedVersion/],
  [{ userId: USER, actor: "ada@example.com" }, /actor/],
  [{ userId: USER, correlationId: "" }, /correlationId/],
  [{ userId: USER, time: new Date(Number.NaN) }, /time/],
  [{ userId: USER, traceparent: "\ud800" }, /Unicode/],
  [{ userId: USER, traceparent: "x".repeat(300_000) }, /larger/],
]) {
  test(`an invalid envelope is refused before anything is sent: ${problem}`, async () => {
    const { sqs, users } = setUp();
    const valid = bans(1);
    const wrong = request("BanUser", { reason: "spam" }, envelope);
    const error = await users.sendMany([...valid, wrong]).catch((thrown) => thrown);
    assert.ok(error instanceof InvalidCommandError, String(error));
    assert.match(error.message, problem);
    assert.equal(sqs.calls.length, 0);
  });
}

test("every command is rendered as in its contract's example", async () => {
  const folder = new URL("../../../contracts/commands/", import.meta.url);
  for (const file of (await readdir(folder)).filter((each) => each.endsWith(".json"))) {
    const schema = JSON.parse(await readFile(new URL(file, folder), "utf8"));
    const name = file.split(".")[0];
    for (const example of schema.examples) {
      const { subject: userId, id: commandId } = example;
      const rendered = message(request(name, example.data, { userId, commandId }), example.source);
      assert.equal(rendered.type, example.type);
      assert.deepEqual(rendered.data, example.data);
      assert.equal(rendered.subject, userId);
    }
    assert.equal(CONTRACTS[name].type, schema.title);
  }
});
