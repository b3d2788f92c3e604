// Every client against an AWS over HTTP that is silent, cuts connections, throttles or refuses.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { SNSClient } from "@aws-sdk/client-sns";
import { SQSClient } from "@aws-sdk/client-sqs";
import {
  NoAnswerError,
  NotSentError,
  OutcomeListener,
  request,
  UnavailableError,
  UserCommands,
  UserReader,
} from "@biome/users";
import { limits } from "../dist/clients.js";
import { timing } from "../dist/outcomes.js";

const USER = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77";
const COMMAND = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11";
const TOPIC = "arn:aws:sns:eu-west-1:42:user-events";
const QUEUE = "http://queue.example/42/commands";
const KEYS = { accessKeyId: "FIRST", secretAccessKey: "secret" };
const REAL = [{ ...limits }, { ...timing }];
/** For tests of what would otherwise never end. */
const BOUNDED = { timeout: 30_000 };

beforeEach(() => {
  Object.assign(limits, { answer: 2_000, attempts: 1 });
  Object.assign(timing, { usableAfter: 0, firstPause: 1, longestPause: 5, checkLeast: 20, shortPoll: 0 });
});
afterEach(() => {
  Object.assign(limits, REAL[0]);
  Object.assign(timing, REAL[1]);
});

// --- the faults ----------------------------------------------------------------------------------

const silent = () => undefined;
const cut = (response) => {
  response.writeHead(200, { "content-type": "application/x-amz-json-1.0", "content-length": 1_000 });
  response.write('{"Successful": [', () => response.socket.destroy());
};
const reset = (response) => response.socket.destroy();
const page = (response) => {
  response.writeHead(200, { "content-type": "text/html" }).end("<h1>Log in to the guest network</h1>");
};
const refused = (code, status = 400) => (response) => {
  response.writeHead(status, { "content-type": "application/x-amz-json-1.0" });
  response.end(JSON.stringify({ __type: `com.amazonaws.sqs#${code}`, message: "refused" }));
};
const FAULTS = {
  silent,
  cut,
  reset,
  page,
  throttled: refused("RequestThrottled"),
  unavailable: refused("ServiceUnavailable", 503),
  expired: refused("ExpiredTokenException", 403),
};

// --- an AWS --------------------------------------------------------------------------------------

const md5 = (text) => createHash("md5").update(text).digest("hex");

/**
 * Start an AWS. `next` has a fault for each of the next requests, undefined to answer it; `always` is
 * the fault of all after them. `accepted` are the ids of the commands on the queue.
 */
