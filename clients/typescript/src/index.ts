/** Send commands to the user worker, learn how they ended, receive events, and read users. */

export type { Answer, AnswerKind } from "./answers.js";
export { newCommandId } from "./command-id.js";
export type * from "./commands.js";
export {
  InvalidCommandError,
  InvalidEventError,
  NoAnswerError,
  NotListeningError,
  NotSentError,
  NotSubscribedError,
  RefusedError,
  SessionRefusedError,
  UnavailableError,
  UnreadableError,
  UsersError,
} from "./errors.js";
export type * from "./event-types.js";
export * from "./events.js";
export * from "./inbox.js";
export * from "./login.js";
export { type AnswerOptions, OutcomeListener, type OutcomeListenerOptions } from "./outcomes.js";
export { type CacheStatistics, ReadCache, type ReadCacheOptions } from "./read-cache.js";
export {
  isBanned,
  isLocked,
  LoginReader,
  type LoginReaderOptions,
  type LoginRefusal,
  loginRefusal,
  type OutcomeView,
  type ReadOptions,
  type SecondFactorView,
  type SessionCheck,
  type SessionRefusal,
  type SessionView,
  UserReader,
  type UserReaderOptions,
  type UserView,
} from "./reader.js";
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
