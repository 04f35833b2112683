/** The network goes away, comes back, or changes under a session. */

import type { Browser, Page } from '@playwright/test';
import { Cable } from '../lib/network.ts';
import { MediaNode } from '../lib/node.ts';
import { expect, expectLive, goLive, HD, launch, test } from '../lib/fixtures.ts';

const tolerate = /ERR_|status of 404/;

test.describe('over a cable', () => {
  let cable: Cable;
  let node: MediaNode;
  let viewers: Browser;
  let hosts: Browser;

  test.beforeAll(async () => {
    const laid = Cable.lay();
    test.skip(typeof laid === 'string', String(laid));
    if (typeof laid === 'string') return;
    cable = laid;
    node = await MediaNode.start({ ip: cable.nodeIp, namespace: cable.namespace });
    // Cameras are for secure pages only, and this one comes over the cable by plain HTTP.
    const flags = [`--unsafely-treat-insecure-origin-as-secure=${node.url}`];
    [hosts, viewers] = await Promise.all([launch(flags), launch(flags)]);
  });

  test.afterAll(async () => {
    await Promise.all([hosts?.close(), viewers?.close()]);
    await node?.stop();
    cable?.remove();
  });

  /** Addresses of the sessions that the page asked for, as they are made. */
  function sessionsOf(page: Page): string[] {
    const made: string[] = [];
    page.on('response', (response) => {
      const location = response.headers()['location'];
      if (response.request().method() === 'POST' && location && /\/wh[ei]p\//.test(response.url())) made.push(location);
    });
    return made;
  }

  test('host and viewer come back after the network was gone', async ({ room, open }) => {
    const host = await open(hosts, `${node.url}/rooms/${room}/host`, { camera: HD, tolerate });
    await goLive(host);
    const viewer = await open(viewers, `${node.url}/rooms/${room}`, { tolerate });
    await expectLive(viewer);
    cable.cut();
    // Both notice by the silence, ask the server, and learn that it cannot be reached.
    for (const page of [viewer, host]) {
      await expect(page.getByRole('status')).toContainText(/Reconnecting|cannot be reached/);
    }
    cable.plug();
    await expect(host.locator('#badge')).toBeVisible();
    await expectLive(viewer);
  });

  test('a changed address keeps the session', async ({ room, open }) => {
    let hostSessions: string[] = [];
    let viewerSessions: string[] = [];
    const host = await open(hosts, `${node.url}/rooms/${room}/host`, {
      camera: HD,
      tolerate,
      prepare: async (page) => (hostSessions = sessionsOf(page)),
    });
    await goLive(host);
    const viewer = await open(viewers, `${node.url}/rooms/${room}`, {
      tolerate,
      prepare: async (page) => (viewerSessions = sessionsOf(page)),
    });
    await expectLive(viewer);
    cable.changeAddress();
    // Whether the browsers notice at once or by missing checks, in the end they are live again.
    await expectLive(viewer);
    await expect
      .poll(() => viewer.evaluate(localAddresses), { timeout: 30_000, message: 'media goes by the new address' })
      .toEqual(['10.213.77.3']);
    await expectLive(viewer);
    expect(hostSessions).toHaveLength(1);
    expect(viewerSessions).toHaveLength(1);
  });
});

/** Local addresses of the pairs that carry media. */
async function localAddresses(): Promise<unknown[]> {
  const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
  const addresses = [];
  for (const pc of keptConnections.filter((each) => each.connectionState === 'connected')) {
    const stats = (await pc.getStats()) as unknown as Map<string, Record<string, unknown>>;
    for (const transport of [...stats.values()].filter((each) => each['type'] === 'transport')) {
      const pair = stats.get(String(transport['selectedCandidatePairId']));
      addresses.push(stats.get(String(pair?.['localCandidateId']))?.['address']);
    }
  }
  return addresses;
}
