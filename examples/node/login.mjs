// A login service: reads users, checks passwords, and sends what came of it as commands.
// POST /login (e-mail and password) gives a refresh token; GET /session and POST /refresh take it.
import { createHash, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { domainToASCII } from "node:url";
import { parseArgs } from "node:util";
import { BatchGetItemCommand, DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { argon2id, argon2Verify } from "hash-wasm";

const LIFETIME = 30 * 86_400_000; // ms
const DECIDED_WITHIN = 10_000; // ms to wait for the worker; a command takes a few dozen
const NO_SOONER = 300; // ms until a wrong password is answered: more than hash, reads, message take
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const WRONG = [401, { error: "WrongEmailOrPassword" }];
const LATER = [503, { error: "TryAgain" }];
const table = "users";
const dynamodb = new DynamoDBClient({});
const sqs = new SQSClient({ useQueueUrlAsEndpoint: false }); // but AWS_ENDPOINT_URL, if any
const sha256 = (data) => createHash("sha256").update(data).digest("hex");

// --- reading users ---------------------------------------------------------------------------

const keyOf = (pk, sk) => ({ pk: { S: pk }, sk: { S: sk } });

/** Refuse an item of a format that this program does not know. */
function known(item) {
  const format = item?.sk.S.startsWith("SESSION#") ? "2" : "1";
  if (item && item.schema?.N !== format) throw new Error("an item of another format");
  return item;
}

async function read(pk, sk) {
  const get = { TableName: table, Key: keyOf(pk, sk), ConsistentRead: true };
  return known((await dynamodb.send(new GetItemCommand(get))).Item);
}

/** The key of an address: composed, the domain in ASCII, and the whole of it case-folded. */
function addressKey(email) {
  // in domains, Node 20 reads ẞ as ss
  const text = email.normalize("NFC").trim().replaceAll("ẞ", "ß");
  const [, local, domain] = /^(.+)@([^@]+)$/.exec(text) ?? [];
  if (!local) return null;
  const whole = `${local}@${domainToASCII(domain)}`;
  // letter by letter this is Unicode's case folding; the dotless i and Cherokee are exceptions
  const upper = (c) => (c === "ı" ? c : c.toUpperCase());
  const fold = (c) => (/\p{Script=Cherokee}/u.test(c) ? upper(c) : upper(c).toLowerCase());
  return [...whole].map(fold).join("").normalize("NFC");
}

/** The user who has an address; it may change hands between the two reads: then once more. */
async function userByEmail(email) {
  const key = addressKey(email);
  for (let tries = 0; key && tries < 3; tries++) {
    const address = await read(`EMAIL#${key}`, "EMAIL");
    if (!address) return null;
    const user = await read(`USER#${address.user_id.S}`, "USER");
    if (user?.email && addressKey(user.email.S) === key) return user;
  }
  return null;
}

/** The user and the session, in one call. */
async function userAndSession({ userId, sessionId }) {
  const pk = `USER#${userId}`;
  const found = {};
  let request = {
    [table]: { Keys: [keyOf(pk, "USER"), keyOf(pk, `SESSION#${sessionId}`)], ConsistentRead: true },
  };
  for (let tries = 0; request?.[table]; tries++) {
    if (tries === 5) throw new Error("DynamoDB leaves keys unread");
    if (tries > 0) await sleep(Math.random() * 50 * 2 ** tries);
    const answer = await dynamodb.send(new BatchGetItemCommand({ RequestItems: request }));
    for (const item of answer.Responses[table]) {
      found[item.sk.S === "USER" ? "user" : "session"] = known(item);
    }
    request = answer.UnprocessedKeys;
  }
  return found;
}

const isBanned = ({ ban }) => ban && (!ban.M.until || Date.parse(ban.M.until.S) > Date.now());
const isLocked = (user) => user.locked_until && Date.parse(user.locked_until.S) > Date.now();

/** The stored form of a hash that was sent with a command. */
const atRest = (hash) => sha256(Buffer.from(hash, "hex"));
const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** The worker's setting REFRESH_LEEWAY, in milliseconds. */
const LEEWAY = 10_000;

/** Whether a session accepts the changing part of a token: it is live, or was just replaced. */
function accepts(session, token) {
  const part = atRest(token.hash).slice(0, 32);
  const live = session.refresh_token_hashes.S.split(" ").filter((each) => same(each, part));
  const replaced = session.replaced_token_hash && same(session.replaced_token_hash.S, part);
  return (
    live.length > 0 || (replaced && Date.now() - Date.parse(session.replaced_at.S) < LEEWAY)
  );
}

/** Return why a token's session may not continue; null if it may. */
async function whyNot(token) {
  const { user, session } = await userAndSession(token);
  if (!user) return "UserNotFound";
  if (user.erased?.BOOL) return "UserErased";
  if (isBanned(user)) return "UserBanned";
  if (user.deactivated?.BOOL) return "UserDeactivated";
  if (!session) return "SessionNotFound";
  if (Number(session.expires_at.N) * 1000 <= Date.now()) return "SessionExpired"; // TTL is late
  const live = user.live_sessions?.S.split(" ").map((word) => word.split(":")[0]) ?? [];
  if (!live.includes(token.sessionId)) return "SessionEnded";
  if (!same(session.refresh_family_hash.S, atRest(token.familyHash))) return "RefreshTokenUnknown";
  return accepts(session, token) ? null : "RefreshTokenReused";
}

// --- tokens and commands -----------------------------------------------------------------------

const secret = () => randomBytes(32).toString("base64url");

/** A refresh token: opaque to clients; only the hashes of family and part are sent to the worker. */
function makeToken(userId, sessionId, family = secret(), part = secret()) {
  const text = [userId, sessionId, family, part].join(".");
  return { userId, sessionId, family, text, familyHash: sha256(family), hash: sha256(part) };
}

function parseToken(header = "") {
  const [userId, sessionId, family, part, more] = header.replace(/^Bearer /, "").split(".");
  if (!UUID.test(userId) || !UUID.test(sessionId) || !family || !part || more !== undefined) {
    throw new SyntaxError("not a token");
  }
  return makeToken(userId, sessionId, family, part);
}

let queueUrl;

async function send(name, subject, data, extensions = {}) {
  queueUrl ??= (await sqs.send(new GetQueueUrlCommand({ QueueName: "user-commands" }))).QueueUrl;
  const command = {
    specversion: "1.0",
    id: randomUUID(),
    source: "/login",
    type: `biome.user.${name}.v1`,
    subject,
    time: new Date().toISOString(),
    data,
    ...extensions,
  };
  const message = { QueueUrl: queueUrl, MessageBody: JSON.stringify(command) };
  await sqs.send(new SendMessageCommand(message));
}

/** Give a token once the worker has stored its hash; if it refuses, that never comes. */
async function handOut(token, expires_at) {
  const deadline = Date.now() + DECIDED_WITHIN;
  while (Date.now() < deadline) {
    if ((await whyNot(token)) === null) return [200, { refresh_token: token.text, expires_at }];
    await sleep(50);
  }
  return LATER;
}

// --- the service -------------------------------------------------------------------------------

// checked for those who are not there, so that the time taken does not tell who is
const nobody = await argon2id({
  password: randomBytes(16),
  salt: randomBytes(16),
  memorySize: 65_536, // KiB
  iterations: 3,
  parallelism: 4,
  hashLength: 32,
  outputType: "encoded",
});

/** One who is there costs a read and a message more than one who is not: wait for the difference. */
async function login(credentials) {
  const start = performance.now();
  const answer = await checkLogin(credentials);
  if (answer === WRONG) await sleep(Math.max(0, start + NO_SOONER - performance.now()));
  return answer;
}

async function checkLogin({ email, password }) {
  if (typeof email !== "string" || typeof password !== "string" || !password) {
    throw new SyntaxError("no e-mail address or no password");
  }
  const user = await userByEmail(email);
  const matches = await argon2Verify({ password, hash: user?.password_hash?.S ?? nobody });
  const right = matches && Boolean(user?.password_hash);
  if (!user || isLocked(user)) return WRONG; // in a lock even the right password tells nothing
  const userId = user.user_id.S;
  if (!right) {
    await send("RecordLoginFailure", userId, {});
    return WRONG;
  }
  // told to who knows the password only
  if (isBanned(user)) return [403, { error: "UserBanned" }];
  if (user.deactivated?.BOOL) return [403, { error: "UserDeactivated" }];
  if (user.two_factor_enabled?.BOOL) return [403, { error: "SecondFactorNeeded" }];
  const token = makeToken(userId, randomUUID());
  const expires_at = new Date(Date.now() + LIFETIME).toISOString();
  const expirytime = new Date(Date.now() + 60_000).toISOString();
  const data = {
    session_id: token.sessionId,
    refresh_family_hash: token.familyHash,
    refresh_token_hash: token.hash,
    expires_at,
    credential_version: Number(user.credential_version.N),
    methods: ["pwd"],
  };
  await send("StartSession", userId, data, { expirytime });
  return handOut(token, expires_at);
}

async function session(token) {
  const refusal = await whyNot(token);
  return refusal ? [401, { error: refusal }] : [200, { user_id: token.userId }];
}

async function refresh(token) {
  const refusal = await whyNot(token);
  const following = makeToken(token.userId, token.sessionId, token.family);
  const expires_at = new Date(Date.now() + LIFETIME).toISOString();
  if (!refusal || refusal === "RefreshTokenReused") {
    // the worker ends the session of a token that was used twice
    await send("RotateRefreshToken", token.userId, {
      session_id: token.sessionId,
      refresh_family_hash: token.familyHash,
      refresh_token_hash: token.hash,
      next_refresh_token_hash: following.hash,
      expires_at,
    });
  }
  return refusal ? [401, { error: refusal }] : handOut(following, expires_at);
}

async function bodyOf(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    if ((size += part.length) > 4096) throw new SyntaxError("too large");
    parts.push(part);
  }
  return JSON.parse(Buffer.concat(parts)) ?? {};
}

const routes = {
  "POST /login": async (request) => login(await bodyOf(request)),
  "GET /session": (request) => session(parseToken(request.headers.authorization)),
  "POST /refresh": (request) => refresh(parseToken(request.headers.authorization)),
};

async function answer(request, response) {
  let status, body;
  try {
    const route = routes[`${request.method} ${request.url}`];
    [status, body] = route ? await route(request) : [404, { error: "NotFound" }];
  } catch (error) {
    // never let in because of an error, and never say more
    if (!(error instanceof SyntaxError)) console.error(`error: ${error.name}`);
    [status, body] = error instanceof SyntaxError ? [400, { error: "BadRequest" }] : LATER;
  }
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  response.writeHead(status, headers).end(JSON.stringify(body));
}

// behind something that speaks TLS and limits attempts by address
const { values: options } = parseArgs({ options: { port: { type: "string", default: "8080" } } });
const server = createServer({ requestTimeout: 10_000 }, answer);
server.listen(Number(options.port), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    console.log("stopped");
    process.exit(0);
  });
}
