// Passwords of a login service: argon2id, and the hashes of imported users.
import { pbkdf2, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { argon2id, argon2Verify, bcryptVerify } from "hash-wasm";

export const hashPassword = (password) =>
  argon2id({
    password,
    salt: randomBytes(16),
    memorySize: 65_536, // KiB
    iterations: 3,
    parallelism: 4,
    hashLength: 32,
    outputType: "encoded",
  });

const dummy = await hashPassword(randomBytes(16));

/**
 * Return true if a password is the one that was hashed. Without a hash (unknown user, or no
 * password set) a dummy hash is checked, so that the duration does not reveal whether the user
 * exists.
 */
export async function verifyPassword(hash, password) {
  const checked = hash ?? dummy;
  const check = checked.startsWith("$argon2") ? argon2Verify({ password, hash: checked }) : null;
  const matches = await (check ?? matchesImported(checked, Buffer.from(password)));
  return matches && Boolean(hash);
}

/** Check a password against a hash of another system, in the forms that CreateUser accepts. */
async function matchesImported(hash, password) {
  if (hash.startsWith("$2")) {
    return bcryptVerify({ password: password.subarray(0, 72), hash }); // bcrypt ignores the rest
  }
  const [algorithm, parameters, salt, digest] = hash.split("$").slice(-4);
  const expected = decode(digest);
  const found = await derive(algorithm, parameters, salt, password, expected.length);
  return timingSafeEqual(found, expected);
}

function derive(algorithm, parameters, salt, password, length) {
  // the rounds are written 29000 or i=29000,l=32
  const rounds = Number(parameters.split(",")[0].replace(/^i=/, ""));
  const pbkdf2Key = (name, bytes) => promisify(pbkdf2)(password, bytes, rounds, length, name);
  switch (algorithm) {
    case "scrypt": {
      const [ln, r, p] = parameters.split(",").map((each) => Number(each.split("=")[1]));
      const N = 2 ** ln;
      const maxmem = 128 * r * (N + p + 2);
      return promisify(scrypt)(password, decode(salt), length, { N, r, p, maxmem });
    }
    case "pbkdf2-sha256": // the forms of passlib and of PHC
      return pbkdf2Key("sha256", decode(salt));
    case "pbkdf2-sha512":
      return pbkdf2Key("sha512", decode(salt));
    case "pbkdf2_sha256": // Django's form: its salt is text
      return pbkdf2Key("sha256", salt);
    default:
      throw new Error("an unknown form of password hash");
  }
}

/** Decode Base64 with or without padding; passlib writes `.` instead of `+`. */
const decode = (text) => Buffer.from(text.replaceAll(".", "+"), "base64");
