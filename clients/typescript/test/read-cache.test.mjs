// ReadCache: what a reader may answer from it, for how long, and what it never answers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LoginReader, ReadCache, RefreshToken, UnavailableError, UserReader } from "@biome/users";
import { FakeUserTable } from "@biome/users/testing";

const CACHED = { cached: true };

/** A table with a user and a session, a reader with a cache, and the number of its calls. */
function world(options = {}) {
  const table = new FakeUserTable();
  const ada = table.addUser("ada@example.com", { password_hash: "$argon2id$" });
  const token = RefreshToken.create(ada);
  table.addSession(token);
  const here = { table, ada, token, reads: 0, time: 0, gate: undefined, now: new Date() };
  const send = table.send;
  table.send = async (command) => {
    here.reads++;
    const { gate } = here;
    const answer = await send(command); // what is stored when the read begins
    await gate;
    return answer;
  };
  here.cache = new ReadCache({ ttl: 10_000, clock: () => here.time, ...options });
  const settings = { client: table, cache: here.cache, clock: () => here.now };
  here.users = new UserReader(settings);
  here.login = new LoginReader(settings);
  here.check = (given = token) => here.users.checkSession(ada, given.sessionId, CACHED);
  here.change = (attributes) => {
    const version = Number(table.items.get(`USER#${ada} USER`).version.N) + 1;
    table.changeUser(ada, { version, ...attributes });
  };
  return here;
}

/** Hold back the answers of the table; return the function that lets them pass. */
function held(here) {
  const { promise, resolve } = Promise.withResolvers();
  here.gate = promise;
  return () => {
    here.gate = undefined;
    resolve();
  };
}

test("only a caller that asks for it gets what is cached", async () => {
  const here = world();
  await here.users.get(here.ada);
  here.change({ deactivated: true });
  assert.equal((await here.users.get(here.ada, CACHED)).deactivated, false);
  assert.equal(here.reads, 1);
  assert.equal((await here.users.get(here.ada)).deactivated, true);
  assert.equal((await here.users.getMany([here.ada], CACHED)).get(here.ada).deactivated, true);
  assert.equal(here.reads, 2);
});

test("an answer is as old as the ttl at most", async () => {
  const here = world();
  assert.equal((await here.check()).refusal, undefined);
  here.change({ ban: { reason: "spam" } });
  here.time = 9_999;
  assert.equal((await here.check()).refusal, undefined);
  assert.equal(here.reads, 1);
  here.time = 10_000;
  assert.equal((await here.check()).refusal, "UserBanned");
  assert.equal(here.reads, 2);
});

test("a cached session expires at its time", async () => {
  const here = world();
  await here.check();
  here.now = new Date(Date.now() + 86_400_000);
  assert.equal((await here.check()).refusal, "SessionExpired");
});

test("a refusal is read again, so a new session continues at once", async () => {
  const here = world();
  const tablet = RefreshToken.create(here.ada);
  assert.equal((await here.check(tablet)).refusal, "SessionNotFound");
  here.table.addSession(tablet);
  here.change({});
  assert.equal((await here.check(tablet)).refusal, undefined);
});

test("a session is not combined with another version of its user", async () => {
  const here = world();
  await here.check();
  here.change({});
  here.table.items.delete(`USER#${here.ada} SESSION#${here.token.sessionId}`);
  await here.users.get(here.ada);
  assert.equal((await here.check()).refusal, "SessionNotFound");
});

test("forget makes the next reads fresh", async () => {
  const here = world();
  await here.check();
  here.change({ ban: { reason: "spam" } });
  here.users.forget(here.ada.toUpperCase());
  assert.equal((await here.check()).refusal, "UserBanned");
  assert.ok((await here.users.get(here.ada, CACHED)).ban);
  assert.equal(here.reads, 2);
});

for (const [what, ask] of Object.entries({
  get: (here) => here.users.get(here.ada, CACHED),
  checkSession: (here) => here.check(),
})) {
  test(`${what} after forget neither joins a read that began before, nor gets what it stored`, async () => {
    const here = world();
    const release = held(here);
    const before = ask(here);
    here.users.forget(here.ada);
    const after = ask(here);
    assert.equal(here.reads, 2);
    release();
    await Promise.all([before, after]);
    await ask(here);
    assert.equal(here.reads, 2); // the second read is stored
  });

  test(`100 callers of ${what} at once share one read`, async () => {
    const here = world();
    const release = held(here);
    const callers = Array.from({ length: 100 }, () => ask(here));
    release();
    const answers = await Promise.all(callers);
    assert.equal(new Set(answers).size, 1);
    assert.equal(here.reads, 1);
  });

  test(`an error of ${what} reaches all who share the read, and is not cached`, async () => {
    const here = world();
    const cause = new Error("ThrottlingException");
    here.table.error = cause;
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => ask(here)));
    for (const { reason } of results) {
      assert.ok(reason instanceof UnavailableError && reason.cause === cause);
    }
    assert.equal(here.reads, 1);
    assert.ok(await ask(here));
    assert.equal(here.reads, 2);
  });
}

test("what is written during a shared read is found by who asks after it", async () => {
  const here = world();
  const tablet = RefreshToken.create(here.ada);
  const release = held(here);
  const before = here.check(tablet);
  here.table.addSession(tablet);
  here.change({});
  const after = Array.from({ length: 10 }, () => here.check(tablet));
  release();
  assert.equal((await before).refusal, "SessionNotFound");
  for (const check of await Promise.all(after)) assert.equal(check.refusal, undefined);
  assert.equal(here.reads, 2); // the ten share the second one
});

test("a read that ends late does not replace a later one", async () => {
  const here = world();
  const release = held(here);
  const early = here.users.get(here.ada);
  here.gate = undefined; // the second read is not held back
  here.change({ deactivated: true });
  await here.users.get(here.ada);
  release();
  assert.equal((await early).deactivated, false);
  assert.equal((await here.users.get(here.ada, CACHED)).deactivated, true);
});

test("a token is never checked by what is cached", async () => {
  const here = world();
  await here.check();
  here.change({ deactivated: true });
  const { userId, sessionId, refreshFamilyHash, refreshTokenHash } = here.token;
  const check = await here.login.checkToken(userId, sessionId, refreshFamilyHash, refreshTokenHash);
  assert.equal(check.refusal, "UserDeactivated");
});

test("the cache is bounded, evicts the least recently used, and counts", async () => {
  const here = world({ size: 2 });
  const [grace, mary] = ["grace", "mary"].map((name) => here.table.addUser(`${name}@example.com`));
  for (const id of [here.ada, grace, here.ada, mary, here.ada, grace]) {
    assert.equal((await here.users.get(id, CACHED)).userId, id);
  }
  assert.deepEqual(here.cache.statistics, { hits: 2, misses: 4, evictions: 2, entries: 2 });
  assert.equal(here.reads, 4);
});

test("callers that share a view cannot change it", async () => {
  const here = world();
  const view = await here.users.get(here.ada, CACHED);
  assert.throws(() => view.roles.push("admin"), TypeError);
  assert.throws(() => (view.deactivated = true), TypeError);
});

test("without a cache, cached has no effect", async () => {
  const { table, ada } = world();
  const reader = new UserReader({ client: table });
  assert.notEqual(await reader.get(ada, CACHED), await reader.get(ada, CACHED));
  reader.forget(ada);
});

for (const options of [{ size: 0 }, { size: Number.NaN }, { ttl: 0 }, { ttl: Number.NaN }]) {
  test(`a cache without bounds is refused: ${JSON.stringify(options)}`, () => {
    assert.throws(() => new ReadCache(options), RangeError);
  });
}
