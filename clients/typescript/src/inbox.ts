/** Process each event once, in the order of its user, and detect events that are missing. */

import type { UserEvent } from "./events.js";

/** Milliseconds. A queue keeps a message for 14 days at most: after that, none is repeated. */
const REPETITIONS_END = 15 * 86_400_000;

/**
 * Storage of an inbox, in the database of the service.
 *
 * No method commits: the service commits it together with the effects of the events.
 */
export interface InboxStore {
  /** Store the id of an event; return false if it is stored already. */
  addSeen(eventId: string, now: number): Promise<boolean>;
  /** Delete the ids that were stored before a time, in milliseconds since the epoch. */
  deleteSeen(before: number): Promise<void>;
  /** Return the sequence of the user's last processed event; 0 before the first one. */
  position(userId: string): Promise<number>;
  /** Store the position, and delete waiting events of the user up to it. */
  setPosition(userId: string, sequence: number): Promise<void>;
  /** Store an event that arrived before an earlier one. */
  addWaiting(userId: string, sequence: number, now: number, event: UserEvent): Promise<void>;
  /** Return a waiting event. */
  waiting(userId: string, sequence: number): Promise<UserEvent | undefined>;
  /** Return the ids of up to 100 users with an event that waits since before a time. */
  waitingSince(before: number): Promise<string[]>;
}

/**
 * Removes repetitions of events and orders the events of each user.
 *
 * Call `take` in the transaction that stores the effects of the events, and delete the message from
 * the queue after the commit. Then a crash at any time loses nothing and repeats no effect.
 *
 * An inbox needs all events of a user that have a `sequence`. A subscription with a filter by type
 * leaves gaps: compare sequences yourself there.
 */
export class Inbox {
  readonly #store: InboxStore;
  readonly #patience: number;

  /** Set the store, and the milliseconds after which a missing event counts as a gap. */
  constructor(store: InboxStore, patience = 60_000) {
    this.#store = store;
    this.#patience = patience;
  }

  /** Return the events that are to be processed now, in order, after one has arrived. */
  async take(event: UserEvent, now = Date.now()): Promise<UserEvent[]> {
    if (!(await this.#store.addSeen(event.id, now))) return [];
    const { userId, sequence } = event;
    if (sequence === undefined || userId === undefined) return [event]; // an answer has no order
    if (sequence <= (await this.#store.position(userId))) return []; // something later was processed
    if (event.type.startsWith("biome.user.UserErased.")) {
      await this.#store.setPosition(userId, sequence);
      return [event]; // the last event; events before it have no effect any more
    }
    await this.#store.addWaiting(userId, sequence, now, event);
    return this.#release(userId);
  }

  /**
   * Return the ids of users of whom an event is missing for too long.
   *
   * Read the user's present state, process it, and call `skipTo` with its version.
   */
  gaps(now = Date.now()): Promise<string[]> {
    return this.#store.waitingSince(now - this.#patience);
  }

  /** Treat all events up to a version as processed; return those to be processed now. */
  async skipTo(userId: string, version: number): Promise<UserEvent[]> {
    const position = await this.#store.position(userId);
    await this.#store.setPosition(userId, Math.max(version, position));
    return this.#release(userId);
  }

  /** Delete the ids of events that cannot be repeated any more. */
  prune(now = Date.now()): Promise<void> {
    return this.#store.deleteSeen(now - REPETITIONS_END);
  }

  async #release(userId: string): Promise<UserEvent[]> {
    const due: UserEvent[] = [];
    for (let following = (await this.#store.position(userId)) + 1; ; following++) {
      const event = await this.#store.waiting(userId, following);
      if (event === undefined) return due;
      await this.#store.setPosition(userId, following);
      due.push(event);
    }
  }
}

/** The content of a `MemoryInboxStore`, as JSON. */
export interface InboxState {
  seen: [string, number][];
  positions: [string, number][];
  waiting: [string, [number, { at: number; event: UserEvent }][]][];
}

/**
 * Keeps an inbox in memory: for tests, and for services that save `toJSON()` with their effects or
 * read everything again at a start.
 */
export class MemoryInboxStore implements InboxStore {
  readonly #seen: Map<string, number>;
  readonly #positions: Map<string, number>;
  readonly #waiting: Map<string, Map<number, { at: number; event: UserEvent }>>;

  /** Start with the state that `toJSON` returned, or empty. */
  constructor(state: Partial<InboxState> = {}) {
    this.#seen = new Map(state.seen);
    this.#positions = new Map(state.positions);
    this.#waiting = new Map(state.waiting?.map(([userId, events]) => [userId, new Map(events)]));
  }

  toJSON(): InboxState {
    return {
      seen: [...this.#seen],
      positions: [...this.#positions],
      waiting: [...this.#waiting].map(([userId, events]) => [userId, [...events]]),
    };
  }

  async addSeen(eventId: string, now: number): Promise<boolean> {
    if (this.#seen.has(eventId)) return false;
    this.#seen.set(eventId, now);
    return true;
  }

  async deleteSeen(before: number): Promise<void> {
    for (const [id, at] of this.#seen) if (at < before) this.#seen.delete(id);
  }

  async position(userId: string): Promise<number> {
    return this.#positions.get(userId) ?? 0;
  }

  async setPosition(userId: string, sequence: number): Promise<void> {
    this.#positions.set(userId, sequence);
    const events = this.#waiting.get(userId);
    for (const each of [...(events?.keys() ?? [])]) if (each <= sequence) events?.delete(each);
    if (events?.size === 0) this.#waiting.delete(userId);
  }

  async addWaiting(userId: string, sequence: number, now: number, event: UserEvent): Promise<void> {
    const events = this.#waiting.get(userId) ?? new Map();
    if (!events.has(sequence)) events.set(sequence, { at: now, event });
    this.#waiting.set(userId, events);
  }

  async waiting(userId: string, sequence: number): Promise<UserEvent | undefined> {
    return this.#waiting.get(userId)?.get(sequence)?.event;
  }

  async waitingSince(before: number): Promise<string[]> {
    return [...this.#waiting]
      .filter(([, events]) => [...events.values()].some(({ at }) => at <= before))
      .map(([userId]) => userId)
      .slice(0, 100);
  }
}
