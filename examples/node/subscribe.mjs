// Keeps an address book from the events: once each, in order, without gaps, across restarts.
import { open, readFile, rename } from "node:fs/promises";
import { parseArgs } from "node:util";
import { SNSClient, SubscribeCommand } from "@aws-sdk/client-sns";
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { Inbox, InvalidEventError, MemoryInboxStore, parseEvent, UserReader } from "@biome/users";

const { values: options } = parseArgs({
  options: {
    state: { type: "string", default: "address-book.json" },
    queue: { type: "string", default: "user-events-to-node-address-book" },
    topic: { type: "string", default: "user-events" }, // its name, or its ARN
    "personal-topic": { type: "string", default: "user-events-personal" }, // the same
    table: { type: "string", default: "users" },
    patience: { type: "string", default: "60" }, // seconds to wait for an event
  },
});
const patience = Number(options.patience);
const sns = new SNSClient({});
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false }); // but AWS_ENDPOINT_URL, if any
const users = new UserReader({ table: options.table });

// The types of the personal topic, where they have their addresses.
const withAddresses = [
  "UserRegistered",
  "UserCreated",
  "EmailVerificationRequested",
  "EmailChangeRequested",
  "EmailChanged",
  "PasswordResetRequested",
].map((name) => `biome.user.${name}.v1`);

// --- the queue -------------------------------------------------------------------------------

/**
 * Create the queue and its dead-letter queue, subscribe it, and return its URL; repeatable.
 *
 * The queue is subscribed to both topics: the personal one has the events with addresses, and the
 * ordinary one the others.
 *
 * A FIFO topic (`user-events.fifo`) delivers to FIFO queues, in order, and to standard queues. A
 * standard topic delivers to standard queues only. The name of a FIFO queue ends in `.fifo`.
 */
async function subscribe() {
  const deadLetters = await makeQueue(options.queue.replace(/(\.fifo)?$/, "-dlq$1"));
  const { QueueUrl, QueueArn } = await makeQueue(options.queue);
  const ordinary = topicArn(options.topic, QueueArn);
  const personal = topicArn(options["personal-topic"], QueueArn);
  const letTheTopicsSend = {
    Version: "2012-10-17",
    Statement: {
      Effect: "Allow",
      Principal: { Service: "sns.amazonaws.com" },
      Action: "sqs:SendMessage",
      Resource: QueueArn,
      Condition: { ArnEquals: { "aws:SourceArn": [ordinary, personal] } },
    },
  };
  const Attributes = {
    Policy: JSON.stringify(letTheTopicsSend),
    RedrivePolicy: JSON.stringify({
      deadLetterTargetArn: deadLetters.QueueArn,
      maxReceiveCount: 5,
    }),
    MessageRetentionPeriod: String(14 * 86_400),
  };
  await sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes }));
  // all others that have a `sequence`: both topics together leave no gap. Events of category
  // `command` have none
  const theOthers = {
    type: [{ "anything-but": withAddresses }],
    category: [{ "anything-but": ["command"] }],
  };
  await subscribeTo(ordinary, QueueArn, { FilterPolicy: JSON.stringify(theOthers) });
  await subscribeTo(personal, QueueArn, {});
  return QueueUrl;
}

async function subscribeTo(TopicArn, Endpoint, filter) {
  const Attributes = { RawMessageDelivery: "true", ...filter };
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint, Attributes }));
}

/** A topic known by its name is in the account and region of the queue. */
function topicArn(topic, queueArn) {
  const [, partition, , region, account] = queueArn.split(":");
  return topic.startsWith("arn:") ? topic : `arn:${partition}:sns:${region}:${account}:${topic}`;
}

async function makeQueue(QueueName) {
  const Attributes = QueueName.endsWith(".fifo") ? { FifoQueue: "true" } : {};
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName, Attributes }));
  const asked = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] });
  return { QueueUrl, QueueArn: (await sqs.send(asked)).Attributes.QueueArn };
}

// --- the book --------------------------------------------------------------------------------

const saved = await load(options.state);
const book = new Map(Object.entries(saved.book ?? {}));
const store = new MemoryInboxStore(saved.inbox);
const inbox = new Inbox(store, patience * 1000);

async function load(path) {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    if (error.code === "ENOENT") return {};
    throw error;
  }
}

/**
 * Replace the file at once: addresses and inbox are saved together or not at all. It is written
 * whole each time, which suits some thousands of users; with more of them keep both in a database
 * that has transactions.
 */
async function save() {
  const content = JSON.stringify({ book: Object.fromEntries(book), inbox: store });
  const file = await open(`${options.state}.new`, "w", 0o600);
  await file.writeFile(content);
  await file.sync();
  await file.close();
  await rename(`${options.state}.new`, options.state);
}

function apply({ known, type, userId, data }) {
  if (!known) return; // an event of a later worker changes no address
  switch (type) {
    case "biome.user.UserRegistered.v1":
    case "biome.user.UserCreated.v1":
      return write(userId, data.email);
    case "biome.user.EmailChanged.v1":
      return write(userId, data.new_email);
    case "biome.user.UserErased.v1":
      return write(userId, null);
  }
}

/** Write an address; an event's is `null` once its user is erased. */
function write(userId, email) {
  if (email == null) book.delete(userId);
  else book.set(userId, email);
}

/** Where an event stays away, go on from the user's present state; tell whether any did. */
async function closeGaps() {
  let closed = false;
  for (const userId of await inbox.gaps()) {
    try {
      const user = await users.get(userId);
      if (user) write(userId, user.email); // an erased one has none
      (await inbox.skipTo(userId, user?.version ?? 0)).forEach(apply);
      closed = true;
    } catch (error) {
      console.error(`gap stays: ${userId}: ${error.name}`); // and is looked at again
    }
  }
  await inbox.prune();
  return closed;
}

// --- following -------------------------------------------------------------------------------

/** Receive, take over, save, delete: in this order a crash repeats work and loses none. */
async function follow(QueueUrl, abortSignal) {
  const WaitTimeSeconds = Math.max(1, Math.min(20, Math.floor(patience)));
  while (!abortSignal.aborted) {
    const receive = { QueueUrl, WaitTimeSeconds, MaxNumberOfMessages: 10 };
    const answer = await sqs.send(new ReceiveMessageCommand(receive), { abortSignal });
    const Entries = [];
    for (const { Body, MessageId, ReceiptHandle } of answer.Messages ?? []) {
      try {
        (await inbox.take(parseEvent(Body))).forEach(apply);
        Entries.push({ Id: String(Entries.length), ReceiptHandle });
      } catch (error) {
        if (!(error instanceof InvalidEventError)) throw error;
        // it stays, comes again, and goes to the dead-letter queue after five times
        console.error(`no event: ${MessageId}: ${error.name}`);
      }
    }
    if ((await closeGaps()) || Entries.length > 0) await save();
    if (Entries.length > 0) await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
  }
}

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stopping.abort());
try {
  const queueUrl = await subscribe();
  console.log("following", options.topic, "and", options["personal-topic"]);
  await follow(queueUrl, stopping.signal);
} catch (error) {
  if (!stopping.signal.aborted) throw error;
}
console.log("stopped");
