/** Viewers are put from one picture of a stream to another, again and again. */

import type { Page } from '@playwright/test';
import { type DecodedFrame, freezes, gaps, keepFrames, mostInASecond } from '../lib/switching.ts';
import { expect, expectLive, goLiveWith, HD, pictureHeight, report, seenFrames, sendScalable, statsOf, test } from '../lib/fixtures.ts';

/** Counts the key frames that a host is asked for, until the returned function is called: samples of each stream. */
async function followRequests(host: Page): Promise<() => Promise<Samples[]>> {
  const SAMPLE_MS = 200;
  await host.evaluate((every) => {
    const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
    const asked: Record<string, { at: number; count: number }[]> = {};
    Object.assign(window, { asked });
    setInterval(async () => {
      for (const connection of keptConnections) {
        for (const report of (await connection.getStats()).values() as Iterable<Record<string, unknown>>) {
          if (report['type'] !== 'outbound-rtp' || report['kind'] !== 'video') continue;
          const samples = (asked[String(report['ssrc'])] ??= []);
          samples.push({ at: Number(report['timestamp']), count: Number(report['pliCount']) });
        }
      }
    }, every);
  }, SAMPLE_MS);
  return () => host.evaluate(() => Object.values((window as unknown as { asked: Record<string, Samples> }).asked));
}

/** Keeps the frames that the viewer's page decodes from now on. */
function keepDecoded(): void {
  const { keptConnections, followFrames } = window as unknown as {
    keptConnections: RTCPeerConnection[];
    followFrames: (track: MediaStreamTrack) => DecodedFrame[];
  };
  const open = keptConnections.find(({ connectionState }) => connectionState === 'connected');
  const track = open?.getReceivers().find((each) => each.track.kind === 'video')?.track;
  if (!track) throw new Error('no picture');
  Object.assign(window, { decoded: followFrames(track) });
}

function decodedFrames(viewer: Page): Promise<DecodedFrame[]> {
  return viewer.evaluate(() => (window as unknown as { decoded: DecodedFrame[] }).decoded);
}

type Samples = { at: number; count: number }[];

/** What a browser says of frames that nobody took any more when a page closed. */
const LEFT_OVER = /VideoFrame was garbage collected/;

/** How many switches each stream takes. */
const SWITCHES = Number(process.env['SWITCHES'] ?? 12);

const STREAMS = [
  { codec: 'VP8', mode: undefined },
  { codec: 'H264', mode: undefined },
  { codec: 'VP9', mode: 'L3T3_KEY' },
  { codec: 'AV1', mode: 'L3T3_KEY' },
] as const;

for (const { codec, mode } of STREAMS) {
  const what = mode ? `${codec} ${mode}` : `${codec} simulcast`;
  test(`${what}: a viewer goes from picture to picture`, async ({ node, room, open, hostBrowser, viewerBrowser }) => {
    test.setTimeout(60_000 + SWITCHES * 5_000);
    const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, {
      camera: HD,
      prepare: async (page) => {
        if (mode) await page.addInitScript(sendScalable, mode);
      },
    });
    await goLiveWith(host, codec);
    const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, {
      prepare: (page) => page.addInitScript(keepFrames),
      tolerate: LEFT_OVER,
    });
    await expectLive(viewer);
    // Another one is not switched: what it misses was never sent.
    const other = await open(viewerBrowser, `${node.url}/rooms/${room}`, {
      prepare: (page) => page.addInitScript(keepFrames),
      tolerate: LEFT_OVER,
    });
    await expectLive(other);
    await other.getByLabel('Quality').selectOption({ label: '180p (320×180)' });

    const quality = viewer.getByLabel('Quality');
    await expect(quality.locator('option')).toHaveText(['Auto', '720p (1280×720)', '360p (640×360)', '180p (320×180)']);
    const heights = [180, 720, 360];
    const [before] = await statsOf(viewer, 'inbound-rtp');
    const asked = await followRequests(host);
    for (const page of [viewer, other]) await page.evaluate(keepDecoded);
    for (let count = 0; count < SWITCHES; count += 1) {
      const height = heights[count % heights.length] ?? 0;
      await quality.selectOption({ label: `${height}p (${(height * 16) / 9}×${height})` });
      await expect.poll(() => pictureHeight(viewer), `${height} lines are shown after ${count} switches`).toBe(height);
    }
    const drawn = (await seenFrames(viewer, 30)).map((frame) => frame.drawn);
    expect(drawn, 'time never runs backwards').toEqual([...drawn].sort((a, b) => a - b));
    await expectLive(viewer);

    const [after] = await statsOf(viewer, 'inbound-rtp');
    const more = (name: string) => Number(after?.[name]) - Number(before?.[name]);
    const name = codec.toLowerCase();
    report(`${name}_switch_freezes`, more('freezeCount'));
    report(`${name}_switch_keyframes_asked_by_viewer`, more('pliCount'));
    expect(more('packetsLost'), 'no gap in the sequence numbers').toBe(0);
    expect(more('pliCount'), 'the viewer never had to ask for a key frame').toBe(0);
    // Media time between decoded frames: a busy machine stretches the clock, and not that.
    const [frames, reference] = await Promise.all([viewer, other].map(decodedFrames));
    report(`${name}_switch_longest_gap_ms`, Math.max(...gaps(frames ?? []).map(({ ms }) => ms)));
    expect(frames?.length, 'frames were decoded').toBeGreaterThan(SWITCHES);
    expect(freezes(frames ?? [], reference ?? [], 200), 'no freeze').toBe(0);
    // A browser that is busy skips some.
    report(`${name}_switch_frames_dropped`, more('framesDropped'));
    // One request on one layer has a browser make key frames of all of them.
    for (const samples of await asked()) {
      expect(mostInASecond(samples), 'requests are merged').toBeLessThanOrEqual(1);
    }
  });
}

test('AV1 L1T3: a viewer sees the whole picture', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, {
    camera: HD,
    prepare: (page) => page.addInitScript(sendScalable, 'L1T3'),
  });
  await goLiveWith(host, 'AV1');
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  await expect.poll(() => pictureHeight(viewer)).toBe(720);
});
