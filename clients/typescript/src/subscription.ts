/**
 * A temporary queue that is subscribed to a topic.
 *
 * The queue is created with its access policy, because a policy that is set later takes up to 60 s
 * to take effect, and SNS does not retry a message that a queue refuses.
 */

import { randomUUID } from "node:crypto";
import { type SNSClient, SubscribeCommand, UnsubscribeCommand } from "@aws-sdk/client-sns";
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  type SQSClient,
} from "@aws-sdk/client-sqs";
import { errorCode, NotSubscribedError } from "./errors.js";

/** Seconds; after a crash of this program, unread messages are not kept for days. */
const RETENTION = 3_600;
const LONGEST_POLL = 20;
/** Reads of a new queue's attributes before an error. */
const NEW_QUEUE_READS = 30;
const MISSING = new Set(["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"]);
/** Subscribe's codes for a subscription that exists with other attributes, such as its filter. */
const OTHER_ATTRIBUTES = new Set(["InvalidParameter", "InvalidParameterException"]);

/** Return true if an error says that the queue does not exist. */
export function isMissing(error: unknown): boolean {
  return MISSING.has(errorCode(error));
}

/** Source of answers: a queue that the listener creates, or one that it is given. */
export interface Feed {
  /** Return the URL of the queue to read. */
  open(): Promise<string>;
  /** Return the URL to continue with and what was lost; undefined if nothing was. */
  renewIfLost(): Promise<{ url: string; lost: string } | undefined>;
  close(): Promise<void>;
}

/** Wait up to 20 s for messages, delete them, and return their bodies. */
export async function poll(sqs: SQSClient, url: string, signal: AbortSignal): Promise<unknown[]> {
  const receive = { QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: LONGEST_POLL };
  const answer = await sqs.send(new ReceiveMessageCommand(receive), { abortSignal: signal });
  const messages = answer.Messages ?? [];
  if (messages.length > 0) {
    const Entries = messages.map((each, n) => ({ Id: `${n}`, ReceiptHandle: each.ReceiptHandle }));
    // a message that could not be deleted comes again, which changes nothing
    await quietly(() => sqs.send(new DeleteMessageBatchCommand({ QueueUrl: url, Entries })));
  }
  return messages.map((each) => each.Body);
}

/** A queue created and subscribed by the infrastructure; nothing is created or removed here. */
export class GivenQueue implements Feed {
  readonly #sqs: SQSClient;
  readonly #queue: string;
  #url = "";

  constructor(sqs: SQSClient, queue: string) {
    this.#sqs = sqs;
    this.#queue = queue;
  }

