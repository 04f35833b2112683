/** Viewers are put from one picture of a stream to another, again and again. */

import { expect, expectLive, goLiveWith, HD, pictureHeight, report, seenFrames, statsOf, test } from '../lib/fixtures.ts';

/** How many switches each stream takes. */
const SWITCHES = Number(process.env['SWITCHES'] ?? 12);

/** Has the page send one scalable stream instead of several. */
function sendScalable(scalabilityMode: string): void {
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (track, init) {
    const isVideo = track instanceof MediaStreamTrack && track.kind === 'video';
    return add.call(this, track, isVideo ? { ...init, sendEncodings: [{ scalabilityMode, maxBitrate: 1_500_000 }] } : init);
  };
}

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
    const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
    await expectLive(viewer);

    const quality = viewer.getByLabel('Quality');
    await expect(quality.locator('option')).toHaveText(['Auto', '720p (1280×720)', '360p (640×360)', '180p (320×180)']);
    const heights = [180, 720, 360];
    const [before] = await statsOf(viewer, 'inbound-rtp');
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
    // One request on one layer has a browser make key frames of all of them.
    const sent = await statsOf(host, 'outbound-rtp');
    for (const stream of sent) {
      expect(Number(stream['pliCount']), 'requests are merged').toBeLessThanOrEqual(SWITCHES + 10);
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
