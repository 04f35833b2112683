/** A host goes live and others watch. */

import { expect, expectLive, FULL_HD, goLive, goLiveWith, HD, pictureHeight, report, seenFrames, statsOf, test } from '../lib/fixtures.ts';

test('a viewer sees the host live, and every layer of the picture', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  await expect(viewer.locator('#viewers')).toHaveText('1 watching');

  const quality = viewer.getByLabel('Quality');
  await expect(quality.locator('option')).toHaveText([
    'Auto',
    '720p (1280×720)',
    '360p (640×360)',
    '180p (320×180)',
  ]);
  await expect.poll(() => pictureHeight(viewer)).toBe(720);

  const frames = await seenFrames(viewer, 150);
  const delays = frames.map(({ drawn, shown }) => shown - drawn).sort((a, b) => a - b);
  report('glass_to_glass_ms_p50', delays[Math.floor(delays.length * 0.5)] ?? NaN);
  report('glass_to_glass_ms_p95', delays[Math.floor(delays.length * 0.95)] ?? NaN);
  const drawn = frames.map((frame) => frame.drawn);
  expect(drawn, 'time never runs backwards').toEqual([...drawn].sort((a, b) => a - b));

  const [before] = await statsOf(viewer, 'inbound-rtp');
  for (const [label, height] of [['180p (320×180)', 180], ['360p (640×360)', 360], ['720p (1280×720)', 720]] as const) {
    // Watching the frames across the switch shows that none goes back in time.
    const across = seenFrames(viewer, 60);
    await quality.selectOption({ label });
    await expect.poll(() => pictureHeight(viewer)).toBe(height);
    const times = (await across).map((frame) => frame.drawn);
    expect(times, `time never runs backwards towards ${label}`).toEqual([...times].sort((a, b) => a - b));
  }
  const [after] = await statsOf(viewer, 'inbound-rtp');
  report('layer_switch_freezes', Number(after?.['freezeCount']) - Number(before?.['freezeCount']));
  expect(after?.['packetsLost'], 'no gap in the sequence numbers').toBe(before?.['packetsLost']);
  expect(after?.['pliCount'], 'the viewer never had to ask for a key frame').toBe(before?.['pliCount']);
});

test('sound arrives with the picture and can be turned on', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  await viewer.getByRole('button', { name: 'Unmute' }).click();
  await expect(viewer.getByRole('button', { name: 'Mute' })).toHaveAttribute('aria-pressed', 'true');
  await expect
    .poll(async () => Number((await statsOf(viewer, 'inbound-rtp', 'audio'))[0]?.['audioLevel']), { message: 'the tone is heard' })
    .toBeGreaterThan(0.005);
});

test('viewers are greeted by the node, hosts greet it, and both get AES-GCM', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  for (const [page, dtlsRole] of [[host, 'client'], [viewer, 'server']] as const) {
    const [transport] = await statsOf(page, 'transport');
    expect(transport).toMatchObject({ dtlsRole, dtlsState: 'connected', srtpCipher: 'SRTP_AEAD_AES_128_GCM' });
  }
});

test('the picture climbs to 1080p', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: FULL_HD });
  await goLive(host);
  const start = Date.now();
  // Large enough to show it: a smaller window is sent a smaller picture.
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, { context: { viewport: FULL_HD } });
  await expectLive(viewer);
  await expect.poll(() => pictureHeight(viewer)).toBe(1080);
  report('climb_to_1080p_s', (Date.now() - start) / 1_000);
  await expect(host.locator('#layers tbody tr').last()).toContainText('1920×1080');
});

for (const codec of ['VP8', 'H264', 'VP9', 'AV1'] as const) {
  test(`${codec} is forwarded`, async ({ node, room, open, hostBrowser, viewerBrowser }) => {
    const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
    await goLiveWith(host, codec);
    const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
    await expectLive(viewer);
    const [stream] = await statsOf(viewer, 'inbound-rtp');
    const [used] = (await viewer.evaluate(async (codecId) => {
      const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
      const report = await keptConnections.at(-1)?.getStats();
      return [(report?.get(String(codecId)) as { mimeType?: string } | undefined)?.mimeType];
    }, stream?.['codecId'])) as [string | undefined];
    expect(used).toBe(`video/${codec}`);
    // Two layers differ in picture only if the node tells them apart and switches on key frames.
    const quality = viewer.getByLabel('Quality');
    await expect(quality.locator('option').filter({ hasText: '180p' })).toHaveCount(1);
    await quality.selectOption({ label: '180p (320×180)' });
    await expect.poll(() => pictureHeight(viewer)).toBe(180);
    await expectLive(viewer);
  });
}
