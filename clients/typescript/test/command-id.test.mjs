// Command ids are UUIDv7: they sort by time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newCommandId, request } from "@biome/users";

const V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test("a command id has the layout of RFC 9562", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 0x017f22e279b0 });
  const ids = Array.from({ length: 200 }, newCommandId);
  for (const id of ids) {
    assert.match(id, V7);
    assert.equal(id.slice(0, 13), "017f22e2-79b0"); // the example of appendix A.6
  }
  for (const place of [...Array(36).keys()].filter((each) => each > 14 && each !== 18 && each !== 23)) {
    assert.ok(new Set(ids.map((id) => id[place])).size > 1, `character ${place} is random`);
  }
});

test("command ids sort by time", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 0 });
  const ids = Array.from({ length: 1000 }, (_, place) => {
    t.mock.timers.setTime(place * 2 ** 38);
    return newCommandId();
  });
  assert.deepEqual(ids, [...ids].sort());
});

test("a request has such an id", () => {
  assert.match(request("UnbanUser", {}, {}).envelope.commandId, V7);
});
