/** One-time passwords (RFC 6238) and recovery codes, for a login service. */

import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** Seconds of a step. */
export const PERIOD = 30;
export const RECOVERY_CODES = 10;

/**
 * Return the secret of an authenticator app: 160 bits, as RFC 4226 recommends.
 *
 * Encrypt it before you send EnableTwoFactor: the worker stores the ciphertext and has no key.
 */
export function newTotpSecret(): Uint8Array {
  return randomBytes(20);
}

/** Return the URI that an authenticator app reads from a QR code. */
export function setupUri(secret: Uint8Array, account: string, issuer: string): string {
  const label = encodeURIComponent(`${issuer}:${account}`);
  return `otpauth://totp/${label}?secret=${base32(secret)}&issuer=${encodeURIComponent(issuer)}`;
}

/** Return the one-time password of a step: six digits. */
export function totpCode(secret: Uint8Array, step: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const digest = createHmac("sha1", secret).update(counter).digest();
  const number = digest.readUInt32BE(digest.readUInt8(19) & 15) & 0x7fff_ffff;
  return String(number % 1_000_000).padStart(6, "0");
}

/**
 * Return the step of a one-time password, or undefined if it is wrong.
 *
 * The current step and its neighbours are accepted, because clocks differ and people type slowly,
 * but no step up to `after`, the last one that was used.
 *
 * @param code - What the person typed; spaces are ignored.
 * @param now - The time, in milliseconds since the epoch.
 */
export function findTotpStep(
  secret: Uint8Array,
  code: string,
  after = -1,
  now = Date.now(),
): number | undefined {
  const typed = code.replaceAll(/\s/g, "");
  if (!/^[0-9]{6}$/.test(typed)) return undefined;
  const current = Math.floor(now / 1000 / PERIOD);
  const matches = (step: number): boolean =>
    timingSafeEqual(Buffer.from(totpCode(secret, step)), Buffer.from(typed));
  const steps = [current - 1, current, current + 1];
  return steps.filter((step) => step > Math.max(after, -1) && matches(step)).at(-1);
}

/** Return recovery codes of 80 random bits: too many to be guessed from a stored hash. */
export function newRecoveryCodes(): string[] {
  return Array.from({ length: RECOVERY_CODES }, () => {
    const text = base32(randomBytes(10)).toLowerCase();
    return [0, 4, 8, 12].map((start) => text.slice(start, start + 4)).join("-");
  });
}

/**
 * Return the hash of a recovery code as typed, in any case and grouping: SHA-256 in hexadecimal.
 *
 * @returns undefined if the text is not a recovery code.
 */
export function recoveryCodeHash(code: string): string | undefined {
  const typed = code.replaceAll(/[-\s]/g, "").toLowerCase();
  if (!/^[a-z2-7]{16}$/.test(typed)) return undefined;
  return createHash("sha256").update(typed).digest("hex");
}

/** Return bytes in Base32, whose number of bits must be a multiple of five. */
function base32(bytes: Uint8Array): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const groups = bits.match(/.{5}/g) ?? [];
  return groups.map((group) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[parseInt(group, 2)]).join("");
}
