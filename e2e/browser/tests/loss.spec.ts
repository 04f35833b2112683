/** What a browser makes of a path that loses, as only a browser can say. */

import type { Page } from '@playwright/test';
import { expect, expectLive, goLive, HD, report, statsOf, test } from '../lib/fixtures.ts';
import { CLEAN, LossyPath } from '../lib/lossy.ts';

const ROUND_TRIP_MS = 100;
/** Ten seconds of sound. */
const SAMPLES = 480_000;

/** Statistics of the sound that a viewer gets. */
async function sound(viewer: Page): Promise<Record<string, number>> {
  const [stats] = await statsOf(viewer, 'inbound-rtp', 'audio');
  return (stats ?? {}) as Record<string, number>;
}

test('sound goes on where a third of all packets is lost', async ({ room, open, startNode, hostBrowser, viewerBrowser }) => {
  const node = await startNode();
  const [toHost, toViewer] = await Promise.all([LossyPath.open(node.mediaPort, 1), LossyPath.open(node.mediaPort, 2)]);
  const clean = { ...CLEAN, delayMs: ROUND_TRIP_MS / 2 };
  for (const path of [toHost, toViewer]) path.up = path.down = clean;
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD, prepare: (page) => toHost.carry(page) });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, { prepare: (page) => toViewer.carry(page) });
  await expectLive(viewer);
  // Sound once, then, by the same connection, sound that repeats itself.
  await expect.poll(async () => (await sound(viewer))['packetsReceived']).toBeGreaterThan(100);
  toHost.up = { ...clean, loss: 0.1 };
  toViewer.down = { ...clean, loss: 0.3 };
  const before = (await sound(viewer))['totalSamplesReceived'] ?? 0;
  // Until the viewer has told of it, and holds back as long as it takes.
  await expect.poll(async () => (await sound(viewer))['totalSamplesReceived']).toBeGreaterThan(before + SAMPLES / 2);
  const first = await sound(viewer);
  const since = async (name: string) => ((await sound(viewer))[name] ?? 0) - (first[name] ?? 0);
  await expect.poll(() => since('totalSamplesReceived')).toBeGreaterThan(SAMPLES);
  const concealed = (await since('concealedSamples')) / (await since('totalSamplesReceived'));
  report('sound concealed at 30 % loss, percent', 100 * concealed);
  expect(await since('packetsLost'), 'packets were lost').toBeGreaterThan(100);
  expect(concealed, 'share of sound that was made up').toBeLessThan(0.1);
  const metrics = await (await fetch(`${node.url}/metrics`)).text();
  const recovered = Number(/showrunner_recovered_total\{.*\} (\d+)/.exec(metrics)?.[1]);
  expect(recovered, 'what the host lost was recovered').toBeGreaterThan(0);
  await expectLive(viewer);
  await Promise.all([toHost.close(), toViewer.close()]);
});
