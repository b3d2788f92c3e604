// OutcomeListener: no error ends the listening, and what is lost is created again.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { SNSClient } from "@aws-sdk/client-sns";
import { SQSClient } from "@aws-sdk/client-sqs";
import {
  NoAnswerError,
  NotListeningError,
  NotSubscribedError,
  OutcomeListener,
  UsersError,
} from "@biome/users";
import { readAnswer } from "../dist/answers.js";
import { timing } from "../dist/outcomes.js";

const COMMAND = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11";
const OTHER = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b12";
const USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77";
const TOPIC = "arn:aws:sns:eu-west-1:42:user-events";
const REAL = { ...timing };
const settings = { region: "eu-west-1", credentials: { accessKeyId: "a", secretAccessKey: "b" } };
const named = (name) => Object.assign(new Error(name), { name });
const missing = () => named("QueueDoesNotExist");

const event = (name = "UserBanned", command = COMMAND, data = {}) =>
  JSON.stringify({
    id: `${name} of ${command}`,
    type: `biome.user.${name}.v1`,
    subject: USER,
    sequence: "00000000000000000007",
    causationid: command,
    data,
  });

/** Queues, and one stream of bodies and errors that is received from whichever exists. */
class FakeSqs extends SQSClient {
  coming = [];
  silence = 20;
  deleted = [];
  calls = [];
  policies = new Map();
  url = "http://sqs/mine";

  constructor() {
    super(settings);
  }

  async send({ constructor, input }, { abortSignal } = {}) {
    const name = constructor.name.replace("Command", "");
    if (name !== "ReceiveMessage") this.calls.push(name);
    return this[name](input, abortSignal);
  }

  GetQueueUrl() {
    return { QueueUrl: this.url };
  }

  CreateQueue({ QueueName, Attributes }) {
    this.created = Attributes;
    this.policies.set(`http://sqs/${QueueName}`, Attributes.Policy);
    return { QueueUrl: `http://sqs/${QueueName}` };
  }

  GetQueueAttributes({ QueueUrl }) {
    if (!this.policies.has(QueueUrl)) throw missing();
    const QueueArn = `arn:aws:sqs:eu-west-1:42:${QueueUrl.slice(11)}`;
    return { Attributes: { QueueArn, Policy: this.policies.get(QueueUrl) } };
  }

  async ReceiveMessage({ QueueUrl }, abortSignal) {
    if (!QueueUrl.endsWith("mine") && !this.policies.has(QueueUrl)) throw missing();
    this.polled = true;
    const until = performance.now() + this.silence;
    while (this.coming.length === 0 && performance.now() < until) {
      await pause(1, undefined, { signal: abortSignal });
    }
    const [next] = this.coming.splice(0, 1);
    if (next instanceof Error) throw next;
    if (typeof next !== "string") return next ?? {};
    return { Messages: [{ Body: next, ReceiptHandle: next }] };
  }

  DeleteMessageBatch({ Entries }) {
    if (this.deleteFails) throw this.deleteFails;
    this.deleted.push(...Entries.map((each) => each.ReceiptHandle));
    return {};
  }

  DeleteQueue({ QueueUrl }) {
    this.policies.delete(QueueUrl);
    return {};
  }
}

/** A topic with subscriptions, which throws an error if configured. */
class FakeSns extends SNSClient {
  arns = new Map();
  subscribed = [];

  constructor() {
    super(settings);
  }

  async send({ constructor, input }) {
    if (constructor.name === "UnsubscribeCommand") {
      for (const [queue, arn] of this.arns) {
        if (arn === input.SubscriptionArn) this.arns.delete(queue);
      }
      return {};
    }
    if (this.fails) throw this.fails;
    this.subscribed.push(input);
    if (this.pending) return { SubscriptionArn: "pending confirmation" };
    const arn = this.arns.get(input.Endpoint) ?? `${TOPIC}:${this.subscribed.length}`;
    this.arns.set(input.Endpoint, arn);
    return { SubscriptionArn: arn };
  }
}

