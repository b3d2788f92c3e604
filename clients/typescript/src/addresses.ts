/** The form in which e-mail addresses are compared: case-folded, the domain in ASCII. */

import { domainToASCII } from "node:url";

/** Return true if a text has the form local@domain; the worker dead-letters other addresses. */
export function isAddress(text: string): boolean {
  const parts = /^([^\s\p{C}()<>[\]:;@\\,"]{1,64})@([^@]+)$/u.exec(text.trim());
  const [, local = "", domain = ""] = parts ?? [];
  if (local.split(".").includes("")) return false;
  const labels = domainToASCII(domain).split(".");
  const isLabel = (label: string): boolean =>
    /^[a-z0-9-]{1,63}$/.test(label) && !/^-|-$/.test(label);
  const isHost = labels.length > 1 && labels.every(isLabel) && !/^[0-9]+$/.test(labels.at(-1)!);
  return isHost && Buffer.byteLength(`${local}@${labels.join(".")}`) <= 254;
}

/**
 * Return the key of an address, as the worker stores it.
 *
 * @throws {RangeError} Not an address.
 */
export function addressKey(email: string): string {
  // in domains, Node 22 reads ẞ as ss
  const text = email.normalize("NFC").trim().replaceAll("ẞ", "ß");
  if (!isAddress(text)) throw new RangeError("must be an e-mail address of the form local@domain");
  const [local = "", domain = ""] = text.split("@");
  return folded(`${local}@${domainToASCII(domain)}`);
}

/**
 * Return the key of an address in its stored form.
 *
 * Letter by letter this is Unicode's case folding; the dotless i and Cherokee are exceptions.
 */
export function folded(address: string): string {
  const upper = (letter: string): string => (letter === "ı" ? letter : letter.toUpperCase());
  const fold = (letter: string): string =>
    /\p{Script=Cherokee}/u.test(letter) ? upper(letter) : upper(letter).toLowerCase();
  return [...address].map(fold).join("").normalize("NFC");
}
