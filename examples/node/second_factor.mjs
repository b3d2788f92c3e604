// The second factor of a login service: one-time passwords (RFC 6238) and recovery codes.
//
// The secret is stored as a ciphertext that only the login service can decrypt. The worker has no
// key; it accepts each step of the one-time password and each recovery code once.
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from "node:crypto";

const PERIOD = 30; // seconds of a step
const ISSUER = "Biome";
const RECOVERY_CODES = 10;
const NONCE = 12; // bytes; a random one for each ciphertext
const TAG = 16;

// --- encryption, with AES-256-GCM; in production with a data key of KMS --------------------------

/** Return the ciphertext; it is valid only for this user id, which is authenticated. */
export function encrypt(key, secret, userId) {
  const nonce = randomBytes(NONCE);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(Buffer.from(userId));
  const parts = [nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(parts).toString("base64");
}

/** Return the secret; throw if the ciphertext is not of this key and this user. */
export function decrypt(key, ciphertext, userId) {
  const data = Buffer.from(ciphertext, "base64");
  const options = { authTagLength: TAG };
  const cipher = createDecipheriv("aes-256-gcm", key, data.subarray(0, NONCE), options);
  cipher.setAAD(Buffer.from(userId)).setAuthTag(data.subarray(-TAG));
  return Buffer.concat([cipher.update(data.subarray(NONCE, -TAG)), cipher.final()]);
}

// --- one-time passwords --------------------------------------------------------------------------

/** Create the secret of an authenticator app: 160 bits, as RFC 4226 recommends. */
export const newSecret = () => randomBytes(20);

/** Return bytes in Base32, whose number of bits must be a multiple of five. */
export function base32(bytes) {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const letter = (group) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[parseInt(group, 2)];
  return bits.match(/.{5}/g).map(letter).join("");
}

/** Return the URI that an authenticator app reads from a QR code. */
export function setupUri(secret, account) {
  const label = encodeURIComponent(`${ISSUER}:${account}`);
  return `otpauth://totp/${label}?secret=${base32(secret)}&issuer=${ISSUER}`;
}

/** Return the one-time password of a step: six digits. */
function codeOf(secret, step) {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac("sha1", secret).update(counter).digest();
  const number = digest.readUInt32BE(digest.at(-1) & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, "0");
}

/** Return the six digits that a person typed, without spaces; throw SyntaxError otherwise. */
export function parseCode(text) {
  const code = text.replaceAll(/\s/g, "");
  if (!/^[0-9]{6}$/.test(code)) throw new SyntaxError("a one-time password has six digits");
  return code;
}

/**
 * Return the step of a one-time password, or null if it is wrong. Accepts the present step and its
 * neighbours, because clocks differ and people type slowly, but no step up to `after`, the last one
 * that was used.
 */
export function findStep(secret, code, after = -1) {
  const present = Math.floor(Date.now() / 1000 / PERIOD);
  const matches = (step) => timingSafeEqual(Buffer.from(codeOf(secret, step)), Buffer.from(code));
  const steps = [present - 1, present, present + 1].filter((step) => step > after);
  return steps.filter(matches).at(-1) ?? null;
}

// --- recovery codes ------------------------------------------------------------------------------

/** Create recovery codes of 80 random bits: too many to be guessed from a stored hash. */
export const newRecoveryCodes = () =>
  Array.from({ length: RECOVERY_CODES }, () =>
    base32(randomBytes(10)).toLowerCase().match(/.{4}/g).join("-"),
  );

/** Return the hash of a recovery code as a person typed it, in any case and grouping. */
export function recoveryCodeHash(code) {
  const typed = code.replaceAll(/[-\s]/g, "").toLowerCase();
  if (!/^[a-z2-7]{16}$/.test(typed)) throw new SyntaxError("a recovery code has 16 characters");
  return createHash("sha256").update(typed).digest("hex");
}