  async open(): Promise<string> {
    if (this.#queue.includes("://")) return (this.#url = this.#queue);
    const found = await this.#sqs.send(new GetQueueUrlCommand({ QueueName: this.#queue }));
    return (this.#url = required(found.QueueUrl));
  }

  /** Look up the queue again, in case it was created again under the same name. */
  async renewIfLost(): Promise<{ url: string; lost: string } | undefined> {
    const before = this.#url;
    const url = await this.open();
    return url === before ? undefined : { url, lost: "the queue" };
  }

  async close(): Promise<void> {}
}

/** A temporary queue, subscribed to a topic, that can be renewed if it is lost. */
export class TopicSubscription implements Feed {
  readonly #sqs: SQSClient;
  readonly #sns: SNSClient;
  readonly #topic: string;
  readonly #filter: string;
  readonly #pause: () => Promise<unknown>;
  #url = "";
  #queueArn = "";
  #topicArn = "";
  #subscription = "";
  #policy: string | undefined;

  /** `pause` waits until a new queue is usable: a second, by AWS's documentation. */
  constructor(
    sqs: SQSClient,
    sns: SNSClient,
    topic: string,
    source: string,
    pause: () => Promise<unknown>,
  ) {
    this.#sqs = sqs;
    this.#sns = sns;
    this.#topic = topic;
    this.#filter = JSON.stringify({ command_source: [source] });
    this.#pause = pause;
  }

  /** Create the queue and subscribe it; on any failure, delete what was created. */
  async open(): Promise<string> {
    try {
      this.#topicArn = await this.#findTopic();
      this.#url = await this.#createQueue(policy(this.#topicArn));
      await this.#pause();
      [this.#queueArn, this.#policy] = await this.#readNewQueue(true);
      this.#subscription = await this.#subscribe();
      return this.#url;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /**
   * Check queue, policy and subscription; renew what is lost.
   *
   * Subscribe is also the check of the subscription: it returns the existing one, and otherwise
   * creates it. A queue that is missing, or has another policy, is replaced.
   */
  async renewIfLost(): Promise<{ url: string; lost: string } | undefined> {
    const lost = this.#url === "" ? "the queue" : await this.#lost();
    if (lost === undefined) return undefined;
    if (lost === "the subscription") return { url: this.#url, lost };
    await this.close();
    return { url: await this.open(), lost };
  }

  /** Delete what was created, even if the topic or the queue is already gone. */
  async close(): Promise<void> {
    const [SubscriptionArn, QueueUrl] = [this.#subscription, this.#url];
    this.#subscription = this.#url = "";
    if (SubscriptionArn) {
      await quietly(() => this.#sns.send(new UnsubscribeCommand({ SubscriptionArn })));
    }
    if (QueueUrl) await quietly(() => this.#sqs.send(new DeleteQueueCommand({ QueueUrl })));
  }

  async #lost(): Promise<string | undefined> {
    const before = this.#subscription;
    try {
      if ((await this.#readQueue())[1] !== this.#policy) return "the queue's access policy";
      this.#subscription = await this.#subscribe();
    } catch (error) {
      if (isMissing(error)) return "the queue";
      if (OTHER_ATTRIBUTES.has(errorCode(error))) return "the subscription's attributes";
      throw error;
    }
    return this.#subscription === before ? undefined : "the subscription";
  }

  /**
   * Return the topic's ARN, which the access policy must name.
   *
   * The account of a topic that is given by name is unknown. The ARN of a queue contains it, so a
   * queue is created and deleted again: asking STS would need another endpoint and permission.
   */
  async #findTopic(): Promise<string> {
    if (this.#topic.startsWith("arn:")) return this.#topic;
    this.#url = await this.#createQueue();
    const [arn] = await this.#readNewQueue(false);
    await this.close();
    const [, partition, , region, account] = arn.split(":");
    return `arn:${partition}:sns:${region}:${account}:${this.#topic}`;
  }

  async #createQueue(Policy?: string): Promise<string> {
    const suffix = this.#topic.endsWith(".fifo") ? ".fifo" : "";
    const Attributes = {
      MessageRetentionPeriod: String(RETENTION),
      ...(suffix && { FifoQueue: "true" }),
      ...(Policy && { Policy }),
    };
    const QueueName = `user-outcomes-${randomUUID().slice(-12)}${suffix}`;
    const { QueueUrl } = await this.#sqs.send(new CreateQueueCommand({ QueueName, Attributes }));
    return required(QueueUrl);
  }

  /** Return ARN and policy; retries, because a new queue may not be found yet. */
  async #readNewQueue(withPolicy: boolean): Promise<[string, string | undefined]> {
    for (let attempt = 0; attempt < NEW_QUEUE_READS; attempt++) {
      if (attempt > 0) await this.#pause();
      try {
        const read = await this.#readQueue();
        if (read[1] !== undefined || !withPolicy) return read;
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
    throw new NotSubscribedError("SQS does not return the access policy of the new queue");
  }

  async #readQueue(): Promise<[string, string | undefined]> {
    const { Attributes } = await this.#sqs.send(
      new GetQueueAttributesCommand({
        QueueUrl: this.#url,
        AttributeNames: ["QueueArn", "Policy"],
      }),
    );
    return [required(Attributes?.["QueueArn"]), Attributes?.["Policy"]];
  }

  async #subscribe(): Promise<string> {
    const { SubscriptionArn } = await this.#sns.send(
      new SubscribeCommand({
        TopicArn: this.#topicArn,
        Protocol: "sqs",
        Endpoint: this.#queueArn,
        Attributes: {
          RawMessageDelivery: "true",
          FilterPolicy: this.#filter,
          FilterPolicyScope: "MessageAttributes",
        },
      }),
    );
    if (!SubscriptionArn?.startsWith("arn:")) {
      throw new NotSubscribedError("SNS requires confirmation of the subscription");
    }
    return SubscriptionArn;
  }
}

/**
 * Return a policy that allows only this topic to write to the queue.
 *
 * `*` stands for the queue that has the policy; its ARN is unknown before it is created.
 */
function policy(topicArn: string): string {
  const Statement = [
    {
      Effect: "Allow",
      Principal: { Service: "sns.amazonaws.com" },
      Action: "sqs:SendMessage",
      Resource: "*",
      Condition: { ArnEquals: { "aws:SourceArn": topicArn } },
    },
  ];
  return JSON.stringify({ Version: "2012-10-17", Statement });
}

function required(value: string | undefined): string {
  if (value === undefined) throw new TypeError("the answer is not from SQS");
  return value;
}

async function quietly(call: () => Promise<unknown>): Promise<void> {
  await call().catch(() => undefined);
}
