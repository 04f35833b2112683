/** The room page through the gateway of a cluster. */

import { Cluster, type Room } from '../lib/cluster.ts';
import { expect, expectLive, goLive, HD, test as base } from '../lib/fixtures.ts';

const test = base.extend<{ startCluster: (watch: Room['watch']) => Promise<Cluster> }>({
  startCluster: async ({ room }, use) => {
    const clusters: Cluster[] = [];
    await use(async (watch) => {
      const [namespace = '', name = ''] = room.split('/');
      const cluster = await Cluster.start({ namespace, name, watch });
      clusters.push(cluster);
      return cluster;
    });
    for (const cluster of clusters) await cluster.stop();
  },
});

test('a host goes live by a link with a token, and viewers watch and are counted', async ({ startCluster, room, open, hostBrowser, viewerBrowser }) => {
  const cluster = await startCluster('Anyone');
  const page = `${cluster.url}/rooms/${room}`;
  const viewer = await open(viewerBrowser, page);
  await expect(viewer.getByRole('status')).toContainText('Waiting for the host');
  const host = await open(hostBrowser, `${page}/host#token=${cluster.token('host')}`, { camera: HD });
  await goLive(host);
  await expectLive(viewer);
  await expect(viewer.locator('#viewers')).toHaveText('1 watching');
  await viewer.locator('#layer').selectOption({ label: '180p (320×180)' });
  await expectLive(viewer);
});

test('a closed room asks viewers for a token, and a viewer’s does not go live', async ({ startCluster, room, open, hostBrowser, viewerBrowser }) => {
  const cluster = await startCluster('Token');
  const page = `${cluster.url}/rooms/${room}`;
  const tolerate = /status of 40[13]/;
  const host = await open(hostBrowser, `${page}/host#token=${cluster.token('viewer')}`, { camera: HD, tolerate });
  await host.getByRole('button', { name: 'Go live' }).click();
  await expect(host.getByRole('alert')).toContainText('does not let you in');
  await host.getByLabel('Token').fill(cluster.token('host'));
  await host.keyboard.press('Enter');
  await expect(host.locator('#badge')).toBeVisible();
  const viewer = await open(viewerBrowser, page, { tolerate });
  await viewer.getByLabel('Token').fill(`${page}#token=${cluster.token('viewer')}`);
  await viewer.getByRole('button', { name: 'Enter' }).click();
  await expectLive(viewer);
});

test('a show goes on, and takes viewers, while the API server is away and the gateway is replaced', async ({ startCluster, room, open, hostBrowser, viewerBrowser }) => {
  const cluster = await startCluster('Anyone');
  const page = `${cluster.url}/rooms/${room}`;
  // What browsers log about a server that is not there for a moment, and that begins.
  const tolerate = /net::ERR_|status of 503/;
  const host = await open(hostBrowser, `${page}/host#token=${cluster.token('host')}`, { camera: HD, tolerate });
  await goLive(host);
  const viewer = await open(viewerBrowser, page, { tolerate });
  await expectLive(viewer);
  cluster.stopApi();
  const second = await open(viewerBrowser, page, { tolerate });
  await expectLive(second);
  await expect(viewer.locator('#viewers')).toHaveText('2 watching');
  await cluster.startApi();
  await cluster.gateway.stop();
  await expectLive(viewer);
  await cluster.gateway.start();
  const third = await open(viewerBrowser, page, { tolerate });
  await expectLive(third);
  // The stream of events goes on where it was, by the new gateway.
  await expect(viewer.locator('#viewers')).toHaveText('3 watching');
});
