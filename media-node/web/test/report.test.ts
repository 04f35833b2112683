import { expect, it } from 'vitest';
import { viewReport } from '../src/client/report';

const ages = { afterMs: 60_000.4, firstFrameMs: 340.2, hiddenMs: 1_500 };

it('reports sums, and leaves silence out of what was concealed', () => {
  const stats = new Map([
    ['v', { type: 'inbound-rtp', kind: 'video', freezeCount: 2, totalFreezesDuration: 1.25, framesDecoded: 1_700, framesDropped: 3, frameWidth: 1280, frameHeight: 720, jitterBufferDelay: 85, jitterBufferEmittedCount: 1_700 }],
    ['a', { type: 'inbound-rtp', kind: 'audio', concealedSamples: 1_000, silentConcealedSamples: 400, totalSamplesReceived: 2_880_000 }],
    ['o', { type: 'outbound-rtp', kind: 'video', framesDecoded: 9 }],
  ]);
  expect(viewReport(stats, ages)).toEqual({
    afterMs: 60_000, firstFrameMs: 340, freezeCount: 2, freezeSeconds: 1.25, framesDecoded: 1_700, framesDropped: 3,
    width: 1280, height: 720, jitterBufferMs: 50, concealedSamples: 600, totalSamples: 2_880_000, hiddenSeconds: 1.5,
  });
});

it('tells no more than the browser does', () => {
  const report = viewReport(new Map(), { ...ages, firstFrameMs: undefined });
  expect(JSON.parse(JSON.stringify(report))).toEqual({
    afterMs: 60_000, freezeCount: 0, freezeSeconds: 0, framesDecoded: 0, framesDropped: 0, concealedSamples: 0,
    totalSamples: 0, hiddenSeconds: 1.5,
  });
});
