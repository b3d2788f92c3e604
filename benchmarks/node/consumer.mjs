// bbc/sqs-consumer with the same naive writes as the plain Celery task: query, put, publish.
// It receives ten at a time, handles them at the same time and deletes them one by one.
import { randomUUID } from "node:crypto";
import {
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
} from "@aws-sdk/client-dynamodb";
import { PublishCommand, SNSClient } from "@aws-sdk/client-sns";
import { SQSClient } from "@aws-sdk/client-sqs";
import { Consumer } from "sqs-consumer";

const { BENCH_QUEUE_URL: queueUrl, BENCH_TABLE: TableName, BENCH_TOPIC: TopicArn } = process.env;
const dynamodb = new DynamoDBClient();
const sns = new SNSClient();

const item = (fields) =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, { S: value }]));

async function publish(name, command, data) {
  const type = `biome.user.${name}.v1`;
  const event = {
    specversion: "1.0",
    id: randomUUID(),
    source: "urn:naive",
    type,
    subject: command.subject,
    time: new Date().toISOString(),
    causationid: command.id,
    data,
  };
  await sns.send(
    new PublishCommand({
      TopicArn,
      Message: JSON.stringify(event),
      MessageAttributes: { type: { DataType: "String", StringValue: type } },
    }),
  );
}

async function register(command) {
  const { email } = command.data;
  const found = await dynamodb.send(
    new QueryCommand({
      TableName,
      IndexName: "email-index",
      KeyConditionExpression: "email = :email",
      ExpressionAttributeValues: { ":email": { S: email } },
    }),
  );
  if (found.Items.length > 0) {
    await publish("CommandRejected", command, { code: "EmailTaken" });
    return;
  }
  const now = new Date().toISOString();
  const user = { user_id: command.subject, created_at: now, updated_at: now, ...command.data };
  await dynamodb.send(new PutItemCommand({ TableName, Item: item(user) }));
  await publish("UserRegistered", command, { email });
}

async function updateProfile(command) {
  const Key = { user_id: { S: command.subject } };
  const { Item } = await dynamodb.send(new GetItemCommand({ TableName, Key }));
  const changes = { updated_at: new Date().toISOString(), ...command.data };
  await dynamodb.send(new PutItemCommand({ TableName, Item: { ...Item, ...item(changes) } }));
  await publish("ProfileUpdated", command, { changed: Object.keys(command.data) });
}

const handlers = {
  "biome.user.RegisterUser.v1": register,
  "biome.user.UpdateProfile.v1": updateProfile,
};

const consumer = Consumer.create({
  queueUrl,
  batchSize: 10,
  sqs: new SQSClient({ useQueueUrlAsEndpoint: false }),
  handleMessage: async (message) => {
    const command = JSON.parse(message.Body);
    await handlers[command.type](command);
    return message;
  },
});
consumer.on("error", (error) => console.error("error", error.message));
consumer.on("processing_error", (error) => console.error("processing_error", error.message));
process.on("SIGTERM", () => process.exit(0));
consumer.start();
