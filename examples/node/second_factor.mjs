// Encrypts the secrets of second factors, with AES-256-GCM; in production with a data key of KMS.
//
// The secret is stored as a ciphertext that only the login service can decrypt. The worker has no
// key; it accepts each step of the one-time password and each recovery code once.
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

const NONCE = 12; // bytes; a random one for each ciphertext
const TAG = 16;

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
