/** New ids of commands. */

import { randomBytes } from "node:crypto";

/**
 * Return a UUIDv7 (RFC 9562): ids sort by the millisecond in which they were created.
 *
 * The worker stores a user's outcomes by command id, so that operators see the newest first.
 */
export function newCommandId(): string {
  const id = randomBytes(16);
  id.writeUIntBE(Date.now(), 0, 6);
  id.writeUInt8((id.readUInt8(6) & 0x0f) | 0x70, 6);
  id.writeUInt8((id.readUInt8(8) & 0x3f) | 0x80, 8);
  return id.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
