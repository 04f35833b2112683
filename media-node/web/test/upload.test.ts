import { expect, it } from 'vitest';
import { withBandwidth } from '../src/client/bandwidth';
import type { PublishStats } from '../src/client/stats';
import { HeldBack } from '../src/client/upload';

function stats(limitedBy: PublishStats['limitedBy'], loss = 0, roundTripMs = 40): PublishStats {
  const layer = { rid: 'q', width: 320, height: 180, framesPerSecond: 30, bitrate: 2e5, isUnwanted: false };
  return { layers: [{ ...layer, loss, roundTripMs }], codec: 'VP8', audioBitrate: 32e3, availableBitrate: 1e6, limitedBy };
}

/** The seconds in which it is to be tried. */
function tried(seconds: number, at: (second: number) => PublishStats): number[] {
  const heldBack = new HeldBack();
  const all = Array.from({ length: seconds }, (_, second) => second);
  return all.filter((second) => heldBack.look(second * 1_000, at(second)));
}

it('tries soon, and in vain less and less often', () => {
  expect(tried(200, () => stats('network'))).toEqual([2, 5, 11, 23, 47, 95, 155]);
});

it('tries soon again once it was not held back', () => {
  expect(tried(20, (second) => stats(second === 10 ? undefined : 'network'))).toEqual([2, 5, 13, 16]);
});

it('leaves a full path alone, and a busy processor', () => {
  expect(tried(60, () => stats('network', 0.05))).toEqual([]);
  expect(tried(60, () => stats('processor'))).toEqual([]);
  expect(tried(60, () => stats(undefined))).toEqual([]);
  expect(tried(60, (second) => stats('network', 0, second === 0 ? 40 : 140))).toEqual([]);
});

it('takes no round trip that is not known for a short one', () => {
  expect(tried(4, (second) => stats('network', 0, second < 2 ? 0 : 300))).toEqual([2]);
});

it('states the bandwidth of video alone, and once', () => {
  const sdp = (...lines: string[]) => lines.map((line) => `${line}\r\n`).join('');
  const answer = (...bandwidth: string[]) =>
    sdp(
      'v=0',
      'm=audio 9 UDP/TLS/RTP/SAVPF 111',
      'c=IN IP4 0.0.0.0',
      'm=video 9 UDP/TLS/RTP/SAVPF 96',
      'c=IN IP4 0.0.0.0',
      ...bandwidth,
      'a=mid:1',
    );
  const stated = withBandwidth(answer(), 10_000);
  expect(stated).toBe(answer('b=AS:10000'));
  expect(withBandwidth(stated, 10_001)).toBe(answer('b=AS:10001'));
});