beforeEach(() => {
  Object.assign(timing, { usableAfter: 0, longestPause: 20, checkLeast: 30, shortPoll: 0 });
});
afterEach(() => Object.assign(timing, REAL));

/** Run a test with a listener, to a given queue or to one of its own. */
async function listening(options, run) {
  const [sqs, sns] = [new FakeSqs(), new FakeSns()];
  const listener = new OutcomeListener({ source: "/signup/3", sqs, sns, ...options });
  await listener.start();
  try {
    await run({ listener, sqs, sns });
  } finally {
    await listener.close();
  }
}
const given = { queue: "mine" };
const answered = (listener, id = COMMAND) => listener.answer(id, { timeout: 5_000 });

async function until(look) {
  for (let n = 0; !look(); n++) {
    assert.ok(n < 2_000, "not within 2 s");
    await pause(1);
  }
}

// --- what an event says ------------------------------------------------------------------------

for (const [name, data, kind, code] of [
  ["UserBanned", { until: null }, "accepted", undefined],
  ["CommandHadNoEffect", {}, "no effect", undefined],
  ["CommandRejected", { code: "EmailTaken" }, "rejected", "EmailTaken"],
  ["CommandDeadLettered", { code: "InvalidField" }, "dead-lettered", "InvalidField"],
  ["RefreshTokenReuseDetected", {}, "rejected", "RefreshTokenReused"],
  ["Unheard", {}, "accepted", undefined],
]) {
  test(`the event ${name} is an answer`, () => {
    const body = event(name, COMMAND, data);
    const answer = readAnswer(body);
    assert.deepEqual(
      [answer.commandId, answer.kind, answer.code, answer.userId, answer.sequence],
      [COMMAND, kind, code, USER, 7],
    );
    assert.deepEqual(readAnswer(JSON.stringify({ TopicArn: TOPIC, Message: body })), answer);
  });
}

test("a message that is not an answer is ignored", () => {
  const bodies = ["", "junk", "[]", "null", "{}", '{"causationid": 1, "type": "x"}', undefined, 7];
  bodies.push('{"causationid": "x"}', '{"TopicArn": "a", "Message": 1}', '{"TopicArn": "a"}');
  for (const body of bodies) assert.equal(readAnswer(body), undefined);
});

// --- the listener ------------------------------------------------------------------------------

test("an answer reaches the caller that waits, and one that asks later", () =>
  listening(given, async ({ listener, sqs }) => {
    const waiting = answered(listener);
    sqs.coming.push("junk", event("UserBanned", OTHER), event(), event("CommandHadNoEffect"));
    assert.equal((await waiting).kind, "accepted");
    assert.equal((await answered(listener, COMMAND.toUpperCase())).kind, "accepted");
    await until(() => sqs.deleted.length === 4);
  }));

test("a decision after a redrive replaces a dead letter", () =>
  listening(given, async ({ listener, sqs }) => {
    sqs.coming.push(event("CommandDeadLettered", COMMAND, { code: "InvalidField" }));
    const { kind, code } = await answered(listener);
    assert.deepEqual([kind, code], ["dead-lettered", "InvalidField"]);
    sqs.coming.push(event("UserBanned"), event("CommandDeadLettered"));
    await until(() => sqs.deleted.length === 3);
    assert.equal((await answered(listener)).kind, "accepted");
  }));

test("without an answer the wait ends, and nothing is left over", () =>
  listening(given, async ({ listener, sqs }) => {
    const wait = listener.answer(COMMAND, { timeout: 10 });
    await assert.rejects(wait, { name: "NoAnswerError", message: "no answer in 0.01 s" });
    const abort = listener.answer(OTHER, { abortSignal: AbortSignal.timeout(5) });
    await assert.rejects(abort, { name: "TimeoutError" });
    sqs.coming.push(event());
    assert.equal((await answered(listener)).commandId, COMMAND);
  }));

