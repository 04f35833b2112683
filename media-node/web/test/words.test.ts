import { describe, expect, it } from 'vitest';
import type { PublishStats, SentLayer } from '../src/client';
import { adaptationStatus, layerRow, uploadReadout } from '../src/page/words';

const layer = (rid: string, height: number, more: Partial<SentLayer> = {}): SentLayer => ({
  rid, width: (height / 9) * 16, height, framesPerSecond: 30, bitrate: 500_000, loss: 0, roundTripMs: 20, isUnwanted: false, ...more,
});
const stats = (layers: SentLayer[], more: Partial<PublishStats> = {}): PublishStats => ({
  layers, codec: 'VP8', audioBitrate: 32_000, availableBitrate: 5_400_000, limitedBy: undefined, ...more,
});
const ALL = [layer('q', 270), layer('h', 540), layer('f', 1080)];

describe('the readout of the upload', () => {
  it('says what it carries at least while nothing holds the picture back', () => {
    expect(uploadReadout(stats(ALL))).toBe('Your upload carries at least 5.4 Mbit/s; sending 1080p at 30 frames a second.');
  });

  it('says what it carries, and what helps, when that is too little', () => {
    const layers = [layer('q', 180), layer('h', 360), layer('f', 720), layer('x', 1080, { bitrate: 0, framesPerSecond: 0 })];
    expect(uploadReadout(stats(layers, { availableBitrate: 1_800_000, limitedBy: 'network' }))).toBe(
      'Your upload carries 1.8 Mbit/s; sending 720p at 30 frames a second. That is too little for a better picture; a cable or a place nearer to the Wi-Fi helps.',
    );
  });

  it('says that the device is too busy', () => {
    expect(uploadReadout(stats(ALL, { limitedBy: 'processor' }))).toContain('This device is too busy');
  });

  it('says what it does not know yet', () => {
    expect(uploadReadout(stats([]))).toBe('Starting…');
    expect(uploadReadout(stats([layer('f', 720, { bitrate: 0 })]))).toBe('Starting…');
    expect(uploadReadout(stats(ALL, { availableBitrate: undefined }))).toBe(
      'Sending 1080p at 30 frames a second. What your upload carries is not known yet.',
    );
  });

  it('says which layers are off because nobody watches them', () => {
    const off = { isUnwanted: true, bitrate: 0, framesPerSecond: 0 };
    expect(uploadReadout(stats([layer('q', 270), layer('h', 540), layer('f', 1080, off)]))).toBe(
      'Your upload carries at least 5.4 Mbit/s; sending 540p at 30 frames a second. 1080p is off: nobody watches it now.',
    );
    expect(uploadReadout(stats([layer('q', 270), layer('h', 540, off), layer('f', 1080, off)]))).toContain(
      '540p and 1080p are off: nobody watches them now.',
    );
    expect(layerRow(layer('f', 1080, off))).toEqual(['Full', '1920×1080', 'off', '–', '–']);
  });

  it('says that packets are lost', () => {
    expect(uploadReadout(stats([layer('f', 720, { loss: 0.1 })]))).toContain('loses packets');
  });
});

it('tells viewers of a pause that is not their own wish', () => {
  expect(adaptationStatus({ state: 'paused', reason: 'network' })).toContain('the sound goes on');
  expect(adaptationStatus({ state: 'paused', reason: 'choice' })).toBe('');
  expect(adaptationStatus({ state: 'playing', reason: 'network' })).toBe('');
});
