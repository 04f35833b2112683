/** When to try again: exponential back-off with jitter, and waiting that can be aborted. */

export interface BackoffOptions {
  /** Ceiling of the first wait, in milliseconds. */
  firstMs?: number;
  /** No wait's own ceiling exceeds this, in milliseconds. A server's Retry-After may. */
  capMs?: number;
  /** A number in [0, 1), for tests. */
  random?: () => number;
}

/** A connection that lasted this long was a success, whatever came after, in milliseconds. */
const STABLE_MS = 10_000;

export class Backoff {
  readonly #firstMs: number;
  readonly #capMs: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor({ firstMs = 500, capMs = 5_000, random = Math.random }: BackoffOptions = {}) {
    this.#firstMs = firstMs;
    this.#capMs = capMs;
    this.#random = random;
  }

  /**
   * Milliseconds to wait before the next attempt, never less than `atLeastMs`.
   *
   * Half of the wait is random also when the server named a time: a thousand viewers who were
   * all told "in two seconds" must not come back in the same instant.
   */
  next(atLeastMs = 0): number {
    const ceiling = Math.min(this.#capMs, this.#firstMs * 2 ** this.#attempt);
    this.#attempt += 1;
    return Math.max(atLeastMs, ceiling / 2) + this.#random() * (ceiling / 2);
  }

  reset(): void {
    this.#attempt = 0;
  }

  /**
   * What to wait after a connection that ended `lastedMs` after it was made. Never nothing: when
   * a server ends, all that it served come back, and they should not come in one instant. One
   * that ends connections as soon as it makes them is left alone more and more.
   */
  nextAfter(lastedMs: number): number {
    if (lastedMs >= STABLE_MS) this.reset();
    return this.next();
  }
}

/** Milliseconds that a Retry-After header asks for (RFC 9110 §10.2.3: seconds or a date). */
export function retryAfterMs(header: string | null, now = Date.now()): number | undefined {
  if (header === null) return undefined;
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1_000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
