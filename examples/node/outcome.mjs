// Sends a command and waits for its answer, on a queue that no other process reads.
import { randomUUID } from "node:crypto";
import { SNSClient, SubscribeCommand, UnsubscribeCommand } from "@aws-sdk/client-sns";
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";

const sns = new SNSClient({});
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false });
const instance = randomUUID();
const source = `/admin/${instance}`; // of this process, so that it hears its own answers only
const MOST_KEPT = 10_000;

/** The answers to the commands of one source, by the command's id. */
class Outcomes {
  #answers = new Map(); // that came before they were asked for; the oldest go
  #waiting = new Map();
  #stopping = new AbortController();

  async start() {
    const account = await accountOf("user-commands");
    const TopicArn = `arn:${account.partition}:sns:${account.place}:user-events`;
    const Policy = JSON.stringify({
      Version: "2012-10-17",
      Statement: {
        Effect: "Allow",
        Principal: { Service: "sns.amazonaws.com" },
        Action: "sqs:SendMessage",
        Resource: "*", // the queue that has this policy
        Condition: { ArnEquals: { "aws:SourceArn": TopicArn } },
      },
    });
    // set later, a policy takes up to a minute to take effect, and SNS does not try again
    const queue = { QueueName: `user-outcomes-${instance}`, Attributes: { Policy } };
    this.QueueUrl = (await sqs.send(new CreateQueueCommand(queue))).QueueUrl;
    await new Promise((resolve) => setTimeout(resolve, 1_000)); // a new queue needs a second
    const QueueArn = `arn:${account.partition}:sqs:${account.place}:${queue.QueueName}`;
    const FilterPolicy = JSON.stringify({ command_source: [source] });
    const Attributes = { RawMessageDelivery: "true", FilterPolicy };
    const subscription = { TopicArn, Protocol: "sqs", Endpoint: QueueArn, Attributes };
    this.subscription = await sns.send(new SubscribeCommand(subscription));
    this.listening = this.#listen();
  }

  async #listen() {
    const { QueueUrl } = this;
    const poll = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 20 };
    const abortSignal = this.#stopping.signal;
    while (!abortSignal.aborted) {
      let Messages = [];
      try {
        ({ Messages = [] } = await sqs.send(new ReceiveMessageCommand(poll), { abortSignal }));
        if (Messages.length === 0) continue;
        const Entries = Messages.map((m, i) => ({ Id: `${i}`, ReceiptHandle: m.ReceiptHandle }));
        await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
      } catch (error) {
        if (abortSignal.aborted) return;
        console.error("outcomes cannot be received:", error.name);
        await new Promise((resolve) => setTimeout(resolve, 1_000 * Math.random()));
      }
      for (const { Body } of Messages) this.#tell(Body);
    }
  }

  #tell(body) {
    let event;
    try {
      event = JSON.parse(body);
    } catch {
      return; // anyone may publish to the topic
    }
    const id = event?.causationid;
    if (this.#answers.has(id)) return; // SNS may repeat an event; a command may cause several
    this.#answers.set(id, event);
    if (this.#answers.size > MOST_KEPT) this.#answers.delete(this.#answers.keys().next().value);
    this.#waiting.get(id)?.(event);
  }

  /** Give the first event that a command caused, or throw after so many milliseconds. */
  async answer(id, milliseconds = 30_000) {
    let timer;
    try {
      return await new Promise((resolve, reject) => {
        if (this.#answers.has(id)) resolve(this.#answers.get(id));
        this.#waiting.set(id, resolve);
        timer = setTimeout(() => reject(new Error("no answer in time")), milliseconds);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  async close() {
    this.#stopping.abort();
    await this.listening;
    const { SubscriptionArn } = this.subscription;
    await sns.send(new UnsubscribeCommand({ SubscriptionArn }));
    await sqs.send(new DeleteQueueCommand({ QueueUrl: this.QueueUrl }));
  }
}

/** Partition, and region and account, from the ARN of a queue that exists. */
async function accountOf(QueueName) {
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName }));
  const asked = { QueueUrl, AttributeNames: ["QueueArn"] };
  const { QueueArn } = (await sqs.send(new GetQueueAttributesCommand(asked))).Attributes;
  const [, partition, , region, account] = QueueArn.split(":");
  return { partition, place: `${region}:${account}` };
}

async function send(name, subject, data) {
  const id = randomUUID();
  const time = new Date().toISOString();
  const type = `biome.user.${name}.v1`;
  const command = { specversion: "1.0", id, source, type, subject, time, data };
  const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: "user-commands" }));
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(command) }));
  return id;
}

const outcomes = new Outcomes();
await outcomes.start(); // before the first command, or its answer may be missed
try {
  const user = randomUUID();
  const dorothy = { email: "dorothy@example.com", first_name: "Dorothy", last_name: "Vaughan" };
  const created = await send("CreateUser", user, { ...dorothy, roles: ["customer"] });
  console.log((await outcomes.answer(created)).type); // biome.user.UserCreated.v1
  const taken = await send("CreateUser", randomUUID(), { ...dorothy, roles: [] });
  const { type, data } = await outcomes.answer(taken);
  console.log(type, data.code); // biome.user.CommandRejected.v1 EmailTaken
} finally {
  await outcomes.close();
}