async function startAws(t) {
  const aws = { requests: [], accepted: [], next: [], always: undefined, bodies: [] };
  Object.assign(aws, { queues: new Set(), subscriptions: new Map(), created: 0 });
  const server = createServer(async (incoming, response) => {
    let text = "";
    for await (const part of incoming) text += part;
    const { "x-amz-target": target, authorization = "" } = incoming.headers;
    const call = {
      name: target?.split(".")[1] ?? new URLSearchParams(text).get("Action"),
      key: /Credential=(\w+)/.exec(authorization)?.[1],
      input: target ? JSON.parse(text) : Object.fromEntries(new URLSearchParams(text)),
      response,
    };
    aws.requests.push(call);
    const fault = aws.next.length > 0 ? aws.next.shift() : aws.always;
    if (fault) return fault(response, call);
    const answer = await ANSWERS[call.name](call.input, aws);
    if (typeof answer === "function") return answer(response);
    response.writeHead(200, { "content-type": target ? "application/x-amz-json-1.0" : "text/xml" });
    response.end(target ? JSON.stringify(answer) : answer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  aws.endpoint = `http://127.0.0.1:${server.address().port}`;
  return aws;
}

const ANSWERS = {
  GetQueueUrl: ({ QueueName }) => ({ QueueUrl: `http://queue.example/42/${QueueName}` }),
  SendMessageBatch: ({ Entries }, aws) => {
    aws.accepted.push(...Entries.map((each) => JSON.parse(each.MessageBody).id));
    const row = ({ Id, MessageBody }) => ({ Id, MessageId: Id, MD5OfMessageBody: md5(MessageBody) });
    return { Successful: Entries.map(row), Failed: [] };
  },
  BatchGetItem: () => ({ Responses: { users: [] }, UnprocessedKeys: {} }),
  CreateQueue: ({ Attributes }, aws) => {
    const QueueUrl = `http://queue.example/42/own-${++aws.created}`;
    aws.queues.add(QueueUrl);
    aws.policy = Attributes.Policy;
    return { QueueUrl };
  },
  GetQueueAttributes: ({ QueueUrl }, aws) => {
    if (!aws.queues.has(QueueUrl)) return refused("QueueDoesNotExist");
    const QueueArn = `arn:aws:sqs:eu-west-1:42:${QueueUrl.split("/").at(-1)}`;
    return { Attributes: { QueueArn, Policy: aws.policy } };
  },
  ReceiveMessage: async ({ QueueUrl }, aws) => {
    if (QueueUrl.includes("/own-") && !aws.queues.has(QueueUrl)) return refused("QueueDoesNotExist");
    await pause(2);
    const Body = aws.bodies.shift();
    if (Body === undefined) return {};
    return { Messages: [{ MessageId: "m", ReceiptHandle: "r", Body, MD5OfBody: md5(Body) }] };
  },
  DeleteMessageBatch: ({ Entries }) => ({ Successful: Entries.map(({ Id }) => ({ Id })), Failed: [] }),
  DeleteQueue: ({ QueueUrl }, aws) => {
    aws.queues.delete(QueueUrl);
    return {};
  },
  Subscribe: ({ Endpoint }, aws) => {
    const arn = aws.subscriptions.get(Endpoint) ?? `${TOPIC}:${aws.requests.length}`;
    aws.subscriptions.set(Endpoint, arn);
    return xml("Subscribe", `<SubscriptionArn>${arn}</SubscriptionArn>`);
  },
  Unsubscribe: () => xml("Unsubscribe", ""),
};

const xml = (name, result) =>
  `<${name}Response xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><${name}Result>${result}` +
  `</${name}Result><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></${name}Response>`;

/** Settings of a client: the library's own limits, and the endpoint. */
const settings = ({ endpoint }, options = {}) => ({
  ...{ endpoint, region: "eu-west-1", credentials: KEYS, useQueueUrlAsEndpoint: false },
  ...{ maxAttempts: limits.attempts, requestHandler: { socketTimeout: limits.answer } },
  ...options,
});
const sender = (aws, queue = QUEUE, options = {}) =>
  new UserCommands({ queue, source: "/test", client: new SQSClient(settings(aws, options)) });
const bans = (count) =>
  Array.from({ length: count }, () => request("BanUser", { reason: "spam" }, { userId: USER }));
const ids = (requests) => requests.map((each) => each.envelope.commandId);

/** Return the error of a promise; fail if it has none. */
const errorOf = (promise) => promise.then(() => assert.fail("no error"), (error) => error);

async function until(look) {
  for (let n = 0; !look(); n++) {
    assert.ok(n < 2_000, "not within 2 s");
    await pause(1);
  }
}

// --- sending -------------------------------------------------------------------------------------

for (const [name, fault] of Object.entries(FAULTS)) {
  test(`no id is lost when SQS is ${name}`, async (t) => {
    const aws = await startAws(t);
    const users = sender(aws);
    const requests = bans(15);
    Object.assign(aws, { next: [undefined], always: fault });
    const error = await errorOf(users.sendMany(requests));
    assert.ok(error instanceof NotSentError && error.cause instanceof Error);
    assert.deepEqual(error.sent, ids(requests).slice(0, 10));
    assert.deepEqual(error.unsent, requests.slice(10));
    aws.always = undefined;
    assert.deepEqual(await users.sendMany(error.unsent), ids(requests).slice(10));
    assert.deepEqual(aws.accepted, ids(requests));
  });
}

for (const [name, code] of [
  ["silent", "TimeoutError"],
  ["throttled", "RequestThrottled"],
  ["unavailable", "ServiceUnavailable"],
  ["expired", "ExpiredTokenException"],
]) {
  test(`the error names the cause: ${code}`, async (t) => {
    const aws = await startAws(t);
    aws.always = FAULTS[name];
    const quick = { requestHandler: { socketTimeout: 200 } };
    assert.equal((await errorOf(sender(aws, QUEUE, quick).sendMany(bans(1)))).code, code);
  });
}

test("a connection that is cut after SQS accepted the commands has no other effect", async (t) => {
  const aws = await startAws(t);
  aws.next = [(response, { input }) => {
    ANSWERS.SendMessageBatch(input, aws);
    cut(response);
  }];
  const requests = bans(3);
  assert.deepEqual(await sender(aws, QUEUE, { maxAttempts: 2 }).sendMany(requests), ids(requests));
  assert.deepEqual(aws.accepted, [...ids(requests), ...ids(requests)]); // applied once, by their ids
});

test("entries that SQS refuses are sent again over the same connection", async (t) => {
  const aws = await startAws(t);
  aws.next = [(response, { input: { Entries } }) => {
    const [first, ...rest] = Entries;
    const { Successful } = ANSWERS.SendMessageBatch({ Entries: rest }, aws);
    const Failed = [{ Id: first.Id, Code: "InternalError", SenderFault: false }];
    response.end(JSON.stringify({ Successful, Failed }));
  }];
  const requests = bans(4);
  assert.deepEqual(await sender(aws).sendMany(requests), ids(requests));
  assert.deepEqual(aws.accepted, [...ids(requests).slice(1), ids(requests)[0]]);
});

test("32 senders share one lookup of a silent SQS, and each error has its command", async (t) => {
  const aws = await startAws(t);
  const users = sender(aws, "commands");
  const requests = bans(32);
  aws.always = silent;
  const errors = await Promise.all(requests.map((each) => errorOf(users.sendMany([each]))));
  assert.deepEqual(errors.map((error) => error.unsent), requests.map((each) => [each]));
  assert.deepEqual(aws.requests.map(({ name }) => name), ["GetQueueUrl"]);
  aws.always = undefined; // the error is not remembered
  await Promise.all(errors.map((error) => users.sendMany(error.unsent)));
  assert.deepEqual(aws.accepted.toSorted(), ids(requests).toSorted());
});

test("32 senders are in flight together", async (t) => {
  const aws = await startAws(t);
  const users = sender(aws);
  const held = [];
  aws.always = (response, call) => {
    held.push(call);
    if (held.length < 32) return; // no call is answered before all were made
    for (const each of held) {
      each.response.end(JSON.stringify(ANSWERS.SendMessageBatch(each.input, aws)));
    }
  };
  const requests = bans(32);
  await Promise.all(requests.map((each) => users.sendMany([each])));
  assert.deepEqual(aws.accepted.toSorted(), ids(requests).toSorted());
});

test("credentials that expire are renewed by the next call", async (t) => {
  const aws = await startAws(t);
  let [accessKeyId, minutes] = ["FIRST", 1]; // the SDK renews what expires within five minutes
  const credentials = async () => {
    const expiration = new Date(Date.now() + minutes * 60_000);
    return { accessKeyId, secretAccessKey: "secret", expiration };
  };
  const users = sender(aws, QUEUE, { credentials });
  aws.next = [FAULTS.expired];
  const requests = bans(2);
  const error = await errorOf(users.sendMany(requests));
  [accessKeyId, minutes] = ["SECOND", 60];
  await users.sendMany(error.unsent);
  assert.deepEqual(aws.requests.map(({ key }) => key), ["FIRST", "SECOND"]);
  assert.deepEqual(aws.accepted, ids(requests));
});

test("credentials that cannot be loaded keep the ids, and are loaded again", async (t) => {
  const aws = await startAws(t);
  let failures = 1;
  const credentials = async () => {
    if (failures-- > 0) throw Object.assign(new Error("sso"), { name: "CredentialsProviderError" });
    return KEYS;
  };
  const users = sender(aws, QUEUE, { credentials });
  const requests = bans(1);
  const error = await errorOf(users.sendMany(requests));
  assert.deepEqual([error.code, error.unsent], ["CredentialsProviderError", requests]);
  assert.deepEqual(await users.sendMany(error.unsent), ids(requests));
});

// --- cancellation --------------------------------------------------------------------------------

test("an abort ends a call to a silent SQS, and keeps the ids", BOUNDED, async (t) => {
  const aws = await startAws(t);
  aws.always = silent;
  const [requests, abort] = [bans(3), new AbortController()];
  const client = { requestHandler: {} }; // without a timeout
  const sending = errorOf(sender(aws, QUEUE, client).sendMany(requests, { abortSignal: abort.signal }));
  await until(() => aws.requests.length === 1);
  abort.abort();
  const error = await sending;
  assert.deepEqual([error.code, error.unsent], ["AbortError", requests]);
});

test("an abort during the lookup of the queue ends only that sender's wait", BOUNDED, async (t) => {
  const aws = await startAws(t);
  const users = sender(aws, "commands", { requestHandler: {} });
  aws.next = [silent];
  const [[one], [two], abort] = [bans(1), bans(1), new AbortController()];
  const aborted = errorOf(users.sendMany([one], { abortSignal: abort.signal }));
  const other = users.sendMany([two]);
  await until(() => aws.requests.length === 1);
  abort.abort();
  assert.deepEqual((await aborted).unsent, [one]);
  const [{ response, input }] = aws.requests;
  response.end(JSON.stringify(ANSWERS.GetQueueUrl(input)));
  await other;
  assert.deepEqual(aws.accepted, ids([two]));
});

test("an abort ends the pause between two attempts", BOUNDED, async (t) => {
  const aws = await startAws(t);
  const abort = new AbortController();
  aws.always = (response) => {
    response.end(JSON.stringify({ Failed: [{ Id: "0", Code: "InternalError", SenderFault: false }] }));
  };
  t.mock.method(Math, "random", () => {
    setImmediate(() => abort.abort());
    return 1_000_000; // the pause would be longer than the test
  });
  const requests = bans(1);
  const error = await errorOf(sender(aws).sendMany(requests, { abortSignal: abort.signal }));
  assert.deepEqual(error.unsent, requests);
  assert.equal(aws.requests.length, 1);
});

// --- the clients that the library creates --------------------------------------------------------

test("the library's own clients do not wait for a silent AWS for ever", BOUNDED, async (t) => {
  const aws = await startAws(t);
  aws.always = silent;
  const before = { ...process.env };
  Object.assign(limits, { answer: 200, longPoll: 200 });
  const own = {
    ...{ AWS_ENDPOINT_URL: aws.endpoint, AWS_REGION: "eu-west-1" },
    ...{ AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" },
  };
  t.after(() => {
    for (const name of Object.keys(own)) delete process.env[name];
    Object.assign(process.env, before);
  });
  Object.assign(process.env, own);
  const sent = await errorOf(new UserCommands({ queue: QUEUE, source: "/test" }).sendMany(bans(1)));
  assert.equal(sent.code, "TimeoutError");
  await assert.rejects(new UserReader().get(USER), UnavailableError);
  const listener = new OutcomeListener({ source: "/test", topic: TOPIC });
  assert.equal((await errorOf(listener.start())).name, "TimeoutError");
  assert.deepEqual(
    aws.requests.map(({ name }) => name),
    ["SendMessageBatch", "BatchGetItem", "CreateQueue"],
  );
});

// --- reading -------------------------------------------------------------------------------------

for (const [name, fault] of Object.entries(FAULTS)) {
  test(`a read is UnavailableError when DynamoDB is ${name}, and can be repeated`, async (t) => {
    const aws = await startAws(t);
    const reader = new UserReader({ client: new DynamoDBClient(settings(aws)) });
    aws.always = fault;
    const errors = await Promise.all(Array.from({ length: 32 }, () => errorOf(reader.get(USER))));
    for (const error of errors) {
      assert.ok(error instanceof UnavailableError && error.cause instanceof Error);
    }
    aws.always = undefined;
    assert.equal(await reader.get(USER), undefined);
  });
}

// --- listening -----------------------------------------------------------------------------------

const banned = JSON.stringify({
  ...{ id: "e", type: "biome.user.UserBanned.v1", subject: USER },
  ...{ sequence: "7".padStart(20, "0"), causationid: COMMAND, data: { until: null } },
});

/** Run a test with a listener that is closed at its end. */
async function listening(aws, options, run) {
  const [sqs, sns] = [new SQSClient(settings(aws)), new SNSClient(settings(aws))];
  const listener = new OutcomeListener({ source: "/test", topic: TOPIC, sqs, sns, ...options });
  await listener.start();
  try {
    await run(listener);
  } finally {
    await listener.close();
  }
}

test("a listener continues after each fault", async (t) => {
  const aws = await startAws(t);
  aws.next = Object.values(FAULTS);
  await listening(aws, { queue: QUEUE }, async (listener) => {
    aws.bodies = [banned];
    assert.equal((await listener.answer(COMMAND)).kind, "accepted");
    assert.equal(aws.next.length, 0);
  });
});

for (const [what, lose] of Object.entries({
  "the queue": (aws) => aws.queues.clear(),
  "the subscription": (aws) => aws.subscriptions.clear(),
  "the queue's access policy": (aws) => (aws.policy = "{}"),
})) {
  test(`${what} is created again when it is lost, and the wait reports that`, async (t) => {
    const aws = await startAws(t);
    await listening(aws, {}, async (listener) => {
      lose(aws);
      const wait = listener.answer(COMMAND, { timeout: 2_000 });
      await assert.rejects(wait, new RegExp(`${what} had to be created again`));
      aws.bodies = [banned];
      assert.equal((await listener.answer(COMMAND)).kind, "accepted");
      const [url] = aws.queues;
      assert.ok(aws.subscriptions.has(`arn:aws:sqs:eu-west-1:42:${url.split("/").at(-1)}`));
    });
  });
}

test("32 waits end when a listener of a silent SQS is closed or a wait is cancelled", async (t) => {
  const aws = await startAws(t);
  aws.always = silent;
  const abort = new AbortController();
  const waits = [];
  await listening(aws, { queue: QUEUE }, async (listener) => {
    const cancelled = listener.answer(COMMAND, { abortSignal: abort.signal });
    waits.push(...Array.from({ length: 32 }, () => errorOf(listener.answer(crypto.randomUUID()))));
    abort.abort();
    await assert.rejects(cancelled, { name: "AbortError" });
  });
  for (const error of await Promise.all(waits)) assert.ok(error instanceof NoAnswerError);
});
