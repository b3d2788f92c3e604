// Resets a forgotten password, from start to end: node password_reset.mjs ada@example.com
//
// The program plays the edge, the mailer and the person, as password_reset.py does. Only the mail
// contains the token: edge and mailer each derive it from its id, with a key that both have.
import { randomBytes, randomUUID } from "node:crypto";
import { SNSClient, SubscribeCommand } from "@aws-sdk/client-sns";
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { MailedTokens, parseEvent, tokenHash, UserCommands } from "@biome/users";
import { hashPassword } from "./passwords.mjs";

const key = process.env.TOKEN_KEY ?? "";
if (Buffer.byteLength(key) < 32) {
  console.error(
    'TOKEN_KEY must contain 32 bytes or more. Create it with "openssl rand -base64 32".',
  );
  process.exit(1);
}
const sns = new SNSClient({});
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false });
const users = new UserCommands({ source: "/login" });
const tokens = new MailedTokens(Buffer.from(key));

async function edgeAsksForAReset(email) {
  const token_id = randomUUID();
  return users.send("RequestPasswordReset", {
    email,
    token_id,
    token_hash: tokenHash(tokens.token("reset", token_id)),
    expires_at: new Date(Date.now() + 3_600_000).toISOString(),
  });
}

const mailerWrites = ({ data }) => ({
  to: data.email,
  token: tokens.token("reset", data.token_id),
});

async function edgeSetsThePassword(email, token, password) {
  const password_hash = await hashPassword(password);
  return users.send("ResetPassword", { email, token_hash: tokenHash(token), password_hash });
}

async function subscribe() {
  const made = new CreateQueueCommand({ QueueName: "user-events-to-password-mailer-js" });
  const { QueueUrl } = await sqs.send(made);
  const asked = { QueueUrl, AttributeNames: ["QueueArn"] };
  const { QueueArn } = (await sqs.send(new GetQueueAttributesCommand(asked))).Attributes;
  const [, partition, , region, account] = QueueArn.split(":");
  const topic = `arn:${partition}:sns:${region}:${account}:user-events`;
  // only the personal topic has the address; the answers are on the ordinary topic
  const typesByTopic = {
    [topic]: ["PasswordReset", "CommandHadNoEffect", "CommandRejected"],
    [`${topic}-personal`]: ["PasswordResetRequested"],
  };
  const letTheTopicsSend = {
    Version: "2012-10-17",
    Statement: {
      Effect: "Allow",
      Principal: { Service: "sns.amazonaws.com" },
      Action: "sqs:SendMessage",
      Resource: QueueArn,
      Condition: { ArnEquals: { "aws:SourceArn": Object.keys(typesByTopic) } },
    },
  };
  const Policy = JSON.stringify(letTheTopicsSend);
  await sqs.send(new SetQueueAttributesCommand({ QueueUrl, Attributes: { Policy } }));
  for (const [TopicArn, names] of Object.entries(typesByTopic)) {
    const FilterPolicy = JSON.stringify({ type: names.map((name) => `biome.user.${name}.v1`) });
    const Attributes = { RawMessageDelivery: "true", FilterPolicy };
    await sns.send(
      new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: QueueArn, Attributes }),
    );
  }
  return QueueUrl;
}

const QueueUrl = await subscribe();
const asked = await edgeAsksForAReset(process.argv[2]);
let reset;
for (let done = false; !done; ) {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 20 }),
  );
  for (const { Body, ReceiptHandle } of Messages) {
    const event = parseEvent(Body);
    const kind = event.type.split(".")[2];
    const cause = event.commandId;
    if (cause === asked && kind === "PasswordResetRequested" && !reset) {
      const mail = mailerWrites(event);
      console.log("mail to", mail.to);
      reset = await edgeSetsThePassword(mail.to, mail.token, randomBytes(9).toString("base64url"));
    } else if (cause === reset || (cause === asked && !reset)) {
      console.log(kind, cause); // PasswordReset; or CommandHadNoEffect, for an unknown address
      done = true;
    }
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
  }
}