test("the oldest answers are discarded, and waits are limited", () =>
  listening({ ...given, limit: 2 }, async ({ listener, sqs }) => {
    const ids = ["a", "b", "c"];
    sqs.coming.push(...ids.map((id) => event("UserBanned", id)));
    await until(() => sqs.deleted.length === 3);
    await assert.rejects(listener.answer("a", { timeout: 5 }), NoAnswerError);
    await Promise.all([answered(listener, "b"), answered(listener, "c")]);
    const waits = ["x", "y"].map((id) => listener.answer(id, { timeout: 50 }));
    await assert.rejects(listener.answer("z"), /more than 2/);
    await Promise.allSettled(waits);
  }));

const anything = [
  named("ServiceUnavailable"),
  new RangeError("invalid"),
  new TypeError("no object"),
  named("ExpiredToken"),
];
for (const error of anything) {
  test(`it listens on after ${error.name}`, () =>
    listening(given, async ({ listener, sqs }) => {
      sqs.coming.push(error, error, event());
      assert.equal((await answered(listener)).commandId, COMMAND);
    }));
}

test("it listens on after an answer that is not of SQS", () =>
  listening(given, async ({ listener, sqs }) => {
    sqs.coming.push({ Messages: 7 }, { Messages: [null] }, { Messages: [{ Body: 7 }] }, event());
    assert.equal((await answered(listener)).commandId, COMMAND);
  }));

test("a message that cannot be deleted is read", () =>
  listening(given, async ({ listener, sqs }) => {
    sqs.deleteFails = named("AccessDenied");
    sqs.coming.push(event());
    assert.equal((await answered(listener)).commandId, COMMAND);
  }));

test("the timeout names a queue that cannot be read", () =>
  listening(given, async ({ listener, sqs }) => {
    sqs.ReceiveMessage = () => Promise.reject(named("AccessDenied"));
    await assert.rejects(listener.answer(COMMAND, { timeout: 100 }), /cannot be read: AccessDenied/);
  }));

// --- before and after --------------------------------------------------------------------------

test("before the start and after the close waiting is an error", async () => {
  const listener = new OutcomeListener({ source: "/s", queue: "mine", sqs: new FakeSqs() });
  await assert.rejects(listener.answer(COMMAND), NotListeningError);
  await listener.start();
  await assert.rejects(listener.start(), UsersError);
  const waiting = listener.answer(COMMAND);
  await Promise.all([assert.rejects(waiting, NoAnswerError), listener.close()]);
  await assert.rejects(listener.answer(COMMAND), NotListeningError);
  await assert.rejects(listener.start(), NotListeningError);
});

test("a start that failed leaves nothing, and can be repeated", async () => {
  const [sqs, sns] = [new FakeSqs(), new FakeSns()];
  const listener = new OutcomeListener({ source: "/s", sqs, sns });
  for (const failure of [{ fails: named("AuthorizationError") }, { pending: true }]) {
    Object.assign(sns, { fails: undefined, pending: false }, failure);
    await assert.rejects(listener.start(), failure.fails ?? NotSubscribedError);
    assert.equal(sqs.policies.size, 0);
  }
  sns.pending = false;
  await listener.start();
  await listener.close();
});

// --- a queue of its own ------------------------------------------------------------------------

test("the queue has its policy before it is subscribed, and is removed", async () => {
  const [sqs, sns] = [new FakeSqs(), new FakeSns()];
  const listener = new OutcomeListener({ source: "/signup/3", topic: TOPIC, sqs, sns });
  await listener.start();
  assert.deepEqual(sqs.calls, ["CreateQueue", "GetQueueAttributes"]);
  const [{ TopicArn, Attributes }] = sns.subscribed;
  assert.equal(TopicArn, TOPIC);
  assert.deepEqual(JSON.parse(Attributes.FilterPolicy), { command_source: ["/signup/3"] });
  const [{ Condition, Principal }] = JSON.parse(sqs.created.Policy).Statement;
  assert.deepEqual(Condition, { ArnEquals: { "aws:SourceArn": TOPIC } });
  assert.deepEqual(Principal, { Service: "sns.amazonaws.com" });
  await listener.close();
  assert.deepEqual([sqs.policies.size, sns.arns.size], [0, 0]);
});

