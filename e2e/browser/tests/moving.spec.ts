/** A room goes from one pod to another, and pods die: what hosts and viewers see of it. */

import type { Page } from '@playwright/test';
import { Cluster } from '../lib/cluster.ts';
import { expect, expectLive, goLive, HD, report, seenFrames, test as base } from '../lib/fixtures.ts';

const test = base.extend<{ startCluster: (pods: number) => Promise<Cluster> }>({
  startCluster: async ({ room }, use) => {
    const clusters: Cluster[] = [];
    await use(async (pods) => {
      const [namespace = '', name = ''] = room.split('/');
      const cluster = await Cluster.start({ namespace, name, watch: 'Anyone' }, pods);
      clusters.push(cluster);
      return cluster;
    });
    for (const cluster of clusters) await cluster.stop();
  },
});

/** States of the page's connections, in the order in which they were made. */
function connections(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
    return keptConnections.map((pc) => pc.connectionState);
  });
}

/** Measures the longest time between two pictures from now on; the returned function ends it. */
async function watchGaps(viewer: Page): Promise<() => Promise<number>> {
  await viewer.evaluate(() => {
    const video = document.querySelector('video');
    const gaps = { longest: 0, last: 0 };
    const onFrame = (now: number) => {
      if (gaps.last > 0) gaps.longest = Math.max(gaps.longest, now - gaps.last);
      gaps.last = now;
      video?.requestVideoFrameCallback(onFrame);
    };
    video?.requestVideoFrameCallback(onFrame);
    Object.assign(window, { gaps });
  });
  return () => viewer.evaluate(() => (window as unknown as { gaps: { longest: number } }).gaps.longest);
}

test('a host and viewers go to another pod, and the picture goes on', async ({ startCluster, room, open, hostBrowser, viewerBrowser }) => {
  const cluster = await startCluster(2);
  const page = `${cluster.url}/rooms/${room}`;
  const host = await open(hostBrowser, `${page}/host#token=${cluster.token('host')}`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, page);
  await expectLive(viewer);
  // Back and forth: where it came from is as good as any other.
  for (const [from, to, revision] of [[0, 1, 1], [1, 0, 2]] as const) {
    const longestGap = await watchGaps(viewer);
    const states: string[] = [];
    const across = seenFrames(viewer, 90);
    await cluster.handOver(from, to, revision);
    await expect.poll(() => cluster.sessions(from), { message: 'all have left' }).toBe(0);
    states.push(...(await connections(viewer)));
    expect(states.filter((state) => state === 'connected'), 'one connection is left').toHaveLength(1);
    expect(await cluster.sessions(to), 'host and viewer').toBe(2);
    const drawn = (await across).map((frame) => frame.drawn);
    expect(drawn, 'time never runs backwards').toEqual([...drawn].sort((a, b) => a - b));
    await expectLive(viewer);
    await expect(host.locator('#badge')).toBeVisible();
    await expect(viewer.locator('#viewers')).toHaveText('1 watching');
    report('move_gap_ms', await longestGap());
  }
});

test('who is sent on to a pod that takes nobody stays, and goes when it does', async ({ startCluster, room, open, hostBrowser, viewerBrowser }) => {
  const cluster = await startCluster(2);
  const page = `${cluster.url}/rooms/${room}`;
  const tolerate = /status of 503/;
  const host = await open(hostBrowser, `${page}/host#token=${cluster.token('host')}`, { camera: HD, tolerate });
  await goLive(host);
  const viewer = await open(viewerBrowser, page, { tolerate });
  await expectLive(viewer);
  // Its clients are to go, but the other pod has not been told of the room.
  const refused = viewer.waitForResponse((answer) => answer.url().includes('/whep/') && answer.status() === 503);
  cluster.route(1);
  await cluster.assign(0, { revision: 1, leave: 60 });
  await refused;
  await expectLive(viewer);
  expect(await cluster.sessions(0)).toBe(2);
  await cluster.assign(1, { revision: 1, awaitsHost: true });
  await expect.poll(() => cluster.sessions(0), { message: 'all have left' }).toBe(0);
  await expectLive(viewer);
});

for (const [what, end] of [
  ['is killed', (cluster: Cluster) => cluster.pod(0).kill()],
  ['hangs', (cluster: Cluster) => cluster.pod(0).freeze()],
] as const) {
  test(`host and viewers of a pod that ${what} find the next by themselves`, async ({ startCluster, room, open, hostBrowser, viewerBrowser }) => {
    const cluster = await startCluster(2);
    const page = `${cluster.url}/rooms/${room}`;
    const tolerate = /net::ERR_|status of (404|503|504)/;
    const host = await open(hostBrowser, `${page}/host#token=${cluster.token('host')}`, { camera: HD, tolerate });
    await goLive(host);
    const viewer = await open(viewerBrowser, page, { tolerate });
    await expectLive(viewer);
    const longestGap = await watchGaps(viewer);
    await end(cluster);
    // What the operator does when it notices.
    await cluster.assign(1, { revision: 1, awaitsHost: true });
    cluster.route(1);
    await expect.poll(() => cluster.sessions(1), { message: 'host and viewer are there' }).toBe(2);
    await expectLive(viewer);
    await expect(host.locator('#badge')).toBeVisible();
    report('recover_ms', await longestGap());
  });
}
