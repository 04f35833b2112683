import { expect, it } from 'vitest';
import { publishStats, watchStats } from '../src/client/stats';

const reports = (...entries: ({ id: string } & Record<string, unknown>)[]) =>
  new Map(entries.map((entry) => [entry.id, entry]));

it('tells bitrate, loss and round trip of each sent layer', () => {
  const at = (timestamp: number, bytesSent: number) =>
    reports(
      { id: 'c', type: 'codec', mimeType: 'video/VP8' },
      { id: 'f', type: 'outbound-rtp', kind: 'video', rid: 'f', timestamp, bytesSent, frameWidth: 1280, frameHeight: 720, framesPerSecond: 30, remoteId: 'r', codecId: 'c', qualityLimitationReason: 'bandwidth' },
      { id: 'q', type: 'outbound-rtp', kind: 'video', rid: 'q', timestamp, bytesSent: 0, frameWidth: 320, frameHeight: 180, codecId: 'c', qualityLimitationReason: 'none' },
      { id: 'h', type: 'outbound-rtp', kind: 'video', rid: 'h', timestamp, bytesSent: 0 },
      { id: 'r', type: 'remote-inbound-rtp', fractionLost: 0.02, roundTripTime: 0.04 },
    );
  const stats = publishStats(at(3_000, 600_000), at(1_000, 100_000));
  expect(stats.layers.map((layer) => layer.rid)).toEqual(['q', 'f']);
  expect(stats.layers[1]).toEqual({
    rid: 'f', width: 1280, height: 720, framesPerSecond: 30, bitrate: 2_000_000, loss: 0.02, roundTripMs: 40, isUnwanted: false,
  });
  expect(stats.codec).toBe('VP8');
  expect(stats.limitedBy).toBe('network');
});

it('tells loss and buffering since the previous reading', () => {
  const at = (timestamp: number, packetsReceived: number, packetsLost: number, delay: number) =>
    reports(
      { id: 'v', type: 'inbound-rtp', kind: 'video', timestamp, packetsReceived, packetsLost, bytesReceived: packetsReceived * 1_000, frameWidth: 640, frameHeight: 360, jitterBufferDelay: delay, jitterBufferEmittedCount: packetsReceived, freezeCount: 2, totalFreezesDuration: 0.5 },
      { id: 't', type: 'transport', selectedCandidatePairId: 'p' },
      { id: 'p', type: 'candidate-pair', currentRoundTripTime: 0.01 },
    );
  expect(watchStats(at(2_000, 190, 10, 10), at(1_000, 100, 0, 5.5))).toEqual({
    codec: undefined, width: 640, height: 360, framesPerSecond: 0, bitrate: 720_000, loss: 0.1,
    roundTripMs: 10, bufferMs: 50, freezes: 2, frozenSeconds: 0.5,
  });
});

it('has no rates on the first reading', () => {
  const only = reports({ id: 'v', type: 'inbound-rtp', kind: 'video', timestamp: 1, bytesReceived: 9_999 });
  expect(watchStats(only).bitrate).toBe(0);
});