test("nothing is subscribed before the policy is returned", async () => {
  const [sqs, sns] = [new FakeSqs(), new FakeSns()];
  const real = sqs.GetQueueAttributes;
  const answers = [missing(), { Attributes: { QueueArn: "arn:aws:sqs:eu-west-1:42:q" } }];
  sqs.GetQueueAttributes = (input) => {
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    assert.equal(sns.subscribed.length, 0);
    return answer ?? real.call(sqs, input);
  };
  const listener = await new OutcomeListener({ source: "/s", topic: TOPIC, sqs, sns }).start();
  assert.deepEqual([answers.length, sns.subscribed.length], [0, 1]);
  await listener.close();
});

for (const [what, lose] of Object.entries({
  "the queue": (sqs) => sqs.policies.clear(),
  "the subscription": (_, sns) => sns.arns.clear(),
  "the queue's access policy": (sqs) => {
    for (const url of sqs.policies.keys()) sqs.policies.set(url, "{}");
  },
  "the subscription's attributes": (sqs, sns) => {
    sns.fails = named("InvalidParameter");
    const create = sqs.CreateQueue;
    sqs.CreateQueue = (input) => {
      sns.fails = undefined;
      return create.call(sqs, input);
    };
  },
})) {
  test(`${what} is created again, and the wait reports that`, () =>
    listening({}, async ({ listener, sqs, sns }) => {
      lose(sqs, sns);
      const wait = listener.answer(COMMAND, { timeout: 400 });
      await assert.rejects(wait, new RegExp(`${what} had to be created again`));
      sqs.coming.push(event("UserBanned", OTHER));
      assert.equal((await answered(listener, OTHER)).commandId, OTHER);
      const [url] = sqs.policies.keys();
      assert.ok(sns.arns.has(`arn:aws:sqs:eu-west-1:42:${url.slice(11)}`));
    }));
}

test("a failed renewal is reported and repeated", () =>
  listening({}, async ({ listener, sqs, sns }) => {
    sns.fails = named("NotFound");
    sqs.policies.clear();
    const wait = listener.answer(COMMAND, { timeout: 300 });
    await assert.rejects(wait, /cannot be renewed: NotFound/);
    sns.fails = undefined;
    sqs.coming.push(event());
    assert.equal((await answered(listener)).commandId, COMMAND);
  }));

test("without waiting callers checks are rare", () =>
  listening({}, async ({ sns }) => {
    await pause(200);
    assert.equal(sns.subscribed.length, 1);
  }));

test("what is created while it is closed is removed too", async () => {
  const [sqs, sns] = [new FakeSqs(), new FakeSns()];
  const listener = await new OutcomeListener({ source: "/s", topic: TOPIC, sqs, sns }).start();
  await until(() => sqs.polled);
  const create = sqs.CreateQueue;
  let closed;
  sqs.CreateQueue = (input) => {
    closed = listener.close();
    return create.call(sqs, input);
  };
  sqs.policies.clear();
  await until(() => closed);
  await closed;
  assert.deepEqual([sqs.policies.size, sns.arns.size], [0, 0]);
});

test("a queue that it was given is looked up again", () =>
  listening(given, async ({ listener, sqs }) => {
    sqs.url = "http://sqs/new/mine";
    sqs.coming.push(missing(), event());
    assert.equal((await answered(listener)).commandId, COMMAND);
    await assert.rejects(listener.answer(OTHER, { timeout: 10 }), /the queue had to be created/);
  }));
