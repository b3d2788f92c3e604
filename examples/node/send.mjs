// Sends a registration with the AWS SDK for JavaScript, version 3.
import { randomBytes, randomUUID } from "node:crypto";
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { argon2id } from "hash-wasm";

const password = randomBytes(9).toString("base64url"); // what the person typed
const password_hash = await argon2id({
  password,
  salt: randomBytes(16),
  memorySize: 65_536, // KiB
  iterations: 3,
  parallelism: 4,
  hashLength: 32,
  outputType: "encoded", // the PHC string, $argon2id$v=19$m=65536,t=3,p=4$...
});

const command = {
  specversion: "1.0",
  id: randomUUID(), // the command's id: keep it when you send the command again
  source: "/signup",
  type: "biome.user.RegisterUser.v1",
  subject: randomUUID(), // the user's id
  time: new Date().toISOString(),
  data: {
    email: "katherine@example.com",
    first_name: "Katherine",
    last_name: "Johnson",
    password_hash,
  },
};
// the endpoint is what AWS_ENDPOINT_URL says, if anything, and not what is in the queue's URL
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false });
const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: "user-commands" }));
await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(command) }));
console.log(command.id);
