/** A bounded cache of users and sessions, for reads that may be some seconds old. */

export interface ReadCacheOptions {
  /** Maximum number of entries, 10,000 by default; a user is one, and so is a session. */
  size?: number;
  /** Maximum age of an entry in milliseconds; 10 s by default. */
  ttl?: number;
  /** Returns milliseconds of a monotonic clock. */
  clock?: () => number;
}

/** Counts of a cache. */
export interface CacheStatistics {
  /** Lookups that the cache answered. */
  hits: number;
  misses: number;
  /** Entries that were evicted because the cache was full. */
  evictions: number;
  entries: number;
}

/** The start of a read: its time, and its place among all reads and invalidations. */
export interface ReadStart {
  readonly at: number;
  readonly turn: number;
}

interface Entry extends ReadStart {
  readonly value: unknown;
}

/**
 * A least-recently-used cache whose entries expire: `new UserReader({ cache: new ReadCache() })`.
 *
 * Only reads with `{ cached: true }` use it. Equal reads that overlap share one call.
 */
export class ReadCache {
  readonly #size: number;
  readonly #ttl: number;
  readonly #clock: () => number;
  readonly #entries = new Map<string, Entry>();
  readonly #running = new Map<string, { turn: number; result: Promise<unknown> }>();
  #turn = 0;
  #hits = 0;
  #misses = 0;
  #evictions = 0;

  /** @throws {RangeError} `size` is less than 1, or `ttl` is not above 0. */
  constructor(options: ReadCacheOptions = {}) {
    const { size = 10_000, ttl = 10_000, clock = () => performance.now() } = options;
    if (!(size >= 1) || !(ttl > 0)) {
      throw new RangeError("the size of a cache must be at least 1, and its ttl above 0");
    }
    this.#size = size;
    this.#ttl = ttl;
    this.#clock = clock;
  }

  get statistics(): CacheStatistics {
    const [hits, misses, evictions] = [this.#hits, this.#misses, this.#evictions];
    return { hits, misses, evictions, entries: this.#entries.size };
  }

  /** Return the start to store an entry with: call it before the read, not after. @internal */
  begin(): ReadStart {
    return { at: this.#clock(), turn: ++this.#turn };
  }

  /** Return the entry for a key if it is not too old. Changes no count. @internal */
  find(key: string): unknown {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    if (this.#clock() - entry.at >= this.#ttl) return undefined;
    this.#entries.set(key, entry); // a Map is in the order of insertion: the last one is the newest
    return entry.value;
  }

  /** Store a value, unless one of a later read is stored. @internal */
  keep(key: string, value: unknown, { at, turn }: ReadStart): void {
    const entry = this.#entries.get(key);
    if (entry && entry.turn > turn) return;
    this.#entries.delete(key);
    this.#entries.set(key, { at, turn, value });
    if (this.#entries.size <= this.#size) return;
    const [oldest = key] = this.#entries.keys();
    this.#entries.delete(oldest);
    this.#evictions++;
  }

  /** Invalidate a user, also for reads in progress. @internal */
  forget(userId: string): void {
    this.keep(userId, undefined, this.begin());
    for (const key of this.#running.keys()) if (key.startsWith(userId)) this.#running.delete(key);
  }

  /** Count lookups. @internal */
  count(hits: number, misses: number): void {
    this.#hits += hits;
    this.#misses += misses;
  }

  /**
   * Return the result of an equal read in progress, or else of a new one.
   *
   * A read in progress began before this call. If `final` is false for its result, another read is
   * made, so that what was written before the call is found. An error reaches all callers that share
   * the read, and no later one. @internal
   */
  async share<T>(key: string, read: () => Promise<T>, final: (result: T) => boolean): Promise<T> {
    const { turn: asked } = this.begin();
    const earlier = this.#running.get(key);
    if (earlier) {
      const result = (await earlier.result) as T;
      if (final(result)) return result;
      const later = this.#running.get(key);
      if (later && later.turn > asked) return (await later.result) as T;
    }
    const own = { turn: ++this.#turn, result: read() };
    this.#running.set(key, own);
    try {
      return await own.result;
    } finally {
      if (this.#running.get(key) === own) this.#running.delete(key);
    }
  }
}
