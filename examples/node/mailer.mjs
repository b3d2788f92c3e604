// A mailer: sends a mail with a token for each event that asks for one. node mailer.mjs QUEUE
import {
  DeleteMessageCommand,
  GetQueueUrlCommand,
  ReceiveMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { InvalidEventError, MailedTokens, parseEvent } from "@biome/users";

const tokens = new MailedTokens(Buffer.from(process.env.TOKEN_KEY ?? ""));
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false });
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: process.argv[2] }));
const sent = new Set(); // in production, a table with the ids of the events of the last 15 days

/** Return recipient, subject and token of the mail that an event asks for, or undefined. */
function write({ type, data }) {
  switch (type) {
    case "biome.user.EmailVerificationRequested.v1":
      return [data.email, "Verify your address", tokens.token("verification", data.token_id)];
    case "biome.user.EmailChangeRequested.v1":
      return [data.new_email, "Confirm your new address", tokens.token("change", data.token_id)];
    case "biome.user.PasswordResetRequested.v1":
      return [data.email, "Reset your password", tokens.token("reset", data.token_id)];
  }
}

// receive, send, delete: after a crash a mail is sent twice and none is lost
for (;;) {
  const receive = { QueueUrl, WaitTimeSeconds: 20, MaxNumberOfMessages: 10 };
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(receive));
  for (const { Body, ReceiptHandle } of Messages) {
    try {
      const event = parseEvent(Body);
      const mail = sent.has(event.id) ? undefined : write(event);
      // without a recipient, the user was erased. In production: SES
      if (mail?.[0]) console.log([event.userId, ...mail].join("\t"));
      sent.add(event.id);
    } catch (error) {
      if (!(error instanceof InvalidEventError)) throw error;
      console.error("not an event:", error.message); // goes to the dead-letter queue
      continue;
    }
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
  }
}
