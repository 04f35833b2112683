import { expect, it } from 'vitest';
import { Due } from '../src/client/due';
import { Emitter } from '../src/client/emitter';
import type { Session } from '../src/client/session';

class FakeFlow extends Emitter<{ lost: undefined; back: undefined; gone: undefined }> {
  say(what: 'lost' | 'back'): void {
    this.emit(what, undefined);
  }
}

function session(): { due: Due; flow: FakeFlow; end: () => void } {
  const life = new AbortController();
  const flow = new FakeFlow();
  const due = new Due({ over: life.signal, flow } as unknown as Session);
  return { due, flow, end: () => life.abort() };
}

it('waits until a successor is due, and says where it is to go', async () => {
  const { due } = session();
  const occasion = due.occasion();
  expect(due.isDue).toBe(false);
  due.tell('https://next/');
  expect(await occasion).toEqual({ why: 'told', endpoint: 'https://next/' });
  expect(await due.occasion(), 'who asks later hears the same').toEqual({ why: 'told', endpoint: 'https://next/' });
});

it('needs no successor any more when it was lost and is back', async () => {
  const { due, flow } = session();
  flow.say('lost');
  expect((await due.occasion()).why).toBe('lost');
  flow.say('back');
  expect(due.isDue).toBe(false);
});

it('still needs one if it was told to move, lost or not', () => {
  const { due, flow } = session();
  due.tell(undefined);
  flow.say('lost');
  flow.say('back');
  expect(due.isDue).toBe(true);
});

it('is over for good', async () => {
  const { due, flow, end } = session();
  flow.say('lost');
  end();
  flow.say('back');
  due.tell('https://next/');
  expect((await due.occasion()).why).toBe('over');
});
