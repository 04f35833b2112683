/** What people live through is seen: in the records of their sessions, in the host's readout, in the layer that fits. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, expectLive, goLive, HD, pictureHeight, report, test } from '../lib/fixtures.ts';

type SessionRecord = Record<string, unknown> & { client: Record<string, number | null> | null };

test('a session leaves a record, with what the page saw', async ({ room, open, startNode, hostBrowser, viewerBrowser }) => {
  const dir = mkdtempSync(join(tmpdir(), 'records-'));
  const file = join(dir, 'sessions.jsonl');
  const records = () =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as SessionRecord);
  const node = await startNode({ args: ['--session-records', file] });
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  await expect.poll(() => pictureHeight(viewer)).toBe(720);
  // One sample and more, so that there is something to say at the end.
  await expect.poll(() => viewer.evaluate(() => document.querySelector('video')?.currentTime)).toBeGreaterThan(5);
  await viewer.close();
  await expect.poll(records).toHaveLength(1);
  const [watched] = records();
  expect(watched).toMatchObject({ role: 'viewer', reason: 'deleted', agent: 'chrome', mobile: false, room_uid: null });
  expect(watched?.['watched_seconds']).toBeGreaterThan(4);
  expect(watched?.['first_media_ms']).toBeGreaterThan(0);
  expect(watched?.['mean_bitrate_bps']).toBeGreaterThan(100_000);
  expect(watched?.['rtt_ms']).toBeGreaterThanOrEqual(0);
  expect(watched?.['layers']).toContainEqual(expect.objectContaining({ width: 1280, height: 720 }));
  const { client } = watched ?? {};
  expect(client?.['first_frame_ms']).toBeGreaterThan(0);
  expect(client?.['frames_decoded']).toBeGreaterThan(30);
  expect(client?.['total_samples']).toBeGreaterThan(0);
  expect(client).toMatchObject({ width: 1280, height: 720 });
  await host.getByRole('button', { name: 'Stop' }).click();
  await expect.poll(records).toHaveLength(2);
  expect(records()[1]).toMatchObject({ role: 'publisher', reason: 'deleted', client: null });
  rmSync(dir, { recursive: true });
});

/** Bodies of the requests that the page makes for a layer. */
function selections(page: Page): unknown[] {
  const made: unknown[] = [];
  page.on('request', (request) => {
    if (request.method() === 'POST' && request.url().endsWith('/layer')) made.push(request.postDataJSON());
  });
  return made;
}

test('a viewer gets the layer that fits the window, and the one that is picked', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  let asked: unknown[] = [];
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, {
    context: { viewport: { width: 360, height: 240 } },
    prepare: async (page) => (asked = selections(page)),
  });
  await expectLive(viewer);
  await expect.poll(() => pictureHeight(viewer)).toBe(180);
  await viewer.setViewportSize({ width: 640, height: 400 });
  await expect.poll(() => pictureHeight(viewer)).toBe(360);
  await viewer.getByLabel('Quality').selectOption({ label: '720p (1280×720)' });
  await expect.poll(() => pictureHeight(viewer)).toBe(720);
  // The window still tells what fits, and the pick goes before it.
  await viewer.setViewportSize({ width: 360, height: 240 });
  await expect.poll(() => asked.at(-1)).toMatchObject({ rid: 'f', maxWidth: 512, maxHeight: 352 });
  expect(await pictureHeight(viewer)).toBe(720);
  await viewer.getByLabel('Quality').selectOption({ label: 'Auto' });
  await expect.poll(() => pictureHeight(viewer)).toBe(180);
});

test('the host reads in plain words how sending goes', async ({ node, room, open, hostBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await expect(host.locator('#summary')).toHaveText('Nothing is sent before you go live.');
  await goLive(host);
  await expect(host.locator('#summary')).toHaveText(
    /Your upload carries (at least )?\d+(\.\d)? [kM]bit\/s; sending (720|360|180)p at \d+ frames a second\./,
  );
});

test('layers that nobody watches are not sent, and come back when somebody does', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  await expect(host.locator('#summary')).toContainText('sending 720p');
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, { context: { viewport: { width: 360, height: 240 } } });
  await expectLive(viewer);
  await expect(host.locator('#summary')).toContainText('360p and 720p are off: nobody watches them now.');
  await expect(host.locator('#layers tbody tr').last()).toContainText('off');
  const start = Date.now();
  await viewer.setViewportSize({ width: 1280, height: 720 });
  await expect.poll(() => pictureHeight(viewer)).toBe(720);
  report('layer_back_s', (Date.now() - start) / 1_000);
  await expect(host.locator('#summary')).toContainText('sending 720p');
  // By hand too, although it is not on air when it is picked.
  await viewer.setViewportSize({ width: 360, height: 240 });
  await expect(host.locator('#summary')).toContainText('nobody watches them');
  await viewer.getByLabel('Quality').selectOption({ label: '720p (1280×720)' });
  await expect.poll(() => pictureHeight(viewer)).toBe(720);
});
