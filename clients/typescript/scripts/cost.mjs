// Prints the processor time that sending a command takes, without the network: SQS is a stub.
import { request, UserCommands } from "../dist/index.js";

const COMMANDS = 1_000;
const ROUNDS = 15;
const client = {
  send: async ({ input }) => ({ Successful: input.Entries.map(({ Id }) => ({ Id })), Failed: [] }),
};
const users = new UserCommands({ queue: "http://sqs/1/q", source: "/signup", client });
const password_hash =
  "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
const data = { email: "ada@example.com", first_name: "Ada", last_name: "Lovelace", password_hash };
const userId = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77";

/** Return the milliseconds of processor time of a registration, the least of some rounds. */
async function measure(send) {
  let least = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.cpuUsage();
    await send(Array.from({ length: COMMANDS }, () => request("RegisterUser", data, { userId })));
    const { user, system } = process.cpuUsage(start);
    least = Math.min(least, (user + system) / 1_000 / COMMANDS);
  }
  return least.toFixed(3);
}

console.log(`ten a call: ${await measure((all) => users.sendMany(all))} ms a command`);
const oneByOne = async (all) => {
  for (const each of all) await users.sendMany([each]);
};
console.log(`one a call: ${await measure(oneByOne)} ms a command`);
