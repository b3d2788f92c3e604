// Sends commands and waits for their outcomes, on a queue that no other process reads.
import { randomUUID } from "node:crypto";
import { OutcomeListener, UserCommands } from "@biome/users";

const source = `/admin/${randomUUID()}`; // of this process, so that it hears its own answers only
const users = new UserCommands({ source });
const outcomes = new OutcomeListener({ source });
await outcomes.start(); // before the first command, or its answer may be missed
try {
  const dorothy = { email: "dorothy@example.com", first_name: "Dorothy", last_name: "Vaughan" };
  const created = await users.send("CreateUser", { ...dorothy, roles: ["customer"] });
  console.log((await outcomes.answer(created)).kind); // accepted
  const taken = await users.send("CreateUser", { ...dorothy, roles: [] });
  const { kind, code } = await outcomes.answer(taken, { timeout: 30_000 });
  console.log(kind, code); // rejected EmailTaken
} finally {
  await outcomes.close();
}
