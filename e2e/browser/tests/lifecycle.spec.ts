/** Coming early, leaving, coming back, being sent elsewhere. */

import { expect, expectLive, goLive, HD, seenFrames, test } from '../lib/fixtures.ts';

test('a viewer who comes first waits and is live by itself', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expect(viewer.getByRole('status')).toHaveText('Waiting for the host…');
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  await expectLive(viewer);
  await expect(viewer.getByRole('status')).toBeEmpty();
});

test('viewers are told when the host stops, and see the next show', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);
  await host.getByRole('button', { name: 'Stop' }).click();
  await expect(viewer.getByRole('status')).toHaveText('Waiting for the host…');
  await expect(viewer.locator('#badge')).toBeHidden();
  await goLive(host);
  await expectLive(viewer);
});

test('reloading brings viewer and host back', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`);
  await expectLive(viewer);

  await viewer.reload();
  await expectLive(viewer);
  await expect(viewer.locator('#viewers'), 'the viewer is not counted twice').toHaveText('1 watching');

  await host.reload();
  await expect(viewer.getByRole('status')).toHaveText('Waiting for the host…');
  await goLive(host);
  await expectLive(viewer);
});

test('a second host is told that the room is taken, and takes over when it is free', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const first = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(first);
  const second = await open(viewerBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await second.getByRole('button', { name: 'Go live' }).click();
  await expect(second.getByRole('status')).toContainText('Another host is on air');
  await first.getByRole('button', { name: 'Stop' }).click();
  await expect(second.locator('#badge')).toBeVisible();
});

test('a viewer who is sent elsewhere keeps the picture until the new one is there', async ({ node, room, open, hostBrowser, viewerBrowser }) => {
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD });
  await goLive(host);
  let sendAway: () => void = () => undefined;
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, {
    prepare: async (page) => {
      const isDue = new Promise<void>((resolve) => (sendAway = resolve));
      // The first event stream is ours: it says nothing but "reconnect", when the test is ready.
      await page.route(/\/sessions\/[^/]+\/events\/.+/, async (route) => {
        await isDue;
        await route.fulfill({ contentType: 'text/event-stream', body: 'event: reconnect\ndata: {}\n\n' });
      }, { times: 1 });
    },
  });
  await expectLive(viewer);

  const connections = () =>
    viewer.evaluate(() => {
      const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
      return keptConnections.map((pc) => pc.connectionState);
    });
  expect(await connections()).toEqual(['connected']);
  // Watches the player on every frame: it must never be without a picture.
  const worst = viewer.evaluate(() => {
    const video = document.querySelector('video');
    const { keptConnections } = window as unknown as { keptConnections: RTCPeerConnection[] };
    return new Promise<{ readyState: number; open: number }>((resolve) => {
      const seen = { readyState: 4, open: 1 };
      const look = () => {
        seen.readyState = Math.min(seen.readyState, video?.readyState ?? 0);
        const open = keptConnections.filter((pc) => pc.connectionState === 'connected').length;
        seen.open = Math.min(seen.open, open);
        const [first] = keptConnections;
        if (keptConnections.length > 1 && first?.connectionState === 'closed' && open === 1) resolve(seen);
        else requestAnimationFrame(look);
      };
      look();
    });
  });
  const across = seenFrames(viewer, 90);
  sendAway();
  expect(await worst).toEqual({ readyState: 4, open: 1 });
  expect(await connections()).toEqual(['closed', 'connected']);
  const drawn = (await across).map((frame) => frame.drawn);
  expect(drawn, 'time never runs backwards').toEqual([...drawn].sort((a, b) => a - b));
  await expectLive(viewer);
});

test('tokens in the address let in, and only they', async ({ startNode, room, open, hostBrowser, viewerBrowser }) => {
  const node = await startNode({ args: ['--publish-token', 'for the host', '--watch-token', 'for viewers'] });
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host#token=for+the+host`, { camera: HD });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}#token=for+viewers`);
  await expectLive(viewer);
  await expect(viewer.locator('#viewers'), 'events need the token as well').toHaveText('1 watching');
  const stranger = await open(viewerBrowser, `${node.url}/rooms/${room}#token=wrong`, { tolerate: /status of 40[13]/ });
  await expect(stranger.getByRole('status')).toContainText('does not let you in');
});

test('who comes without a token may enter one, or the link that has it', async ({ startNode, room, open, hostBrowser, viewerBrowser }) => {
  const node = await startNode({ args: ['--publish-token', 'for the host', '--watch-token', 'for viewers'] });
  const page = `${node.url}/rooms/${room}`;
  const tolerate = /status of 401/;
  const host = await open(hostBrowser, `${page}/host`, { camera: HD, tolerate });
  await host.getByRole('button', { name: 'Go live' }).click();
  await expect(host.getByRole('alert')).toContainText('does not let you in');
  await host.getByLabel('Token').fill(`${page}/host#token=for+the+host`);
  await host.keyboard.press('Enter');
  await expect(host.locator('#badge')).toBeVisible();
  await expect(host.getByLabel('Token')).toBeHidden();
  const viewer = await open(viewerBrowser, page, { tolerate });
  await viewer.getByLabel('Token').fill('for viewers');
  await viewer.getByRole('button', { name: 'Enter' }).click();
  await expectLive(viewer);
});

test('a node that crashes and starts again gets its host and viewers back', async ({ startNode, room, open, hostBrowser, viewerBrowser }) => {
  const node = await startNode();
  // What browsers log about a server that is not there, or that has forgotten the session.
  const tolerate = /net::ERR_|status of 404/;
  const host = await open(hostBrowser, `${node.url}/rooms/${room}/host`, { camera: HD, tolerate });
  await goLive(host);
  const viewer = await open(viewerBrowser, `${node.url}/rooms/${room}`, { tolerate });
  await expectLive(viewer);
  await node.kill();
  await expect(viewer.getByRole('status')).not.toBeEmpty();
  await expect(host.getByRole('status')).toContainText('Reconnecting');
  await node.start();
  await expect(host.locator('#badge')).toBeVisible({ timeout: 40_000 });
  await expectLive(viewer);
});
