/** Send commands to the user worker, and receive its events. */

export type * from "./commands.js";
export * from "./errors.js";
export type * from "./event-types.js";
export * from "./events.js";
export * from "./inbox.js";
export * from "./second-factor.js";
export {
  type CommandName,
  type CommandRequest,
  type Envelope,
  request,
  type SendOptions,
  UserCommands,
  type UserCommandsOptions,
} from "./sender.js";
export * from "./tokens.js";
