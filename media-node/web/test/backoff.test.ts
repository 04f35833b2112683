import { describe, expect, it } from 'vitest';
import { Backoff, retryAfterMs, sleep } from '../src/client/backoff';

describe('Backoff', () => {
  it('doubles up to its cap, half of each wait at random', () => {
    const waits = (random: number) => {
      const backoff = new Backoff({ firstMs: 100, capMs: 500, random: () => random });
      return Array.from({ length: 5 }, () => backoff.next());
    };
    expect(waits(0)).toEqual([50, 100, 200, 250, 250]);
    expect(waits(1)).toEqual([100, 200, 400, 500, 500]);
  });

  it('never comes back before the server asked it to, and not exactly then', () => {
    const backoff = new Backoff({ firstMs: 100, random: () => 0.5 });
    expect(backoff.next(3_000)).toBe(3_025);
  });

  it('waits longer and longer for a server that ends what it has just begun', () => {
    const backoff = new Backoff({ firstMs: 100, random: () => 0 });
    expect([0, 0, 0].map((lasted) => backoff.nextAfter(lasted))).toEqual([50, 100, 200]);
    expect(backoff.nextAfter(60_000)).toBe(50);
  });

  it('starts over after a success', () => {
    const backoff = new Backoff({ firstMs: 100, random: () => 0 });
    backoff.next();
    backoff.next();
    backoff.reset();
    expect(backoff.next()).toBe(50);
  });
});

describe('Retry-After', () => {
  it('is a number of seconds or a date', () => {
    expect(retryAfterMs('3')).toBe(3_000);
    const now = Date.parse('2026-01-01T00:00:00Z');
    expect(retryAfterMs('Thu, 01 Jan 2026 00:00:05 GMT', now)).toBe(5_000);
    expect(retryAfterMs('Wed, 31 Dec 2025 00:00:00 GMT', now)).toBe(0);
  });

  it('counts as absent when it is neither', () => {
    expect(retryAfterMs('soon')).toBeUndefined();
    expect(retryAfterMs(null)).toBeUndefined();
  });
});

describe('sleep', () => {
  it('ends with the reason of the abort', async () => {
    const controller = new AbortController();
    const sleeping = sleep(60_000, controller.signal);
    controller.abort(new Error('stopped'));
    await expect(sleeping).rejects.toThrow('stopped');
    await expect(sleep(0, controller.signal)).rejects.toThrow('stopped');
  });
});
