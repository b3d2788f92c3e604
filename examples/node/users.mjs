// Reads users, sessions and outcomes from the table, by the attributes of docs/table.md.
import { createHash, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { domainToASCII } from "node:url";
import { BatchGetItemCommand, DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";

const table = "users";
const dynamodb = new DynamoDBClient({});

/** The worker's setting REFRESH_LEEWAY, in milliseconds. */
const LEEWAY = 10_000;

// --- items -------------------------------------------------------------------------------------

const keyOf = (pk, sk) => ({ pk: { S: pk }, sk: { S: sk } });

/** Return an item; throw if it has a format that this program does not know. */
function known(item) {
  const format = /^(SESSION|COMMAND)#/.test(item?.sk.S) ? "2" : "1";
  if (item && item.schema?.N !== format) throw new Error("an item of another format");
  return item;
}

async function read(pk, sk) {
  const get = { TableName: table, Key: keyOf(pk, sk), ConsistentRead: true };
  return known((await dynamodb.send(new GetItemCommand(get))).Item);
}

/** Read items of a user in one call; return them by sort key. At most 100 keys. */
async function readParts(userId, sortKeys) {
  const found = {};
  const Keys = sortKeys.map((sk) => keyOf(`USER#${userId}`, sk));
  let request = { [table]: { Keys, ConsistentRead: true } };
  for (let tries = 0; request?.[table]; tries++) {
    if (tries === 5) throw new Error("DynamoDB leaves keys unread");
    if (tries > 0) await sleep(Math.random() * 50 * 2 ** tries);
    const answer = await dynamodb.send(new BatchGetItemCommand({ RequestItems: request }));
    for (const item of answer.Responses[table]) found[item.sk.S] = known(item);
    request = answer.UnprocessedKeys;
  }
  return found;
}

// --- users -------------------------------------------------------------------------------------

export const userById = (userId) => read(`USER#${userId}`, "USER");

/** The key of an address: composed, the domain in ASCII, and the whole of it case-folded. */
export function addressKey(email) {
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

/** Read the user who has an address. Another user may get it between the two reads: read again. */
export async function userByEmail(email) {
  const key = addressKey(email);
  for (let tries = 0; key && tries < 3; tries++) {
    const address = await read(`EMAIL#${key}`, "EMAIL");
    if (!address) return null;
    const user = await userById(address.user_id.S);
    if (user?.email && addressKey(user.email.S) === key) return user;
  }
  return null;
}

export const isLocked = ({ locked_until }) =>
  locked_until !== undefined && Date.parse(locked_until.S) > Date.now();

/** Return why a user has no access, apart from a lock; null if the user has access. */
export function whyNoAccess({ erased, ban, deactivated }) {
  if (erased?.BOOL) return "UserErased";
  if (ban && (!ban.M.until || Date.parse(ban.M.until.S) > Date.now())) return "UserBanned";
  return deactivated?.BOOL ? "UserDeactivated" : null;
}

/** Read the second factor: the encrypted secret and the last step that was used. */
export async function secondFactor(userId) {
  const { USER: user, TWO_FACTOR: factor } = await readParts(userId, ["USER", "TWO_FACTOR"]);
  if (!user?.two_factor_enabled?.BOOL || !factor) return null;
  return { ciphertext: factor.secret_ciphertext.S, lastStep: Number(user.last_totp_step?.N ?? -1) };
}

// --- sessions ----------------------------------------------------------------------------------

const liveSessions = (user) =>
  user.live_sessions?.S.split(" ").map((word) => word.split(":")[0]) ?? [];
const isExpired = (session) => Number(session.expires_at.N) * 1000 <= Date.now(); // TTL is late

/** The stored form of a hash that was sent with a command. */
const atRest = (hash) => createHash("sha256").update(Buffer.from(hash, "hex")).digest("hex");
const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

/** Return true if a session accepts the part of a token: it is live, or was just replaced. */
function accepts(session, token) {
  const part = atRest(token.hash).slice(0, 32);
  const live = session.refresh_token_hashes.S.split(" ").filter((each) => same(each, part));
  const replaced = session.replaced_token_hash && same(session.replaced_token_hash.S, part);
  return live.length > 0 || (replaced && Date.now() - Date.parse(session.replaced_at.S) < LEEWAY);
}

/** Return the user of a token, and why its session may not continue (null if it may). */
export async function checkSession(token) {
  const sortKey = `SESSION#${token.sessionId}`;
  const { USER: user, [sortKey]: session } = await readParts(token.userId, ["USER", sortKey]);
  return { user, refusal: whyNot(user, session, token) };
}

function whyNot(user, session, token) {
  if (!user) return "UserNotFound";
  const shutOut = whyNoAccess(user);
  if (shutOut) return shutOut;
  if (!session) return "SessionNotFound";
  if (isExpired(session)) return "SessionExpired";
  if (!liveSessions(user).includes(token.sessionId)) return "SessionEnded";
  if (!same(session.refresh_family_hash.S, atRest(token.familyHash))) return "RefreshTokenUnknown";
  return accepts(session, token) ? null : "RefreshTokenReused";
}

/** Read the sessions of a user that have neither ended nor expired, oldest first. */
export async function sessionsOf(user) {
  const ids = liveSessions(user);
  if (ids.length === 0) return [];
  const keys = ids.map((id) => `SESSION#${id}`);
  const items = await readParts(user.user_id.S, keys);
  return keys.map((key) => items[key]).filter((item) => item && !isExpired(item));
}

// --- outcomes ----------------------------------------------------------------------------------

/** Read how a command to a user ended; undefined if it is not decided yet. */
export async function outcomeOf(userId, commandId) {
  const item = await read(`USER#${userId}`, `COMMAND#${commandId}`);
  return item && { code: item.code?.S ?? null };
}
