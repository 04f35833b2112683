import { expect, it } from 'vitest';
import { WantedLayers, withWanted } from '../src/client/wanted';

const encodings = (...active: (boolean | undefined)[]) =>
  ['q', 'h', 'f'].map((rid, index) => ({ rid, ...(active[index] === undefined ? {} : { active: active[index] }) }));
const actives = (result: RTCRtpEncodingParameters[] | undefined) => result?.map((each) => each.active);

it('sends what is watched, and the smallest in any case', () => {
  expect(actives(withWanted(encodings(), ['h']))).toEqual([true, true, false]);
  expect(actives(withWanted(encodings(true, true, true), []))).toEqual([true, false, false]);
  expect(actives(withWanted(encodings(true, false, false), ['f', 'x']))).toEqual([true, false, true]);
});

it('changes nothing that is as it should be', () => {
  expect(withWanted(encodings(), ['q', 'h', 'f'])).toBeUndefined();
  expect(withWanted(encodings(true, false, false), ['q'])).toBeUndefined();
  expect(withWanted([{}], [])).toBeUndefined();
});

it('makes one change after another, and leaves out those that are overtaken', async () => {
  let now = encodings(true, true, true);
  const made: (boolean | undefined)[][] = [];
  const release: (() => void)[] = [];
  const sender = {
    getParameters: () => ({ encodings: now.map((each) => ({ ...each })) }),
    setParameters: async ({ encodings: next }: { encodings: typeof now }) => {
      await new Promise<void>((resolve) => release.push(resolve));
      now = next;
      made.push(next.map((each) => each.active));
    },
  } as unknown as RTCRtpSender;
  const layers = new WantedLayers(sender);
  const done = layers.want(['q']);
  void layers.want(['h']);
  void layers.want(['f']);
  while (made.length < 2) {
    release.shift()?.();
    await Promise.resolve();
  }
  await done;
  expect(made).toEqual([[true, false, false], [true, false, true]]);
});
