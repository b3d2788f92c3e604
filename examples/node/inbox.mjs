// Gives each event once, in the order of its user, and tells where one is missing.

const MOST_IDS = 100_000; // of repetitions older than that, the sequence knows
const MOST_WAITING = 10_000; // events, of all users: what keeps memory bounded

/**
 * Give it all events that have a `sequence`: a subscription that leaves types out sees gaps
 * everywhere. Save `state()` together with what you made of the events, and only then delete the
 * messages: a crash at any moment then loses nothing and does nothing twice.
 */
export class Inbox {
  #ids; // of events seen, oldest first
  #positions; // user id -> sequence of the last event given out
  #waiting = new Map(); // user id -> sequence -> { at, event }
  #patience;

  constructor(patience, { ids = [], positions = {}, waiting = [] } = {}) {
    this.#patience = patience; // ms that a missing event may take before it is called a gap
    this.#ids = new Set(ids);
    this.#positions = new Map(Object.entries(positions));
    for (const { at, event } of waiting) this.#wait(event, at);
  }

  /** All that has to outlive the process, as JSON values. */
  state() {
    const waiting = [...this.#waiting.values()].flatMap((events) => [...events.values()]);
    return { ids: [...this.#ids], positions: Object.fromEntries(this.#positions), waiting };
  }

  /** Take an event that came; give those that are to be acted upon now, in order. */
  take(event, now) {
    const { id, type, data } = event;
    if (typeof id !== "string" || typeof type !== "string") throw new TypeError("no event");
    if (typeof data !== "object" || data === null) throw new TypeError("no event");
    if (this.#ids.has(id)) return []; // a repetition
    if (!("sequence" in event)) {
      this.#know(id);
      return [event]; // an answer to a command (category `command`): of no order
    }
    if (typeof event.subject !== "string" || !/^[0-9]{20}$/.test(event.sequence)) {
      throw new TypeError("no event");
    }
    this.#know(id);
    const sequence = Number(event.sequence);
    if (sequence <= this.position(event.subject)) return []; // overtaken by what was read
    if (event.type.startsWith("biome.user.UserErased.")) {
      this.#move(event.subject, sequence); // the last one, and what came before is void
      return [event];
    }
    this.#wait(event, now);
    return this.#release(event.subject);
  }

  /** The ids of users of whom an event has been missing for too long. */
  gaps(now) {
    let count = 0;
    for (const events of this.#waiting.values()) count += events.size;
    const late = ({ at }) => now - at >= this.#patience;
    return [...this.#waiting]
      .filter(([, events]) => count > MOST_WAITING || [...events.values()].some(late))
      .map(([userId]) => userId);
  }

  /** Take all events up to a version for done, since the user's state was read. */
  skipTo(userId, version) {
    this.#move(userId, Math.max(version, this.position(userId)));
    return this.#release(userId);
  }

  position(userId) {
    return this.#positions.get(userId) ?? 0;
  }

  #know(id) {
    this.#ids.add(id);
    if (this.#ids.size > MOST_IDS) this.#ids.delete(this.#ids.values().next().value);
  }

  #wait(event, at) {
    const events = this.#waiting.get(event.subject) ?? new Map();
    events.set(Number(event.sequence), { at, event });
    this.#waiting.set(event.subject, events);
  }

  #move(userId, sequence) {
    this.#positions.set(userId, sequence);
    const events = this.#waiting.get(userId);
    if (!events) return;
    for (const each of [...events.keys()]) if (each <= sequence) events.delete(each);
    if (events.size === 0) this.#waiting.delete(userId);
  }

  #release(userId) {
    const due = [];
    for (;;) {
      const following = this.position(userId) + 1;
      const found = this.#waiting.get(userId)?.get(following);
      if (!found) return due;
      this.#move(userId, following);
      due.push(found.event);
    }
  }
}
