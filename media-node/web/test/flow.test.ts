import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Flow, type Answer } from '../src/client/flow';

let bytes = 0;
let answer: () => Promise<Answer>;
let asked = 0;
let stop: AbortController;

beforeEach(() => {
  vi.useFakeTimers();
  [bytes, asked, stop] = [0, 0, new AbortController()];
  answer = () => Promise.resolve('there');
});
afterEach(() => {
  stop.abort();
  vi.useRealTimers();
});

function watched(): { flow: Flow; heard: string[] } {
  const ask = () => {
    asked += 1;
    return answer();
  };
  const flow = new Flow({ received: () => Promise.resolve(bytes), ask, signal: stop.signal });
  const heard: string[] = [];
  for (const name of ['lost', 'back', 'gone'] as const) flow.on(name, () => heard.push(name));
  return { flow, heard };
}

async function flowFor(ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 100) {
    bytes += 1_000;
    await vi.advanceTimersByTimeAsync(100);
  }
}

it('asks nobody while something comes', async () => {
  const { heard } = watched();
  await flowFor(10_000);
  expect([asked, heard]).toEqual([0, []]);
});

it('is lost within a second when nothing comes and nobody answers, and back when something comes', async () => {
  const { flow, heard } = watched();
  await flowFor(2_000);
  answer = () => Promise.reject(new Error('nobody there'));
  await vi.advanceTimersByTimeAsync(1_000);
  expect([flow.isLost, heard]).toEqual([true, ['lost']]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked, 'who is lost is not asked for').toBe(1);
  await flowFor(400);
  expect([flow.isLost, heard]).toEqual([false, ['lost', 'back']]);
});

it('is not lost when the server says that all is well, and asks seldom', async () => {
  const { heard } = watched();
  await flowFor(1_000);
  await vi.advanceTimersByTimeAsync(12_000);
  expect(heard).toEqual([]);
  expect(asked).toBeLessThanOrEqual(3);
});

it('says that the session is gone when the server does', async () => {
  const { heard } = watched();
  answer = () => Promise.resolve('gone');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(heard).toEqual(['gone']);
});

it('does not wonder at silence while no host is on air, but follows a hint', async () => {
  const { flow, heard } = watched();
  flow.isQuiet = true;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toBe(0);
  answer = () => Promise.resolve('none');
  flow.check();
  await vi.advanceTimersByTimeAsync(200);
  expect(heard).toEqual(['lost']);
});

it('is not lost by a hint while something comes, and soon when nothing does any more', async () => {
  const { flow, heard } = watched();
  await flowFor(1_000);
  answer = () => Promise.resolve('none');
  flow.check();
  await flowFor(1_000);
  expect([asked, heard], 'only those who answer were gone').toEqual([1, []]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(heard).toEqual(['lost']);
});
